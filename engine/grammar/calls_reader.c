/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader follows the same program as the grammar, without the tools' machines: where arguments end is seen by their brackets.
 *
 *     pending    free text: blanks and a begun trigger, which may turn out to stand before a call; in a call: all of its text so far
 */
#include "engine/grammar/calls_internal.h"

#include <stdlib.h>
#include <string.h>

struct call_reader {
    struct grammar *grammar;
    const struct calls *calls;
    uint64_t seed;
    uint32_t node;
    uint32_t text; /* CALL_TEXT: the automaton's state */
    size_t blanks; /* CALL_TEXT: so many bytes of `pending` are blanks before what has begun of a trigger */
    struct bytes pending;
    bool lost; /* this is no text of the grammar: all the rest is content */

    bool in_call;
    size_t tool, made;
    struct bytes arguments;
    uint32_t depth; /* brackets that are open in the arguments */
    bool in_string, escaped;
    char id[CALL_ID_BYTES + 1];
    size_t id_length;

    struct arena texts; /* of the output's calls */
    struct call_output output;
};

enum status call_reader_create(struct grammar *grammar, uint64_t seed, struct call_reader **out, struct error *err) {
    enum { TEXTS_BYTES_MAX = 1 << 30 };
    struct call_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory to read calls");
    reader->grammar = grammar_ref(grammar);
    reader->calls = (const struct calls *)grammar->machine;
    reader->seed = seed;
    reader->node = reader->calls->start;
    const struct call_node *node = &reader->calls->nodes[reader->node];
    const struct text_automaton *text = call_automaton(reader->calls, node);
    reader->text = node->go_on || node->thought ? text->go_on : text->start;
    bytes_init(&reader->pending, SIZE_MAX / 2);
    bytes_init(&reader->arguments, SIZE_MAX / 2);
    bytes_init(&reader->output.content, SIZE_MAX / 2);
    bytes_init(&reader->output.thought, SIZE_MAX / 2);
    arena_init(&reader->texts, TEXTS_BYTES_MAX);
    *out = reader;
    return STATUS_OK;
}

void call_reader_destroy(struct call_reader *reader) {
    if (reader == NULL) return;
    bytes_deinit(&reader->pending);
    bytes_deinit(&reader->arguments);
    bytes_deinit(&reader->output.content);
    bytes_deinit(&reader->output.thought);
    free(reader->output.calls);
    arena_deinit(&reader->texts);
    grammar_unref(reader->grammar);
    free(reader);
}

const struct call_output *call_reader_output(const struct call_reader *reader) {
    return &reader->output;
}

size_t call_reader_held(const struct call_reader *reader) {
    const struct call_node *node = &reader->calls->nodes[reader->node];
    bool written =
        reader->lost || node->kind == CALL_TEXT || node->last; /* what comes is given, but for what is pending */
    return reader->pending.length + (written ? 0 : 1);
}

bool call_reader_in_value(const struct call_reader *reader) {
    return !reader->lost && reader->calls->nodes[reader->node].last;
}

void call_reader_clear(struct call_reader *reader) {
    bytes_reset(&reader->output.content);
    bytes_reset(&reader->output.thought);
    reader->output.call_count = 0;
    arena_reset(&reader->texts);
}

/* ---- calls ---- */

/** Nine letters and digits from the seed, different for each call of an answer. */
static void make_id(const struct call_reader *reader, char out[CALL_ID_BYTES + 1]) {
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    uint64_t value = reader->seed + (reader->made + 1) * 0x9e3779b97f4a7c15U; /* splitmix64 */
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9U;
    value = (value ^ value >> 27) * 0x94d049bb133111ebU;
    value ^= value >> 31;
    for (int i = 0; i < CALL_ID_BYTES; i++, value /= 62) out[i] = digits[value % 62];
    out[CALL_ID_BYTES] = '\0';
}

static bool add_call(struct call_reader *reader) {
    struct call_output *output = &reader->output;
    if (output->call_count == output->call_capacity) {
        size_t capacity = output->call_capacity == 0 ? 4 : output->call_capacity * 2;
        struct call_made *calls = realloc(output->calls, capacity * sizeof *calls);
        if (calls == NULL) return false;
        output->calls = calls;
        output->call_capacity = capacity;
    }
    char *text = arena_copy(&reader->texts, reader->arguments.data, reader->arguments.length);
    if (text == NULL) return false;
    struct call_made *call = &output->calls[output->call_count++];
    *call = (struct call_made){.tool = reader->tool,
                               .name = reader->calls->names[reader->tool],
                               .arguments = bytes_view_of(text, reader->arguments.length)};
    if (reader->id_length == CALL_ID_BYTES)
        memcpy(call->id, reader->id, sizeof call->id);
    else
        make_id(reader, call->id);
    reader->made++;
    reader->in_call = false;
    bytes_reset(&reader->pending);
    return true;
}

static void begin_call(struct call_reader *reader, size_t tool) {
    reader->in_call = true;
    reader->tool = tool;
    reader->id_length = 0;
    reader->depth = 0;
    reader->in_string = reader->escaped = false;
    bytes_reset(&reader->arguments);
}

/** `tool`: of an edge. */
static bool enter(struct call_reader *reader, uint32_t node, uint32_t tool) {
    const struct call_node *to = &reader->calls->nodes[node];
    reader->node = node;
    if (tool > 0) begin_call(reader, tool - 1);
    if (to->kind == CALL_TEXT) {
        const struct text_automaton *text = call_automaton(reader->calls, to);
        reader->text = to->go_on || to->thought ? text->go_on : text->start;
        reader->blanks = 0;
        bytes_reset(&reader->pending);
    }
    return !to->call_end || !reader->in_call || add_call(reader);
}

/** No text of the grammar: what has been held back is content. */
static void lose(struct call_reader *reader) {
    (void)bytes_append(&reader->output.content, reader->pending.data, reader->pending.length);
    bytes_reset(&reader->pending);
    reader->lost = true;
    reader->in_call = false;
}

/* ---- free text ---- */

static bool is_blank(uint8_t byte) {
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

/** Give the first `length` bytes of what is pending. */
static void give(struct call_reader *reader, size_t length) {
    bool thought = reader->calls->nodes[reader->node].thought;
    struct bytes *out = thought ? &reader->output.thought : &reader->output.content;
    (void)bytes_append(out, reader->pending.data, length); /* a failure shows in its flag */
    bytes_consume(&reader->pending, length);
}

/** What is neither a begun trigger nor blanks is certain. */
static void settle(struct call_reader *reader) {
    const struct call_node *node = &reader->calls->nodes[reader->node];
    size_t free_bytes = reader->pending.length - call_automaton(reader->calls, node)->states[reader->text].length;
    bool holds_blanks = !node->thought && (node->after[0] != CALL_NOWHERE || node->controls != 0);
    size_t certain = free_bytes;
    while (holds_blanks && certain > reader->blanks && is_blank(reader->pending.data[certain - 1])) certain--;
    if (holds_blanks && certain == reader->blanks) certain = 0; /* nothing but blanks so far */
    if (certain > 0) give(reader, certain);
    reader->blanks = free_bytes - certain;
}

static bool push_text(struct call_reader *reader, uint8_t byte) {
    const struct call_node *node = &reader->calls->nodes[reader->node];
    const struct text_automaton *text = call_automaton(reader->calls, node);
    uint8_t next = text->next[reader->text][byte];
    (void)bytes_append_byte(&reader->pending, byte);
    if (!(next & TEXT_TRIGGERED)) {
        reader->text = next;
        settle(reader);
        return true;
    }
    uint8_t trigger = next & (uint8_t)~TEXT_TRIGGERED;
    if (node->after[trigger] == CALL_NOWHERE) { /* where no call may come its beginning is text as any other */
        reader->text = text->go_on;
        settle(reader);
        return true;
    }
    if (node->thought) give(reader, reader->pending.length - strlen(text->triggers[trigger].text));
    return enter(reader, node->after[trigger], 0);
}

/* ---- bytes ---- */

static bool push_value(struct call_reader *reader, uint8_t byte) {
    if (reader->depth == 0 && is_blank(byte)) return true;
    (void)bytes_append_byte(&reader->arguments, byte);
    if (reader->in_string) {
        bool quote = byte == '"' && !reader->escaped;
        reader->escaped = byte == '\\' && !reader->escaped;
        reader->in_string = !quote;
        return true;
    }
    if (byte == '"') reader->in_string = true;
    if (byte == '{' || byte == '[') reader->depth++;
    bool closes = (byte == '}' || byte == ']') && reader->depth > 0;
    if (closes && --reader->depth == 0) return enter(reader, reader->calls->nodes[reader->node].after[0], 0);
    if (reader->depth == 0) lose(reader);
    return true;
}

static bool push_byte(struct call_reader *reader, uint8_t byte) {
    const struct call_node *node = &reader->calls->nodes[reader->node];
    if (reader->lost) return bytes_append_byte(&reader->output.content, byte) == STATUS_OK;
    if (node->kind == CALL_TEXT) return push_text(reader, byte);
    if (node->last) return bytes_append_byte(&reader->output.content, byte) == STATUS_OK;
    (void)bytes_append_byte(&reader->pending, byte);
    if (node->kind == CALL_VALUE) return push_value(reader, byte);
    const struct call_edge *edge = call_edge_of(reader->calls, node, byte);
    if (edge == NULL && node->otherwise != CALL_NOWHERE) { /* content: blanks before it are not */
        bytes_reset(&reader->pending);
        reader->node = node->otherwise;
        return push_byte(reader, byte);
    }
    if (edge == NULL) {
        lose(reader);
        return true;
    }
    if (node->is_id && reader->id_length < CALL_ID_BYTES) reader->id[reader->id_length++] = (char)byte;
    return enter(reader, edge->to, edge->tool);
}

/** `ok`, and no buffer was without memory. */
static enum status check(const struct call_reader *reader, bool ok, struct error *err) {
    const struct call_output *output = &reader->output;
    if (ok && !reader->pending.failed && !reader->arguments.failed && !output->content.failed &&
        !output->thought.failed)
        return STATUS_OK;
    return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory to read calls");
}

enum status call_reader_push(struct call_reader *reader, struct bytes_view text, struct error *err) {
    bool ok = true;
    for (size_t i = 0; ok && i < text.length; i++) ok = push_byte(reader, text.data[i]);
    return check(reader, ok, err);
}

enum status call_reader_push_control(struct call_reader *reader, int32_t token, struct error *err) {
    const struct call_node *node = &reader->calls->nodes[reader->node];
    const struct call_control *edge = reader->lost ? NULL : call_control_of(reader->calls, node, token);
    if (edge == NULL) {
        /* In free text it says nothing; in a call it has no place. */
        if (!reader->lost && node->kind != CALL_TEXT && !node->complete && !node->last) lose(reader);
        return check(reader, true, err);
    }
    if (node->kind == CALL_TEXT) {
        bool blanks_only = reader->blanks == reader->pending.length && !node->thought;
        if (!blanks_only) give(reader, reader->pending.length);
        bytes_reset(&reader->pending);
    }
    return check(reader, enter(reader, edge->to, edge->tool), err);
}

enum status call_reader_finish(struct call_reader *reader, struct error *err) {
    const struct call_node *node = &reader->calls->nodes[reader->node];
    if (!reader->lost && node->kind == CALL_TEXT) give(reader, reader->pending.length);
    reader->output.cut = !reader->lost && node->kind != CALL_TEXT && !node->complete && !node->last;
    return check(reader, true, err);
}
