/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/convert/convert.h"

#include "engine/convert/convert_internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

bool convert_type_parse(const char *name, enum tensor_type *out) {
    static const enum tensor_type types[] = {TENSOR_F32,  TENSOR_F16,  TENSOR_BF16, TENSOR_Q8_0,
                                             TENSOR_Q4_0, TENSOR_Q4_1, TENSOR_Q5_0, TENSOR_Q5_1,
                                             TENSOR_Q4_K, TENSOR_Q5_K, TENSOR_Q6_K};
    if (strcasecmp(name, "q4_k_m") == 0) return *out = TENSOR_Q4_K, true; /* the mixes that these are */
    if (strcasecmp(name, "q5_k_m") == 0) return *out = TENSOR_Q5_K, true;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (strcasecmp(name, tensor_type_name(types[i])) == 0) return *out = types[i], true;
    }
    return false;
}

enum status convert_model(const struct checkpoint *checkpoint, const char *path, const struct convert_options *options,
                          struct bytes *notes, struct error *err) {
    struct converting converting = {.checkpoint = checkpoint, .options = options, .notes = notes, .err = err};
    enum { ARENA_BYTES = 1 << 30, SPIN_NS = 20000 };
    enum status status = STATUS_OK;
    arena_init(&converting.plan.arena, ARENA_BYTES);
    TRY_CLEANUP(convert_read_facts(&converting));
    TRY_CLEANUP(thread_team_create(options->threads > 0 ? options->threads : threads_available(), SPIN_NS,
                                   &converting.team, err));
    status = options->to == CONVERT_TO_GGUF ? convert_to_gguf(&converting, path) : convert_to_folder(&converting, path);
cleanup:
    if (converting.team != NULL) thread_team_destroy(converting.team);
    free(converting.plan.tensors);
    arena_deinit(&converting.plan.arena);
    return status;
}
