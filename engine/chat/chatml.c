/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* ChatML, of the templates that are known word for word. They are programs: a guess at one that only looks alike would be a wrong prompt, so all
 * others are run. Both print whatever role a message has, so a tool's answer is a turn of the role "tool". */
#include "engine/chat/chat_internal.h"

#include <string.h>

static const char smollm2_template[] =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou "
    "are a helpful AI assistant named SmolLM, trained "
    "by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if "
    "add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
static const char plain_template[] = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + "
                                     "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if "
                                     "add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

static const struct {
    const char *name, *text, *default_system;
} templates[] = {
    {"chatml-smollm2", smollm2_template, "You are a helpful AI assistant named SmolLM, trained by Hugging Face"},
    {"chatml", plain_template, NULL},
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

bool chatml_layout_knows(struct bytes_view template, struct chat_layout *layout) {
    for (size_t i = 0; i < sizeof templates / sizeof templates[0]; i++) {
        if (!same_template(template, templates[i].text)) continue;
        layout->kind = CHAT_LAYOUT_CHATML;
        layout->name = templates[i].name;
        layout->chatml.default_system = templates[i].default_system;
        return true;
    }
    return false;
}

enum status chatml_layout_bind(struct chat_layout *layout, const char *file, struct error *err) {
    layout->chatml.turn_start = tokenizer_special(layout->tokenizer, "<|im_start|>");
    layout->chatml.turn_end = tokenizer_special(layout->tokenizer, "<|im_end|>");
    layout->support = (struct chat_support){.system = true, .prefix = true};
    if (layout->chatml.turn_start < 0 || layout->chatml.turn_end < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s: the chat template needs <|im_start|> and <|im_end|>, which the vocabulary lacks", file);
    return STATUS_OK;
}

/** Role, newline and content are one string of the template, so they are encoded together: a merge may span them. */
static enum status add_turn(const struct chatml_layout *layout, const char *role, struct bytes_view content, bool open,
                            struct prompt *out, struct error *err) {
    size_t head = strlen(role);
    uint8_t *text = arena_alloc(out->arena, head + 1 + content.length + 1);
    if (text == NULL)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory for a message of %zu bytes", content.length);
    memcpy(text, role, head);
    text[head] = '\n';
    if (content.length > 0) memcpy(text + head + 1, content.data, content.length);
    TRY(prompt_add_control(out, layout->turn_start, err));
    TRY(prompt_add_text(out, bytes_view_of(text, head + 1 + content.length), err));
    if (open) return STATUS_OK;
    TRY(prompt_add_control(out, layout->turn_end, err));
    return prompt_add_text(out, bytes_view_string("\n"), err);
}

/** The content as one text: parts are joined by blank lines. */
static enum status content_of(const struct chat_message *message, size_t index, struct arena *arena,
                              struct bytes_view *out, struct error *err) {
    *out = message->content;
    if (message->tool_call_count > 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "messages.%zu.tool_calls: this model's layout has no place for them", index);
    if (message->part_count == 0) return STATUS_OK;
    size_t length = 0;
    for (size_t i = 0; i < message->part_count; i++) {
        if (message->parts[i].kind != CHAT_PART_TEXT)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "messages.%zu.content.%zu: this model's layout has a place for texts only", index, i);
        length += message->parts[i].text.length + 2;
    }
    uint8_t *text = arena_alloc(arena, length + 1), *end = text;
    if (text == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory for a message");
    for (size_t i = 0; i < message->part_count; i++) {
        if (message->parts[i].text.length == 0) continue;
        if (end != text) end = mempcpy(end, "\n\n", 2);
        end = mempcpy(end, message->parts[i].text.data, message->parts[i].text.length);
    }
    *out = bytes_view_of(text, (size_t)(end - text));
    return STATUS_OK;
}

enum status chatml_compose(const struct chat_layout *layout, const struct chat_conversation *conversation,
                           struct prompt *out, struct error *err) {
    const struct chatml_layout *chatml = &layout->chatml;
    if (conversation->tool_count > 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "tools: this model's layout has no place for them");
    if (chatml->default_system != NULL && conversation->messages[0].role != CHAT_ROLE_SYSTEM)
        TRY(add_turn(chatml, "system", bytes_view_string(chatml->default_system), false, out, err));
    bool open = false;
    for (size_t i = 0; i < conversation->message_count; i++) {
        const struct chat_message *message = &conversation->messages[i];
        struct bytes_view content;
        TRY(content_of(message, i, out->arena, &content, err));
        open = message->prefix && message->role == CHAT_ROLE_ASSISTANT && i + 1 == conversation->message_count;
        TRY(add_turn(chatml, chat_role_name(message->role), content, open, out, err));
    }
    if (open) return STATUS_OK;
    TRY(prompt_add_control(out, chatml->turn_start, err));
    return prompt_add_text(out, bytes_view_string("assistant\n"), err);
}
