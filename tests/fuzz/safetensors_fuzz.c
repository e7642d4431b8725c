/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a safetensors file: refused with one line, or every byte that it lends is inside the file. */
#include "engine/weights/safetensors.h"

#include <stdlib.h>
#include <string.h>

static volatile uint64_t sink;

static void touch(struct bytes_view view) {
    for (size_t i = 0; i < view.length; i++) sink += view.data[i];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct safetensors *file = NULL;
    struct error err = {0};
    if (safetensors_open_memory(data, size, "fuzz.safetensors", &file, &err) != STATUS_OK) {
        if (file != NULL || err.message[0] == 0 || strchr(err.message, '\n') != NULL) abort();
        return 0;
    }
    size_t covered = 0;
    for (int64_t i = 0; i < safetensors_tensor_count(file); i++) {
        const struct safetensors_tensor *tensor = safetensors_tensor_at(file, i);
        if (safetensors_tensor(file, tensor->name) != tensor) abort();
        touch(tensor->name);
        touch(bytes_view_of(tensor->data, tensor->bytes));
        covered += tensor->bytes;
    }
    if (covered > size) abort();
    safetensors_close(file);
    return 0;
}
