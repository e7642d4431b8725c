/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/chat/chat.h"

#include "base/text.h"
#include "engine/weights/checkpoint.h"
#include "engine/weights/gguf.h"

#include <stdlib.h>
#include <string.h>

struct chat_layout {
    const char *name;
    const struct tokenizer *tokenizer;
    const char *default_system; /* put in front when the conversation begins otherwise; NULL: none */
    int32_t turn_start, turn_end;
};

const char *chat_role_name(enum chat_role role) {
    static const char *const names[] = {"system", "user", "assistant", "tool"};
    return names[role];
}

static const char smollm2_template[] =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou "
    "are a helpful AI assistant named SmolLM, trained "
    "by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if "
    "add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
static const char chatml_template[] = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + "
                                      "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if "
                                      "add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/** Templates that are known word for word. They are programs: a guess at one that only looks alike would be a wrong
 *  prompt. Both print whatever role a message has, so a tool's answer is a turn of the role "tool". */
static const struct {
    const char *name, *text, *default_system;
} templates[] = {
    {"chatml-smollm2", smollm2_template, "You are a helpful AI assistant named SmolLM, trained by Hugging Face"},
    {"chatml", chatml_template, NULL},
};

/** Templates travel with "\n" either as a newline or as the two characters of a Jinja string. */
static bool same_template(struct bytes_view template, const char *known) {
    size_t at = 0;
    for (; *known != 0 && at < template.length; known++) {
        if (*known == '\n' && template.data[at] == '\\' && at + 1 < template.length && template.data[at + 1] == 'n')
            at += 2;
        else if (template.data[at] == (uint8_t)*known)
            at++;
        else
            return false;
    }
    return *known == 0 && at == template.length;
}

enum status chat_layout_load_gguf(const struct gguf *gguf, const struct tokenizer *tokenizer, struct chat_layout **out,
                                  struct error *err) {
    struct bytes_view template = {0};
    if (!gguf_string(gguf, "tokenizer.chat_template", &template))
        return error_set(err, STATUS_UNIMPLEMENTED, "%s has no chat template", gguf_path(gguf));
    for (size_t i = 0; i < sizeof templates / sizeof templates[0]; i++) {
        if (!same_template(template, templates[i].text)) continue;
        struct chat_layout *layout = calloc(1, sizeof *layout);
        if (layout == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
        *layout = (struct chat_layout){.name = templates[i].name,
                                       .tokenizer = tokenizer,
                                       .default_system = templates[i].default_system,
                                       .turn_start = tokenizer_special(tokenizer, "<|im_start|>"),
                                       .turn_end = tokenizer_special(tokenizer, "<|im_end|>")};
        if (layout->turn_start < 0 || layout->turn_end < 0) {
            free(layout);
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "%s: the chat template needs <|im_start|> and <|im_end|>, which the vocabulary lacks",
                             gguf_path(gguf));
        }
        *out = layout;
        return STATUS_OK;
    }
    int shown = (int)text_truncate((const char *)template.data, template.length, 64);
    return error_set(err, STATUS_UNIMPLEMENTED, "%s: its chat template (%zu bytes, '%.*s...') is not a known one",
                     gguf_path(gguf), template.length, shown, (const char *)template.data);
}

enum status chat_layout_load(const struct checkpoint *checkpoint, const struct tokenizer *tokenizer,
                             struct chat_layout **out, struct error *err) {
    const struct gguf *gguf = checkpoint_gguf(checkpoint);
    if (gguf != NULL) return chat_layout_load_gguf(gguf, tokenizer, out, err);
    return error_set(err, STATUS_UNIMPLEMENTED, "%s: chat layouts are read from GGUF only",
                     checkpoint_path(checkpoint));
}

void chat_layout_destroy(struct chat_layout *layout) {
    free(layout);
}

const char *chat_layout_name(const struct chat_layout *layout) {
    return layout->name;
}

static enum status append_control(int32_t id, struct token_list *out, struct error *err) {
    enum status status = token_list_append(out, id);
    return status == STATUS_OK
               ? status
               : error_set(err, status, "the conversation does not fit into %zu tokens", out->max_count);
}

/**
 * One turn. The template's text between two control tokens is one string, so role, newline and content are encoded together:
 * a merge may span them.
 */
static enum status append_turn(const struct chat_layout *layout, const char *role, struct bytes_view content, bool open,
                               struct bytes *scratch, struct token_list *out, struct error *err) {
    TRY(append_control(layout->turn_start, out, err));
    bytes_reset(scratch);
    (void)!bytes_printf(scratch, "%s\n", role);
    (void)!bytes_append(scratch, content.data, content.length);
    if (scratch->failed)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory for a message of %zu bytes", content.length);
    TRY(tokenizer_encode(layout->tokenizer, bytes_view(scratch), out, err));
    if (open) return STATUS_OK;
    TRY(append_control(layout->turn_end, out, err));
    return tokenizer_encode(layout->tokenizer, bytes_view_string("\n"), out, err);
}

static enum status render(const struct chat_layout *layout, const struct chat_message *messages, size_t count,
                          struct bytes *scratch, struct token_list *out, struct error *err) {
    if (layout->default_system != NULL && messages[0].role != CHAT_ROLE_SYSTEM) {
        TRY(append_turn(layout, "system", bytes_view_string(layout->default_system), false, scratch, out, err));
    }
    bool open = false;
    for (size_t i = 0; i < count; i++) {
        open = messages[i].prefix && messages[i].role == CHAT_ROLE_ASSISTANT && i + 1 == count;
        TRY(append_turn(layout, chat_role_name(messages[i].role), messages[i].content, open, scratch, out, err));
    }
    if (open) return STATUS_OK;
    TRY(append_control(layout->turn_start, out, err));
    return tokenizer_encode(layout->tokenizer, bytes_view_string("assistant\n"), out, err);
}

enum status chat_layout_render(const struct chat_layout *layout, const struct chat_message *messages, size_t count,
                               struct token_list *out, struct error *err) {
    if (count == 0) return error_set(err, STATUS_INVALID_ARGUMENT, "the conversation is empty");
    struct bytes scratch;
    bytes_init(&scratch, SIZE_MAX / 2);
    size_t before = out->count;
    enum status status = render(layout, messages, count, &scratch, out, err);
    if (status != STATUS_OK) out->count = before;
    bytes_deinit(&scratch);
    return status;
}
