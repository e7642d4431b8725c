/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a GGUF file: refused with one line, or every byte that it lends is inside the file. */
#include "engine/weights/gguf.h"

#include <stdlib.h>
#include <string.h>

static volatile uint64_t sink;

static void touch(struct bytes_view view) {
    for (size_t i = 0; i < view.length; i++) sink += view.data[i];
}

static void read_arrays(const struct gguf *gguf, const char *key) {
    struct gguf_array array;
    if (!gguf_array(gguf, key, &array)) return;
    for (int64_t i = 0; i < array.count; i++) {
        if (array.element == GGUF_STRING) {
            touch(gguf_array_string(&array, i));
        } else {
            sink += (uint64_t)gguf_array_i64(&array, i);
            sink += gguf_array_f64(&array, i) > 0;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const keys[] = {"a", "general.alignment", "general.architecture", "list",
                                       "tokenizer.ggml.tokens"};
    struct gguf *gguf = NULL;
    struct error err = {0};
    enum status status = gguf_open_memory(data, size, "fuzz.gguf", &gguf, &err);
    if (status != STATUS_OK) {
        if (gguf != NULL || err.message[0] == 0 || strchr(err.message, '\n') != NULL) abort();
        return 0;
    }
    for (int64_t i = 0; i < gguf_tensor_count(gguf); i++) {
        const struct gguf_tensor *tensor = gguf_tensor_at(gguf, i);
        touch(tensor->name);
        touch(bytes_view_of(tensor->data, tensor->bytes));
    }
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        uint64_t number;
        double real;
        bool yes;
        struct bytes_view text;
        if (gguf_u64(gguf, keys[i], &number)) sink += number;
        if (gguf_f64(gguf, keys[i], &real)) sink += real > 0;
        if (gguf_bool(gguf, keys[i], &yes)) sink += yes;
        if (gguf_string(gguf, keys[i], &text)) touch(text);
        read_arrays(gguf, keys[i]);
    }
    gguf_close(gguf);
    return 0;
}
