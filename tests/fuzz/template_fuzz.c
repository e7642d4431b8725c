/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Any template over a conversation, within its bounds: it ends, in an error with words or in a text whose every byte has an owner, and nothing of the
 * user's is taken for the template's. A zero byte parts the template from the user's text. */
#include "engine/chat/template.h"

#include <stdlib.h>
#include <string.h>

enum { USER = 7, ARENA_BYTES = 4 << 20 };

static struct template_value message(struct template_builder *builder, const char *role, struct bytes_view content) {
    struct template_dict *dict = template_dict_new(builder, 3);
    template_dict_set(dict, "role", template_text(bytes_view_string(role), 0));
    template_dict_set(dict, "content", template_text(content, USER));
    return template_dict_value(dict);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = size > 0 ? memchr(data, 0, size) : NULL;
    struct bytes_view source = bytes_view_of(data, end != NULL ? (size_t)(end - data) : size), text = {0};
    if (end != NULL) text = bytes_view_of(end + 1, size - source.length - 1);
    struct template *template = NULL;
    struct error err = {0};
    if (template_parse(source, &template, &err) != STATUS_OK) {
        if (err.message[0] == 0) abort();
        return 0;
    }
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    struct template_builder builder = {.arena = &arena};
    struct template_list *messages = template_list_new(&builder, 3);
    struct template_dict *variables = template_dict_new(&builder, 5);
    template_list_set(messages, 0, message(&builder, "system", bytes_view_string("be")));
    template_list_set(messages, 1, message(&builder, "user", text));
    template_list_set(messages, 2, message(&builder, "assistant", text));
    template_dict_set(variables, "messages", template_list_value(messages));
    template_dict_set(variables, "text", template_text(text, USER));
    template_dict_set(variables, "tools", (struct template_value){.kind = TEMPLATE_NONE});
    template_dict_set(variables, "add_generation_prompt", template_boolean(true));
    template_dict_set(variables, "bos_token", template_text(bytes_view_string("<s>"), 0));
    struct template_output output;
    enum status status =
        template_render(template, variables, (struct template_limits){.steps = 100000, .output_bytes = 1 << 20}, 0,
                        &arena, &output, &err);
    if (status == STATUS_OK) {
        for (size_t i = 0; i < output.text.length; i++) {
            if (output.mask[i] != 0 && output.mask[i] != USER) abort();
            /* The user's bell never becomes the template's, unless the template has one itself. */
            if (output.text.data[i] == 1 && output.mask[i] == 0 &&
                memmem(source.data, source.length, "\\", 1) == NULL && memchr(source.data, 1, source.length) == NULL)
                abort();
        }
    } else if (status != STATUS_INVALID_ARGUMENT || err.message[0] == 0) {
        abort();
    }
    arena_deinit(&arena);
    template_destroy(template);
    return 0;
}
