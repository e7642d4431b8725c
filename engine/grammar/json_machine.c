/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/json_machine.h"

#include "engine/grammar/json_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SPACE_DEFAULT = 16 };

/* ---- states ---- */

struct bytes_view text_between(struct frames *frames, const struct text_node *from, const struct text_node *to) {
    size_t length = 0;
    for (const struct text_node *node = to; node != from && node != NULL; node = node->before) length++;
    uint8_t *text = frames_alloc(frames, length + 1);
    if (text == NULL) return (struct bytes_view){0};
    size_t at = length;
    for (const struct text_node *node = to; at > 0; node = node->before) text[--at] = node->byte;
    return (struct bytes_view){text, length};
}

/** Objects need the text of a name, arrays that compare their items all of it. */
static bool records(const struct json_state *state) {
    if (state->frame->recording) return true;
    return state->phase == PHASE_KEY_STRING ||
           ((state->phase == PHASE_KEY || state->phase == PHASE_KEY_OR_CLOSE) && state->frame->kind == FRAME_OBJECT);
}

bool state_record(struct frames *frames, struct json_state *state, const uint8_t *bytes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct text_node *node = frames_alloc(frames, sizeof *node);
        if (node == NULL) return false;
        *node = (struct text_node){state->text, bytes[i]};
        state->text = node;
    }
    return true;
}

enum machine_step value_ended(struct json_machine *m, struct frames *frames, struct json_state *state,
                              const struct verdict *verdict) {
    switch (state->frame->kind) {
    case FRAME_ARRAY:
        return array_value(m, frames, state, verdict);
    case FRAME_OBJECT:
        return object_value(m, frames, state, verdict);
    default:
        break;
    }
    if (!joint_satisfied(state->frame->child, verdict)) return MACHINE_DEAD;
    state->phase = PHASE_DONE;
    state->space = state->blank = 0;
    return MACHINE_LIVE;
}

/* ---- bytes ---- */

static bool is_space(uint8_t byte) {
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

static enum machine_step begin_literal(const struct json_state *state, struct json_state *out, uint8_t byte) {
    enum value_kind kind = byte == 'n' ? VALUE_NULL : byte == 't' ? VALUE_TRUE : VALUE_FALSE;
    if (!(state->frame->child->possible >> kind & 1)) return MACHINE_DEAD;
    *out = *state;
    out->phase = PHASE_LITERAL;
    out->literal = (uint8_t)kind;
    out->progress = 1;
    return MACHINE_LIVE;
}

static enum machine_step begin_value(struct json_machine *m, struct frames *frames, struct json_state *state,
                                     uint8_t byte) {
    struct joint *joint = state->frame->child;
    struct json_state at = *state;
    if (joint == NULL) return MACHINE_DEAD;
    switch (byte) {
    case '"':
        if (joint->string == TUPLE_DEAD) return MACHINE_DEAD;
        state->phase = PHASE_STRING;
        state->lex = LEX_PLAIN;
        state->tuple = joint->string;
        return MACHINE_LIVE;
    case '{':
        return joint->possible >> VALUE_OBJECT & 1 ? object_open(m, frames, &at, state) : MACHINE_DEAD;
    case '[':
        return joint->possible >> VALUE_ARRAY & 1 ? array_open(m, frames, &at, state) : MACHINE_DEAD;
    case 't':
    case 'f':
    case 'n':
        return begin_literal(&at, state, byte);
    default:
        break;
    }
    if (byte != '-' && (byte < '0' || byte > '9')) return MACHINE_DEAD;
    state->phase = PHASE_NUMBER;
    state->tuple = tuple_step(m, joint->number, byte);
    return state->tuple == TUPLE_FAILED ? MACHINE_FAILED : state->tuple == TUPLE_DEAD ? MACHINE_DEAD : MACHINE_LIVE;
}

static enum machine_step step_literal(struct json_machine *m, struct frames *frames, struct json_state *state,
                                      uint8_t byte) {
    static const char *const TEXT[] = {"null", "false", "true"};
    const char *text = TEXT[state->literal];
    if (byte != (uint8_t)text[state->progress]) return MACHINE_DEAD;
    if (text[++state->progress] != '\0') return MACHINE_LIVE;
    return value_ended(m, frames, state, &state->frame->child->constants[state->literal]);
}

static enum machine_step step_string(struct json_machine *m, struct frames *frames, struct json_state *state,
                                     uint8_t byte) {
    bool ended, key = state->phase == PHASE_KEY_STRING;
    enum machine_step step = string_step(m, state, byte, &ended);
    if (step != MACHINE_LIVE || !ended) return step;
    if (key) return object_key_end(m, frames, state);
    struct verdict verdict = {0};
    tuple_verdict(m, state->tuple, &verdict);
    if (!tuple_accepts(m, state->tuple)) return MACHINE_DEAD;
    return value_ended(m, frames, state, &verdict);
}

/** What may stand behind a number. */
static bool ends_number(uint8_t byte) {
    return is_space(byte) || byte == ',' || byte == ']' || byte == '}';
}

/** Behind a number that is not the root: whatever byte comes, the number has ended. */
static enum machine_step end_number(struct json_machine *m, struct frames *frames, struct json_state *state) {
    struct verdict verdict = {0};
    if (!tuple_accepts(m, state->tuple)) return MACHINE_DEAD;
    tuple_verdict(m, state->tuple, &verdict);
    return value_ended(m, frames, state, &verdict);
}

static bool may_be_blank(const struct json_state *state) {
    switch (state->phase) {
    case PHASE_VALUE:
    case PHASE_VALUE_OR_CLOSE:
    case PHASE_AFTER:
    case PHASE_KEY_OR_CLOSE:
    case PHASE_KEY:
    case PHASE_COLON:
    case PHASE_DONE:
        return true;
    default:
        return false;
    }
}

static enum machine_step step_blank(const struct json_machine *m, struct json_state *state, uint8_t byte) {
    if (state->blank && byte == ' ') {
        state->blank = 0;
        return MACHINE_LIVE;
    }
    if (m->options.space != GRAMMAR_SPACE_FREE || state->space >= m->options.space_max) return MACHINE_DEAD;
    state->space++;
    return MACHINE_LIVE;
}

static enum machine_step step_structure(struct json_machine *m, struct frames *frames, struct json_state *state,
                                        uint8_t byte) {
    enum machine_step step = MACHINE_DEAD;
    bool model = m->options.space == GRAMMAR_SPACE_MODEL;
    if (state->blank) return MACHINE_DEAD;
    switch (state->phase) {
    case PHASE_VALUE_OR_CLOSE:
        if (byte == ']') return array_close(m, frames, state);
        return begin_value(m, frames, state, byte);
    case PHASE_VALUE:
        return begin_value(m, frames, state, byte);
    case PHASE_AFTER: {
        bool array = state->frame->kind == FRAME_ARRAY;
        if (byte == (array ? ']' : '}')) return array ? array_close(m, frames, state) : object_close(m, frames, state);
        if (byte != ',') return MACHINE_DEAD;
        step = array ? array_comma(state) : object_comma(state);
        break;
    }
    case PHASE_KEY_OR_CLOSE:
        if (byte == '}') return object_close(m, frames, state);
        return byte == '"' ? object_key_begin(m, state) : MACHINE_DEAD;
    case PHASE_KEY:
        return byte == '"' ? object_key_begin(m, state) : MACHINE_DEAD;
    case PHASE_COLON:
        if (byte != ':') return MACHINE_DEAD;
        state->phase = PHASE_VALUE;
        step = MACHINE_LIVE;
        break;
    default:
        return MACHINE_DEAD;
    }
    state->space = 0;
    state->blank = model; /* behind a comma or a colon */
    return step;
}

static enum machine_step step(struct machine *machine, struct frames *frames, const struct machine_state *from,
                              uint8_t byte, struct machine_state *out) {
    struct json_machine *m = (struct json_machine *)machine;
    struct json_state state = json_load(from);
    enum machine_step result = MACHINE_LIVE;
    if (state.phase == PHASE_NUMBER) {
        uint32_t next = byte < 0x80 ? tuple_step(m, state.tuple, byte) : TUPLE_DEAD;
        if (next == TUPLE_FAILED) return MACHINE_FAILED;
        bool digit = next != TUPLE_DEAD;
        if (digit)
            state.tuple = next;
        else
            result = ends_number(byte) ? end_number(m, frames, &state) : MACHINE_DEAD;
        if (result != MACHINE_LIVE) return result;
        if (digit) {
            if (state.frame->recording && !state_record(frames, &state, &byte, 1)) return MACHINE_FAILED;
            json_save(&state, out);
            return MACHINE_LIVE;
        }
    }
    if (records(&state) && !state_record(frames, &state, &byte, 1)) return MACHINE_FAILED;
    if (is_space(byte) && may_be_blank(&state))
        result = step_blank(m, &state, byte);
    else if (state.phase == PHASE_STRING || state.phase == PHASE_KEY_STRING)
        result = step_string(m, frames, &state, byte);
    else if (state.phase == PHASE_LITERAL)
        result = step_literal(m, frames, &state, byte);
    else
        result = step_structure(m, frames, &state, byte);
    if (result == MACHINE_LIVE) json_save(&state, out);
    return result;
}

static bool complete(struct machine *machine, const struct machine_state *from) {
    struct json_machine *m = (struct json_machine *)machine;
    struct json_state state = json_load(from);
    if (state.phase == PHASE_DONE) return true;
    return state.phase == PHASE_NUMBER && state.frame->kind == FRAME_ROOT && tuple_accepts(m, state.tuple);
}

uint32_t json_machine_depth(const struct machine_state *state, uint32_t limit) {
    uint32_t depth = 0;
    for (const struct frame *frame = json_load(state).frame; depth < limit && frame->kind != FRAME_ROOT;
         frame = frame->parent)
        depth++;
    return depth;
}

static enum machine_step start(struct machine *machine, struct frames *frames, struct machine_state *out) {
    struct json_machine *m = (struct json_machine *)machine;
    struct frame *frame = frames_alloc(frames, sizeof *frame);
    if (frame == NULL) return MACHINE_FAILED;
    *frame = (struct frame){.kind = FRAME_ROOT, .child = m->root, .serial = ++m->frames_made};
    struct json_state state = {.frame = frame, .phase = PHASE_VALUE};
    json_save(&state, out);
    return MACHINE_LIVE;
}

static uint64_t no_signature(struct machine *machine, const struct machine_state *state) {
    (void)machine;
    (void)state;
    return 0;
}

static void destroy(struct machine *machine) {
    struct json_machine *m = (struct json_machine *)machine;
    intern_deinit(&m->joint_index);
    intern_deinit(&m->tuples);
    memo_deinit(&m->seen_formulas);
    free(m->joints);
    free(m->rows);
    struct schema *schema = m->shapes->schema;
    shapes_destroy(m->shapes);
    schema_destroy(schema);
    free(m);
}

static const struct machine_operations OPERATIONS = {.destroy = destroy,
                                                     .start = start,
                                                     .step = step,
                                                     .complete = complete,
                                                     .shortest = json_shortest,
                                                     .signature = no_signature,
                                                     .fill = json_fill,
                                                     .estimate = json_estimate,
                                                     .leap = json_leap,
                                                     .inside = json_inside,
                                                     .alike = json_alike,
                                                     .respells = json_respells};

/** Some ways to begin a text are gone: what a grammar cannot do at all shows before a token is spent. */
static bool can_begin(struct json_machine *m) {
    static const char FIRST[] = "[{\"0-tfn";
    enum { FRAME_BYTES = 16 << 20 };
    struct frames frames;
    struct machine_state root, inner, next;
    frames_init(&frames, FRAME_BYTES);
    bool ok = start(&m->machine, &frames, &root) == MACHINE_LIVE;
    for (const char *a = FIRST; ok && *a != '\0'; a++) {
        enum machine_step first = step(&m->machine, &frames, &root, (uint8_t)*a, &inner);
        ok = first != MACHINE_FAILED;
        for (const char *b = FIRST; ok && *a == '[' && first == MACHINE_LIVE && *b != '\0'; b++)
            ok = step(&m->machine, &frames, &inner, (uint8_t)*b, &next) != MACHINE_FAILED;
    }
    frames_deinit(&frames);
    return ok;
}

enum status json_machine_create(struct shapes *shapes, const struct grammar_options *options, uint32_t unspelled,
                                struct machine **out, struct grammar_problem *problem) {
    struct schema *schema = shapes->schema;
    struct json_machine *m = calloc(1, sizeof *m);
    if (m == NULL) {
        snprintf(problem->reason, sizeof problem->reason, "out of memory");
        shapes_destroy(shapes);
        schema_destroy(schema);
        return STATUS_RESOURCE_EXHAUSTED;
    }
    m->machine.operations = &OPERATIONS;
    m->shapes = shapes;
    m->options = *options;
    m->spelling = json_spelling_make(options->spelling, unspelled);
    if (m->options.space_max == 0) m->options.space_max = SPACE_DEFAULT;
    if (m->options.space_max > 255) m->options.space_max = 255;
    intern_init(&m->joint_index, &schema->arena, &schema->budget);
    intern_init(&m->tuples, &schema->arena, &schema->budget);
    memo_init(&m->seen_formulas, &schema->budget);
    enum status status = STATUS_OK;
    struct joint_builder builder;
    builder.count = 0;
    builder.failed = false;
    conjunction root = conjunction_of(shapes, schema->root);
    joint_component(&builder, root, true);
    if (intern_put(&m->tuples, NULL, 0) != TUPLE_DEAD) status = schema_too_costly(schema, 0, "");
    if (status == STATUS_OK && shape_shortest(shapes, root) == LENGTH_NEVER && !shapes->declined)
        status = shapes_decline_nothing(shapes);
    if (status == STATUS_OK) {
        m->root = joint_make(m, &builder);
        if (m->root == NULL || !can_begin(m))
            status = shapes->declined ? shapes->status : schema_too_costly(schema, 0, "");
    }
    if (status != STATUS_OK) {
        destroy(&m->machine);
        return status;
    }
    *out = &m->machine;
    return STATUS_OK;
}
