/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/convert/convert_internal.h"
#include "engine/weights/gguf.h"

#include <stdio.h>
#include <string.h>

static void read_gguf_facts(const struct gguf *gguf, struct convert_facts *facts) {
    struct bytes_view architecture = {0};
    char key[96];
    uint64_t layers = 0;
    (void)gguf_string(gguf, "general.architecture", &architecture);
    snprintf(facts->architecture, sizeof facts->architecture, "%.*s",
             (int)(architecture.length < 31 ? architecture.length : 31), (const char *)architecture.data);
    snprintf(key, sizeof key, "%s.block_count", facts->architecture);
    (void)gguf_u64(gguf, key, &layers);
    facts->layers = (int64_t)layers;
}

enum status convert_read_facts(struct converting *converting) {
    const struct gguf *gguf = checkpoint_gguf(converting->checkpoint);
    if (gguf == NULL) return error_set(converting->err, STATUS_UNIMPLEMENTED, "not yet");
    read_gguf_facts(gguf, &converting->facts);
    return STATUS_OK;
}

enum status convert_metadata_of_config(struct converting *converting, struct gguf_metadata *metadata) {
    (void)metadata;
    return error_set(converting->err, STATUS_UNIMPLEMENTED, "not yet");
}
