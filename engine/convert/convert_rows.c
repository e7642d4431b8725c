/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* A tensor, computed row by row on all threads and written piece by piece. A row's bytes depend on that row only. */
#include "engine/convert/convert_internal.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE_BYTES = 8 << 20, ROWS_AT_ONCE = 4 };

/** Rows [first, first + count) of a tensor, shared among threads. */
struct piece {
    const struct converting *converting;
    const struct convert_tensor *tensor;
    const void *const *experts; /* where the rows of each begin; one entry when there is no more */
    int64_t rows_each, columns; /* of an expert */
    int64_t first, count;
    size_t in_bytes, out_bytes; /* of a row */
    uint8_t *out;
    float *scratch; /* a row for each thread */
    atomic_int_fast64_t next;
    _Atomic(int) status;
};

/** Which stored row becomes row `row` of the output: heads of d rows, halves (i, i + d/2) to neighbours (2i, 2i + 1) or back. */
static int64_t stored_row(const struct convert_tensor *tensor, int64_t rows, int64_t row) {
    if (tensor->rotary == ROTARY_AS_IT_IS) return row;
    int64_t width = rows / tensor->heads, head = row / width, at = row % width, half = width / 2;
    int64_t from = tensor->rotary == ROTARY_TO_NEIGHBOURS ? at % 2 * half + at / 2 : at % half * 2 + at / half;
    return head * width + from;
}

static enum status compute_row(const struct piece *piece, int64_t row, float *scratch, uint8_t *out) {
    const struct convert_tensor *tensor = piece->tensor;
    int64_t expert = tensor->copies > 0 ? 0 : row / piece->rows_each,
            within = stored_row(tensor, piece->rows_each, row % piece->rows_each);
    const uint8_t *stored = (const uint8_t *)piece->experts[expert] + (size_t)within * piece->in_bytes;
    if (tensor->from->type == tensor->type && tensor->plus == 0 && tensor->noise == 0) {
        memcpy(out, stored, piece->out_bytes);
        return STATUS_OK;
    }
    TRY(tensor_dequantise_row(tensor->from->type, stored, piece->columns, scratch));
    for (int64_t i = 0; tensor->plus != 0 && i < piece->columns; i++) scratch[i] += tensor->plus;
    if (tensor->noise != 0) convert_upcycle_noise(tensor, row, piece->columns, scratch);
    return tensor_quantise_row(tensor->type, scratch, piece->columns, out);
}

static void compute_rows(void *context, int index, int size) {
    struct piece *piece = context;
    float *scratch = piece->scratch + (size_t)index * (size_t)piece->columns;
    (void)size;
    for (int64_t row; (row = atomic_fetch_add(&piece->next, ROWS_AT_ONCE)) < piece->count;) {
        for (int64_t i = row; i < row + ROWS_AT_ONCE && i < piece->count; i++) {
            enum status status =
                compute_row(piece, piece->first + i, scratch, piece->out + (size_t)i * piece->out_bytes);
            if (status != STATUS_OK) atomic_store(&piece->status, status);
        }
    }
}

/** Vectors whose elements are permuted are matrices of one column. */
static bool is_permuted_vector(const struct convert_tensor *tensor) {
    return tensor->rotary != ROTARY_AS_IT_IS && tensor->dimension_count == 1;
}

static enum status find_experts(const struct converting *converting, const struct convert_tensor *tensor,
                                const void ***out, int64_t *out_count) {
    const struct checkpoint_tensor *from = tensor->from;
    int64_t experts = from->dimension_count > 2 ? from->dimensions[2] : 1;
    struct tensor_view view;
    const void **places = calloc((size_t)experts, sizeof *places);
    enum status status =
        places != NULL ? STATUS_OK : error_set(converting->err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    for (int64_t i = 0; status == STATUS_OK && i < experts; i++) {
        status = from->dimension_count > 2
                     ? checkpoint_expert(converting->checkpoint, from->name, (int)i, (int)experts, from->dimensions[1],
                                         from->dimensions[0], &view, converting->err)
                     : checkpoint_matrix(converting->checkpoint, from->name, from->dimensions[1], from->dimensions[0],
                                         &view, converting->err);
        if (status == STATUS_OK) places[i] = view.data;
    }
    if (status != STATUS_OK) {
        free(places);
        return status;
    }
    if (tensor->expert >= 0) {
        places[0] = places[tensor->expert];
        experts = 1;
    }
    *out = places;
    *out_count = experts;
    return STATUS_OK;
}

static void report(const struct converting *converting, const struct convert_tensor *tensor, uint64_t bytes_more) {
    const struct convert_options *options = converting->options;
    struct convert_progress progress = {tensor->name, converting->tensors_done, converting->plan.count,
                                        converting->bytes_done + bytes_more, converting->plan.bytes};
    if (options->progress != NULL) options->progress(options->progress_context, &progress);
}

static enum status write_piece(struct converting *converting, struct piece *piece, struct output_file *file) {
    const struct convert_tensor *tensor = piece->tensor;
    atomic_store(&piece->next, 0);
    thread_team_run(converting->team, compute_rows, piece);
    enum status status = (enum status)atomic_load(&piece->status);
    if (status != STATUS_OK)
        return error_set(converting->err, status,
                         "%s: tensor '%.96s' holds a weight that %s cannot (or that is no number)", tensor->from->file,
                         tensor->from->name, tensor_type_name(tensor->type));
    return output_file_write(file, piece->out, (size_t)piece->count * piece->out_bytes, converting->err);
}

static enum status write_rows(struct converting *converting, struct piece *piece, int64_t rows,
                              struct output_file *file) {
    int64_t at_once = (int64_t)(PIECE_BYTES / piece->out_bytes) + 1;
    const struct convert_options *options = converting->options;
    if (at_once > rows) at_once = rows;
    piece->out = malloc((size_t)at_once * piece->out_bytes);
    piece->scratch =
        calloc((size_t)thread_team_size(converting->team) * (size_t)piece->columns, sizeof *piece->scratch);
    enum status status = piece->out != NULL && piece->scratch != NULL
                             ? STATUS_OK
                             : error_set(converting->err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    for (int64_t row = 0; status == STATUS_OK && row < rows; row += at_once) {
        if (options->stop != NULL && *options->stop)
            status = error_set(converting->err, STATUS_CANCELLED, "stopped");
        else
            report(converting, piece->tensor, (uint64_t)row * piece->out_bytes);
        piece->first = row;
        piece->count = rows - row < at_once ? rows - row : at_once;
        if (status == STATUS_OK) status = write_piece(converting, piece, file);
    }
    free(piece->out);
    free(piece->scratch);
    return status;
}

enum status convert_write_tensor(struct converting *converting, const struct convert_tensor *tensor,
                                 struct output_file *file) {
    enum status status;
    if (tensor->from == NULL) {
        report(converting, tensor, 0);
        status = output_file_write(file, tensor->values, tensor->bytes, converting->err);
    } else {
        const struct checkpoint_tensor *from = tensor->from;
        const void **experts = NULL;
        int64_t count = 0;
        TRY(find_experts(converting, tensor, &experts, &count));
        if (tensor->copies > 0) count = tensor->copies;
        bool turned = is_permuted_vector(tensor);
        struct piece piece = {.converting = converting,
                              .tensor = tensor,
                              .experts = experts,
                              .rows_each = turned ? from->dimensions[0] : from->dimensions[1],
                              .columns = turned ? 1 : from->dimensions[0]};
        piece.in_bytes = tensor_type_row_bytes(from->type, piece.columns);
        piece.out_bytes = tensor_type_row_bytes(tensor->type, piece.columns);
        status = write_rows(converting, &piece, count * piece.rows_each, file);
        free(experts);
    }
    if (status != STATUS_OK) return status;
    converting->tensors_done++;
    converting->bytes_done += tensor->bytes;
    report(converting, tensor, 0);
    return STATUS_OK;
}
