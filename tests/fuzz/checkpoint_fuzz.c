/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* A folder of files made of any bytes, opened as a model: [u8 form][u16 n][n bytes of config][u16 n][n bytes of index][the rest: a weight file]. */
#include "engine/weights/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[64];
static volatile uint64_t sink;

static void remove_folder(void) {
    static const char *const names[] = {"config.json",
                                        "params.json",
                                        "model.safetensors",
                                        "model.safetensors.index.json",
                                        "consolidated.safetensors",
                                        "consolidated-00001-of-00001.safetensors",
                                        "a.safetensors"};
    char path[128];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
}

static void write_file(const char *name, const uint8_t *data, size_t length) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(data, 1, length, file) != length || fclose(file) != 0) abort();
}

static void take(const uint8_t **data, size_t *size, const uint8_t **out, size_t *out_length) {
    size_t length = *size >= 2 ? (size_t)(*data)[0] | (size_t)(*data)[1] << 8 : 0;
    size_t skip = *size >= 2 ? 2 : *size;
    *data += skip;
    *size -= skip;
    *out = *data;
    *out_length = length < *size ? length : *size;
    *data += *out_length;
    *size -= *out_length;
}

static void read_all(const struct checkpoint *checkpoint) {
    for (int64_t i = 0; i < checkpoint_tensor_count(checkpoint); i++) {
        const struct checkpoint_tensor *tensor = checkpoint_tensor_at(checkpoint, i);
        const int64_t *d = tensor->dimensions;
        struct tensor_view view;
        struct error err = {0};
        if (checkpoint_tensor(checkpoint, tensor->name) != tensor) abort();
        if (!tensor->known_type || d[3] != 1 || d[0] == 0 || d[1] == 0) continue;
        for (int64_t e = 0; e < d[2] && e < 64; e++) {
            enum status status =
                tensor->dimension_count > 2
                    ? checkpoint_expert(checkpoint, tensor->name, (int)e, (int)d[2], d[1], d[0], &view, &err)
                    : checkpoint_matrix(checkpoint, tensor->name, d[1], d[0], &view, &err);
            if (status != STATUS_OK) continue;
            size_t bytes = tensor_type_row_bytes(view.type, view.columns) * (size_t)view.rows;
            for (size_t j = 0; j < bytes; j++) sink += ((const uint8_t *)view.data)[j];
        }
    }
    for (int64_t i = 0; i < checkpoint_left_out_count(checkpoint); i++)
        sink += checkpoint_left_out_at(checkpoint, i)->stored_name.length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *config, *index;
    size_t config_length, index_length;
    struct checkpoint *checkpoint = NULL;
    struct error err = {0};
    if (size == 0) return 0;
    uint8_t form = *data++;
    size--;
    snprintf(folder, sizeof folder, "/tmp/bora_checkpoint_fuzz_XXXXXX");
    if (mkdtemp(folder) == NULL) abort();
    take(&data, &size, &config, &config_length);
    take(&data, &size, &index, &index_length);
    write_file(form & 1 ? "params.json" : "config.json", config, config_length);
    if (index_length > 0) {
        write_file("model.safetensors.index.json", index, index_length);
        write_file("a.safetensors", data, size);
    } else {
        write_file((form & 1) == 0 ? "model.safetensors"
                   : form & 2      ? "consolidated.safetensors"
                                   : "consolidated-00001-of-00001.safetensors",
                   data, size);
    }
    enum status status = checkpoint_open(folder, &checkpoint, &err);
    if (status != STATUS_OK) {
        if (checkpoint != NULL || err.message[0] == 0 || strchr(err.message, '\n') != NULL) abort();
    } else {
        read_all(checkpoint);
        checkpoint_close(checkpoint);
    }
    remove_folder();
    return 0;
}
