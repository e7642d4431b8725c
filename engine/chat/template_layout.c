/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * A layout that is a chat template. Its variables are those that transformers gives: messages, tools, add_generation_prompt, bos_token, eos_token,
 * enable_thinking and reasoning_effort.
 *
 * Each message's bytes carry a number of its own through the template, which shows afterwards where they are: a system prompt, a question or a
 * tool's answer that the template left out is refused rather than lost, and a continued answer is cut behind its last byte.
 */
#include "base/clock.h"
#include "engine/chat/chat_internal.h"
#include "engine/chat/python_json.h"
#include "engine/chat/template.h"

#include <stdlib.h>
#include <string.h>

enum {
    STEPS_LEAST = 4000000, /* what a template may do: this, and ... */
    STEPS_FACTOR =
        64, /* ... so many steps for a byte of the conversation; a message of a long one takes some thousand */
    OUTPUT_LEAST = 4 << 20,
    OUTPUT_FACTOR = 64, /* text is copied when it is put together */
    WHOSE_TOOLS = 255,
    WHOSE_MESSAGES = 254, /* messages take 1 to this in turn */
};

struct laying {
    const struct chat_layout *layout;
    const struct chat_conversation *conversation;
    const struct template *template; /* the layout's for this conversation */
    struct arena *arena;
    struct template_builder builder;
    struct error *err;
};

static uint8_t whose(size_t message) {
    return (uint8_t)(1 + message % WHOSE_MESSAGES);
}

static struct template_value own_text(const char *text) {
    return template_text(bytes_view_string(text), 0);
}

static bool mentions(const struct laying *laying, const char *word) {
    return template_mentions(laying->template, word);
}

/* ---- messages ------------------------------------------------------------------------------------------------------- */

/** The texts of a message, joined by blank lines. */
static enum status join_texts(const struct laying *laying, const struct chat_message *message, enum chat_part_kind kind,
                              struct bytes_view *out) {
    size_t length = 0;
    for (size_t i = 0; i < message->part_count; i++) length += message->parts[i].text.length + 2;
    uint8_t *text = arena_alloc(laying->arena, length + 1), *end = text;
    if (text == NULL)
        return error_set(laying->err, STATUS_RESOURCE_EXHAUSTED, "the conversation is too large to be laid out");
    for (size_t i = 0; i < message->part_count; i++) {
        const struct chat_part *part = &message->parts[i];
        if (part->kind != kind || part->text.length == 0) continue;
        if (end != text) end = mempcpy(end, "\n\n", 2);
        end = mempcpy(end, part->text.data, part->text.length);
    }
    *out = bytes_view_of(text, (size_t)(end - text));
    return STATUS_OK;
}

/** A list of parts, for templates that look at them one by one. */
static struct template_value list_parts(struct laying *laying, const struct chat_message *message, size_t index) {
    struct template_list *list = template_list_new(&laying->builder, message->part_count);
    for (size_t i = 0; i < message->part_count; i++) {
        const struct chat_part *part = &message->parts[i];
        struct template_dict *dict = template_dict_new(&laying->builder, 2);
        template_dict_set(dict, "type", own_text(part->kind == CHAT_PART_IMAGE ? "image" : "text"));
        if (part->kind != CHAT_PART_IMAGE) template_dict_set(dict, "text", template_text(part->text, whose(index)));
        template_list_set(list, i, template_dict_value(dict));
    }
    return template_list_value(list);
}

/** What the template must know of for the message's parts. */
static enum status check_parts(const struct laying *laying, const struct chat_message *message, size_t index,
                               bool *out_images, bool *out_thinking) {
    *out_images = *out_thinking = false;
    for (size_t i = 0; i < message->part_count; i++) {
        enum chat_part_kind kind = message->parts[i].kind;
        bool image = kind == CHAT_PART_IMAGE, thinking = kind == CHAT_PART_THINKING;
        bool known = kind == CHAT_PART_TEXT || (image && laying->layout->support.images) ||
                     (thinking && laying->layout->support.thinking && message->role == CHAT_ROLE_ASSISTANT);
        if (!known)
            return error_set(laying->err, STATUS_INVALID_ARGUMENT,
                             "messages.%zu.content.%zu: this model's chat template has no place for it", index, i);
        *out_images = *out_images || image;
        *out_thinking = *out_thinking || thinking;
    }
    return STATUS_OK;
}

static enum status set_content(struct laying *laying, const struct chat_message *message, size_t index,
                               struct template_dict *dict) {
    bool images, thinking;
    struct bytes_view text = message->content, thought = {0};
    TRY(check_parts(laying, message, index, &images, &thinking));
    if (images) {
        template_dict_set(dict, "content", list_parts(laying, message, index));
        return STATUS_OK;
    }
    if (message->part_count > 0) TRY(join_texts(laying, message, CHAT_PART_TEXT, &text));
    if (thinking) {
        TRY(join_texts(laying, message, CHAT_PART_THINKING, &thought));
        template_dict_set(dict, "reasoning_content", template_text(thought, whose(index)));
    }
    bool wordless = text.data == NULL && message->tool_call_count > 0; /* templates look whether it is None */
    template_dict_set(dict, "content",
                      wordless ? (struct template_value){.kind = TEMPLATE_NONE} : template_text(text, whose(index)));
    return STATUS_OK;
}

/** JSON as a value, or as the text that it is. */
static enum status json_value(struct laying *laying, struct bytes_view text, uint8_t number,
                              struct template_value *out) {
    struct json_value *json = NULL;
    if (text.length == 0) text = bytes_view_string("{}");
    TRY(python_json_read(text, laying->arena, &json, laying->err));
    *out = json != NULL ? template_json(&laying->builder, json, number) : template_text(text, number);
    return STATUS_OK;
}

static enum status set_calls(struct laying *laying, const struct chat_message *message, size_t index,
                             struct template_dict *dict) {
    if (!mentions(laying, "tool_calls"))
        return error_set(laying->err, STATUS_INVALID_ARGUMENT,
                         "messages.%zu.tool_calls: this model's chat template has no place for them", index);
    struct template_list *list = template_list_new(&laying->builder, message->tool_call_count);
    for (size_t i = 0; i < message->tool_call_count; i++) {
        const struct chat_tool_call *call = &message->tool_calls[i];
        struct template_dict *item = template_dict_new(&laying->builder, 3);
        struct template_dict *function = template_dict_new(&laying->builder, 2);
        struct template_value arguments;
        TRY(json_value(laying, call->arguments, whose(index), &arguments));
        template_dict_set(function, "name", template_text(call->name, whose(index)));
        template_dict_set(function, "arguments", arguments);
        template_dict_set(item, "type", own_text("function"));
        if (call->id.length > 0) template_dict_set(item, "id", template_text(call->id, whose(index)));
        template_dict_set(item, "function", template_dict_value(function));
        template_list_set(list, i, template_dict_value(item));
    }
    template_dict_set(dict, "tool_calls", template_list_value(list));
    return STATUS_OK;
}

static enum status make_message(struct laying *laying, const struct chat_message *message, size_t index,
                                struct template_value *out) {
    enum { MEMBERS = 6 };
    struct template_dict *dict = template_dict_new(&laying->builder, MEMBERS);
    template_dict_set(dict, "role", own_text(chat_role_name(message->role)));
    TRY(set_content(laying, message, index, dict));
    if (message->tool_call_count > 0) TRY(set_calls(laying, message, index, dict));
    if (message->tool_call_id.length > 0)
        template_dict_set(dict, "tool_call_id", template_text(message->tool_call_id, whose(index)));
    if (message->name.length > 0) template_dict_set(dict, "name", template_text(message->name, whose(index)));
    *out = template_dict_value(dict);
    return STATUS_OK;
}

static enum status make_tools(struct laying *laying, struct template_value *out) {
    const struct chat_conversation *conversation = laying->conversation;
    *out = (struct template_value){.kind = TEMPLATE_NONE};
    if (conversation->tool_count == 0) return STATUS_OK;
    if (!laying->layout->support.tools)
        return error_set(laying->err, STATUS_INVALID_ARGUMENT,
                         "tools: this model's chat template has no place for them");
    struct template_list *list = template_list_new(&laying->builder, conversation->tool_count);
    for (size_t i = 0; i < conversation->tool_count; i++) {
        const struct chat_tool *tool = &conversation->tools[i];
        struct template_dict *item = template_dict_new(&laying->builder, 2);
        struct template_dict *function = template_dict_new(&laying->builder, 3);
        template_dict_set(function, "name", template_text(tool->name, WHOSE_TOOLS));
        if (tool->description.data != NULL)
            template_dict_set(function, "description", template_text(tool->description, WHOSE_TOOLS));
        if (tool->parameters.data != NULL) {
            struct template_value parameters;
            TRY(json_value(laying, tool->parameters, WHOSE_TOOLS, &parameters));
            template_dict_set(function, "parameters", parameters);
        }
        template_dict_set(item, "type", own_text("function"));
        template_dict_set(item, "function", template_dict_value(function));
        template_list_set(list, i, template_dict_value(item));
    }
    *out = template_list_value(list);
    return STATUS_OK;
}

/* ---- variables ------------------------------------------------------------------------------------------------------ */

/** "none" turns thinking off where a template has such a switch; other words turn it on. */
static void set_effort(struct laying *laying, struct template_dict *dict) {
    struct bytes_view effort = laying->conversation->reasoning_effort;
    if (effort.length == 0) return;
    template_dict_set(dict, "reasoning_effort", template_text(effort, WHOSE_TOOLS));
    template_dict_set(dict, "enable_thinking", template_boolean(!bytes_view_equal_string(effort, "none")));
}

static enum status make_variables(struct laying *laying, size_t message_count, bool open, struct template_dict **out) {
    enum { VARIABLES = 8 };
    struct template_dict *dict = template_dict_new(&laying->builder, VARIABLES);
    struct template_list *messages = template_list_new(&laying->builder, message_count);
    struct template_value tools;
    for (size_t i = 0; i < message_count; i++) {
        struct template_value message;
        TRY(make_message(laying, &laying->conversation->messages[i], i, &message));
        template_list_set(messages, i, message);
    }
    TRY(make_tools(laying, &tools));
    template_dict_set(dict, "messages", template_list_value(messages));
    template_dict_set(dict, "tools", tools);
    template_dict_set(dict, "documents", (struct template_value){.kind = TEMPLATE_NONE});
    template_dict_set(dict, "add_generation_prompt", template_boolean(!open));
    if (laying->layout->bos_token != NULL) template_dict_set(dict, "bos_token", own_text(laying->layout->bos_token));
    if (laying->layout->eos_token != NULL) template_dict_set(dict, "eos_token", own_text(laying->layout->eos_token));
    set_effort(laying, dict);
    if (laying->builder.failed)
        return error_set(laying->err, STATUS_RESOURCE_EXHAUSTED, "the conversation is too large to be laid out");
    *out = dict;
    return STATUS_OK;
}

/* ---- what came of them ---------------------------------------------------------------------------------------------- */

static bool has_visible_text(const struct chat_message *message) {
    bool visible = false;
    for (size_t i = 0; i < message->content.length; i++) visible = visible || message->content.data[i] > ' ';
    for (size_t i = 0; i < message->part_count; i++) {
        const struct bytes_view *text = &message->parts[i].text;
        for (size_t j = 0; j < text->length; j++) visible = visible || text->data[j] > ' ';
    }
    return visible;
}

/** Nothing of what the model was told may be missing, nor a call; of answers, templates leave out thoughts and more. */
static enum status check_complete(const struct laying *laying, size_t message_count,
                                  const struct template_output *output) {
    bool seen[256] = {false};
    for (size_t i = 0; i < output->text.length; i++) seen[output->mask[i]] = true;
    for (size_t i = 0; i < message_count; i++) {
        const struct chat_message *message = &laying->conversation->messages[i];
        bool needed = message->role == CHAT_ROLE_ASSISTANT ? message->tool_call_count > 0 : has_visible_text(message);
        if (!needed || seen[whose(i)]) continue;
        return error_set(laying->err, STATUS_INVALID_ARGUMENT,
                         "messages.%zu.role: this model's chat template has no place for a %s message there", i,
                         chat_role_name(message->role));
    }
    return STATUS_OK;
}

static size_t behind_last(const struct template_output *output, uint8_t number) {
    size_t end = output->text.length;
    while (end > 0 && output->mask[end - 1] != number) end--;
    return end;
}

/** One piece: the text, and bit by bit whose it is. */
static enum status add_output(const struct laying *laying, const struct template_output *output, size_t length,
                              struct prompt *out) {
    uint8_t *untrusted = arena_alloc(laying->arena, length / 8 + 1);
    if (untrusted == NULL)
        return error_set(laying->err, STATUS_RESOURCE_EXHAUSTED, "the conversation is too large to be laid out");
    for (size_t i = 0; i < length; i++) untrusted[i / 8] |= (uint8_t)((output->mask[i] != 0) << i % 8);
    if (length == 0) return STATUS_OK;
    return prompt_add(
        out,
        (struct prompt_piece){
            .control = -1, .template = true, .text = bytes_view_of(output->text.data, length), .untrusted = untrusted},
        laying->err);
}

enum status template_compose(const struct chat_layout *layout, const struct chat_conversation *conversation,
                             size_t bytes, struct prompt *out, struct error *err) {
    struct laying laying = {.layout = layout,
                            .conversation = conversation,
                            .template = conversation->tool_count > 0 && layout->tool_template != NULL
                                            ? layout->tool_template
                                            : layout->template,
                            .arena = out->arena,
                            .builder = {.arena = out->arena},
                            .err = err};
    size_t count = conversation->message_count;
    const struct chat_message *last = &conversation->messages[count - 1];
    bool open = last->prefix && last->role == CHAT_ROLE_ASSISTANT;
    /* Of an answer that is yet empty, the opening is what the template writes for a new one. */
    if (open && !has_visible_text(last) && last->tool_call_count == 0) {
        open = false;
        count--;
    }
    struct template_limits limits = {.steps = STEPS_LEAST + STEPS_FACTOR * bytes,
                                     .output_bytes = OUTPUT_LEAST + OUTPUT_FACTOR * bytes};
    struct template_dict *variables = NULL;
    struct template_output output;
    TRY(make_variables(&laying, count, open, &variables));
    TRY(template_render(laying.template, variables, limits, clock_unix_ns(clock_system()) / NS_PER_S, out->arena,
                        &output, err));
    TRY(check_complete(&laying, count, &output));
    size_t length = output.text.length;
    if (open) length = behind_last(&output, whose(count - 1));
    if (open && length == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "messages.%zu.prefix: this model's chat template does not show what would be continued",
                         count - 1);
    return add_output(&laying, &output, length, out);
}

/* ---- loading -------------------------------------------------------------------------------------------------------- */

static char *token_text(const struct tokenizer *tokenizer, int32_t id) {
    if (id < 0) return NULL;
    struct bytes_view name = tokenizer_name(tokenizer, id);
    return strndup((const char *)name.data, name.length);
}

enum status template_layout_bind(struct chat_layout *layout, const char *name, struct bytes_view source,
                                 struct bytes_view tool_source, struct error *err) {
    TRY(template_parse(source, &layout->template, err));
    if (tool_source.length > 0) TRY(template_parse(tool_source, &layout->tool_template, err));
    layout->kind = CHAT_LAYOUT_TEMPLATE;
    layout->name = name;
    layout->bos_token = token_text(layout->tokenizer, tokenizer_bos(layout->tokenizer));
    layout->eos_token = token_text(layout->tokenizer, tokenizer_eos(layout->tokenizer));
    const struct template *template = layout->template;
    layout->support = (struct chat_support){
        .system = true, /* those that object say so themselves, those that leave it out are found out */
        .prefix = true,
        .tools = layout->tool_template != NULL || template_mentions(template, "tools"),
        .images = template_mentions(template, "'image'") || template_mentions(template, "\"image\""),
        .thinking = template_mentions(template, "reasoning_content"),
        .reasoning_effort =
            template_mentions(template, "enable_thinking") || template_mentions(template, "reasoning_effort")};
    return STATUS_OK;
}
