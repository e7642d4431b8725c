/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * A short rest of a JSON text: pieces that json_plan.c wants, tried until the machine takes one, until the text is complete.
 *
 * Every byte is stepped, so the rest is right whatever was estimated; that it is short is not promised.
 */
#include "engine/grammar/json_fresh.h"
#include "engine/grammar/json_plan.h"

#include "engine/grammar/shape_internal.h"
#include "engine/grammar/vocabulary.h"

#include <string.h>

enum {
    VALUES_MAX = 32, /* ways to begin a value */
    PATIENCE_FIRST = 1,
    PATIENCE_MAX =
        64 /* how often a form that could end goes on for what else is wanted, or a number for one that was not there */
};

struct finish {
    struct json_machine *m;
    struct frames *frames;
    struct machine_state at;
    struct bytes text; /* so far */
    uint32_t patience;
    bool failed; /* budget or memory */
};

static struct regex_pool *pool_of(const struct finish *f) {
    return f->m->shapes->schema->regexes;
}

/** Go on by this text if the machine takes all of it. */
static bool try_text(struct finish *f, const void *data, size_t length) {
    const struct machine_operations *operations = f->m->machine.operations;
    struct frames_mark before = frames_mark(f->frames);
    struct machine_state at = f->at;
    enum machine_step step = MACHINE_LIVE;
    for (size_t i = 0; i < length && step == MACHINE_LIVE; i++)
        step = operations->step(&f->m->machine, f->frames, &at, ((const uint8_t *)data)[i], &at);
    if (step == MACHINE_LIVE && bytes_append(&f->text, data, length) == STATUS_OK) {
        f->at = at;
        return true;
    }
    f->failed |= step != MACHINE_DEAD;
    frames_drop(f->frames, before);
    return false;
}

static bool try_byte(struct finish *f, char byte) {
    return try_text(f, &byte, 1);
}

static bool try_any(struct finish *f, const char *bytes) {
    for (; *bytes != '\0' && !f->failed; bytes++)
        if (try_byte(f, *bytes)) return true;
    return false;
}

/** As the inside of a string, with the quote behind it; with the one before it too if `whole`. */
static bool try_string(struct finish *f, struct bytes_view text, bool whole) {
    struct bytes json;
    bytes_init(&json, 6 * text.length + 2);
    bool ok = json_spelling_append(&f->m->spelling, &json, text) == STATUS_OK;
    f->failed |= !ok;
    ok = ok && try_text(f, json.data + !whole, json.length - !whole);
    bytes_deinit(&json);
    return ok;
}

/** What is left to be written: of a string, with the quote behind it and perhaps the one before it, or of a number. */
struct left {
    enum left_kind { LEFT_INSIDE, LEFT_WHOLE, LEFT_NUMBER } kind;
    uint32_t of; /* a regex, a number_state */
};

/** The shortest text of it that is none of the others. */
static bool find_text(struct finish *f, struct left left, const struct others *others, struct bytes *out) {
    if (left.kind != LEFT_NUMBER)
        return regex_shortest_but(pool_of(f), left.of, others->texts, others->count, out) != REGEX_UNBOUNDED;
    struct number_pool *numbers = f->m->shapes->schema->numbers;
    return number_shortest_but(numbers, left.of, others->texts, others->count, out) != UINT32_MAX && !out->failed &&
           out->length > 0;
}

/** A text of it, none of the `others`, that the machine takes. */
static bool try_left(struct finish *f, struct left left, struct others *others) {
    bool done = false;
    while (!done && !f->failed && others_room(others)) {
        struct bytes text;
        bytes_init(&text, f->text.max_bytes);
        bool found = find_text(f, left, others, &text);
        done = found && (left.kind == LEFT_NUMBER ? try_text(f, text.data, text.length)
                                                  : try_string(f, bytes_view(&text), left.kind == LEFT_WHOLE));
        if (found && !done) /* takes the text over */
            others_refused(others, text);
        else
            bytes_deinit(&text);
        if (!found) break;
    }
    others_deinit(others);
    return done;
}

static bool try_any_of(struct finish *f, regex left) {
    struct others others = {0};
    return try_left(f, (struct left){LEFT_INSIDE, left}, &others);
}

/* ---- values that have begun ---- */

/** The states of a component in a tuple: the first of them at or behind *i, which moves behind it. False: no more. */
static bool next_entry(struct intern_item tuple, uint32_t component, uint32_t *i, uint32_t *out) {
    for (; *i + 1 < tuple.count; *i += 2)
        if (tuple.words[*i] >> 1 == component) {
            *out = tuple.words[*i + 1];
            *i += 2;
            return true;
        }
    return false;
}

static bool finish_string(struct finish *f, const struct json_state *state, const struct plan *plan) {
    struct intern_item tuple = intern_get(&f->m->tuples, state->tuple);
    regex left = REGEX_NOTHING, own = REGEX_NOTHING;
    for (uint32_t w = 0; w < plan->wanted_count; w++) {
        uint32_t i = 1, entry;
        if (!next_entry(tuple, plan->wanted[w], &i, &entry)) continue;
        regex both = left == REGEX_NOTHING ? entry : regex_and(pool_of(f), left, entry);
        if (left == REGEX_NOTHING) own = entry;
        if (both != REGEX_NOTHING && both != REGEX_FAILED) left = both;
    }
    if (left != REGEX_NOTHING && try_any_of(f, left)) return true;
    if (own != left && own != REGEX_NOTHING && try_any_of(f, own)) return true;
    for (uint32_t i = 1; i < tuple.count; i += 2)
        if (tuple.words[i] & 1 && try_any_of(f, tuple.words[i + 1])) return true;
    return false;
}

/** An escape or a character of several bytes that has begun. */
static bool finish_character(struct finish *f, const struct json_state *state) {
    switch (state->lex) {
    case LEX_ESCAPE:
        return try_any(f, "\"\\/bfnrtu");
    case LEX_HEX:
    case LEX_LOW_HEX:
        return try_any(f, "0123456789abcdef");
    case LEX_LOW_BACKSLASH:
        return try_byte(f, '\\');
    case LEX_LOW_U:
        return try_byte(f, 'u');
    default:
        break;
    }
    for (int byte = 0x80; byte < 0xc0 && !f->failed; byte++)
        if (try_byte(f, (char)byte)) return true;
    return false;
}

/** More digits, to something that may end. False: it may end as it is. */
static bool finish_number(struct finish *f, const struct json_state *state, const struct plan *plan) {
    struct number_pool *numbers = f->m->shapes->schema->numbers;
    struct intern_item tuple = intern_get(&f->m->tuples, state->tuple);
    uint32_t best = UINT32_MAX, best_entry = NUMBER_DEAD, entry;
    for (uint32_t w = 0; w < plan->wanted_count && best == UINT32_MAX; w++)
        for (uint32_t i = 1; next_entry(tuple, plan->wanted[w], &i, &entry);) {
            uint32_t length = number_shortest(numbers, entry, NULL);
            if (length < best) {
                best = length;
                best_entry = entry;
            }
        }
    for (uint32_t i = 1; i < tuple.count && best == UINT32_MAX; i += 2)
        if (tuple.words[i] & 1) {
            best_entry = tuple.words[i + 1];
            best = number_shortest(numbers, best_entry, NULL);
        }
    struct others none = {0};
    return best != 0 && best != UINT32_MAX && try_left(f, (struct left){LEFT_NUMBER, best_entry}, &none);
}

/* ---- values that begin ---- */

/** What the plan wants of the value, as one conjunction. */
static conjunction goal_of(struct finish *f, const struct json_state *state, const struct plan *plan) {
    struct shapes *shapes = f->m->shapes;
    const struct frame *frame = state->frame;
    const conjunction *components = frame->child->components;
    conjunction goal = components[plan->wanted_count > 0 ? plan->wanted[0] : 0];
    for (uint32_t w = 1; w < plan->wanted_count; w++) {
        conjunction both = conjunction_and(shapes, goal, components[plan->wanted[w]]);
        if (both != CONJUNCTION_FAILED && shape_satisfiable(shapes, both)) goal = both;
    }
    return goal;
}

/** One way to begin a value, and how long the whole is. */
struct way {
    uint32_t length, kind, index;
};

static void add_way(struct way *ways, uint32_t *count, uint32_t length, uint32_t kind, uint32_t index) {
    if (length != LENGTH_NEVER && *count < VALUES_MAX) ways[(*count)++] = (struct way){length, kind, index};
}

static uint32_t collect_ways(struct finish *f, conjunction goal, struct way *ways) {
    static const uint32_t BYTES[] = {[VALUE_NULL] = 4, [VALUE_FALSE] = 5, [VALUE_TRUE] = 4};
    struct shapes *shapes = f->m->shapes;
    const struct shape *shape = shape_of(shapes, goal, SHAPE_SCALARS | SHAPE_ARRAYS | SHAPE_OBJECTS);
    uint32_t count = 0, arrays = LENGTH_NEVER, objects = LENGTH_NEVER;
    if (shape == NULL) return 0;
    for (uint32_t kind = VALUE_NULL; kind <= VALUE_TRUE; kind++)
        if (shape->constants >> kind & 1) add_way(ways, &count, BYTES[kind], kind, 0);
    uint64_t letters = regex_lengths_of(&f->m->lengths, shapes->schema->regexes, shape->string);
    if (letters < LENGTH_NEVER - 2) add_way(ways, &count, 2 + (uint32_t)letters, VALUE_STRING, 0);
    for (uint32_t i = 0; i < shape->array_count; i++) {
        uint32_t length = measure_array(shapes, shape->arrays[i]);
        if (length < arrays) arrays = length;
    }
    for (uint32_t i = 0; i < shape->object_count; i++) {
        uint32_t length = measure_object(shapes, shape->objects[i]);
        if (length < objects) objects = length;
    }
    add_way(ways, &count, arrays, VALUE_ARRAY, 0);
    add_way(ways, &count, objects, VALUE_OBJECT, 0);
    for (uint32_t i = 0; i < shape->number_count; i++) {
        number_state start = json_number_start(f->m, shape->numbers[i]);
        add_way(ways, &count, number_shortest(shapes->schema->numbers, start, NULL), VALUE_NUMBER, i);
    }
    return count;
}

/** `seen`: that the value is not. */
static bool try_way(struct finish *f, conjunction goal, const struct way *way, const struct seen_text *seen) {
    struct shapes *shapes = f->m->shapes;
    const struct shape *shape = shape_of(shapes, goal, 0);
    struct others others = {0};
    switch (way->kind) {
    case VALUE_NULL:
        return try_text(f, "null", 4);
    case VALUE_FALSE:
        return try_text(f, "false", 5);
    case VALUE_TRUE:
        return try_text(f, "true", 4);
    case VALUE_STRING:
        others_strings(&others, seen);
        return try_left(f, (struct left){LEFT_WHOLE, shape->string}, &others);
    case VALUE_NUMBER:
        others_numbers(&others, seen);
        return try_left(f, (struct left){LEFT_NUMBER, json_number_start(f->m, shape->numbers[way->index])}, &others);
    case VALUE_ARRAY:
        return try_byte(f, '[');
    default:
        return try_byte(f, '{');
    }
}

/** The shortest first. */
static bool try_value(struct finish *f, conjunction goal, const struct seen_text *seen) {
    struct way ways[VALUES_MAX];
    uint32_t count = goal == CONJUNCTION_FAILED ? 0 : collect_ways(f, goal, ways);
    while (count > 0 && !f->failed) {
        uint32_t best = 0;
        for (uint32_t i = 1; i < count; i++)
            if (ways[i].length < ways[best].length) best = i;
        if (try_way(f, goal, &ways[best], seen)) return true;
        memmove(&ways[best], &ways[best + 1], (--count - best) * sizeof *ways);
    }
    return false;
}

static bool begin_value(struct finish *f, const struct json_state *state, const struct plan *plan) {
    const struct frame *frame = state->frame;
    if (frame->child == NULL) return false;
    const struct array_form *form = frame->kind == FRAME_ARRAY && plan->target_count > 0
                                        ? frame->joint->arrays[frame->items[plan->targets[0]].index].form
                                        : NULL;
    uint32_t count = 0;
    for (const struct seen_text *seen = frame->texts;
         form != NULL && form->duplicate && seen != NULL && count < OTHERS_REFUSED_MAX; seen = seen->before, count++)
        if (try_text(f, seen->text.data, seen->text.length)) return true;
    const struct seen_text *unlike = form != NULL && form->unique ? frame->texts : NULL;
    conjunction goal = goal_of(f, state, plan);
    if (try_value(f, goal, unlike)) return true;
    for (uint32_t c = 0; c < frame->child->count && !f->failed; c++)
        if (frame->child->must[c / 64] >> c % 64 & 1 && frame->child->components[c] != goal &&
            try_value(f, frame->child->components[c], unlike))
            return true;
    return false;
}

/* ---- ends of arrays and objects ---- */

static bool target_may_close(struct finish *f, const struct frame *frame, uint32_t item) {
    const struct item *of = &frame->items[item];
    if (frame->kind == FRAME_ARRAY) return array_may_close(frame, &frame->joint->arrays[of->index], of);
    struct frames_mark before = frames_mark(f->frames);
    bool may = object_may_close(f->m, f->frames, frame, &frame->joint->objects[of->index], of, &f->failed);
    frames_drop(f->frames, before);
    return may;
}

/** `state`: behind a value, or behind the bracket. */
static bool try_close(struct finish *f, const struct json_state *state, const struct plan *plan) {
    const struct frame *frame = state->frame;
    bool all = true, more = frame->kind == FRAME_ARRAY ? frame->child != NULL : frame->keys->any;
    for (uint32_t t = 0; t < plan->target_count; t++) all = all && target_may_close(f, frame, plan->targets[t]);
    if (!all && more) {
        if (f->patience > 0 || !target_may_close(f, frame, plan->targets[0])) {
            f->patience -= f->patience > 0;
            return false;
        }
    }
    return try_byte(f, frame->kind == FRAME_ARRAY ? ']' : '}');
}

/* ---- names ---- */

/** A known name of the range that the state has, if the machine takes the rest of it. */
static bool try_name(struct finish *f, const struct json_state *state, uint32_t n) {
    const struct frame *frame = state->frame;
    struct bytes_view text = frame->joint->names[n].text;
    if (n < state->low || n >= state->high || !(frame->keys->permitted[n / 64] >> n % 64 & 1)) return false;
    return try_string(f, (struct bytes_view){text.data + state->depth, text.length - state->depth}, false);
}

/** The names of `bits`, those that the form has first first. */
static bool try_names(struct finish *f, const struct json_state *state, const struct joint_object *object,
                      const uint64_t *bits) {
    const struct joint *joint = state->frame->joint;
    if (!budget_spend(&f->m->shapes->schema->budget, (state->high - state->low) / 8)) return false;
    for (uint64_t rank = 0; rank <= object->form->order_count && !f->failed;) {
        uint64_t next = UINT64_MAX;
        for (uint32_t n = state->low; n < state->high; n++) {
            if (!(bits[n / 64] >> n % 64 & 1) || object->rank[n] < rank) continue;
            if (object->rank[n] == rank && try_name(f, state, n)) return true;
            if (object->rank[n] > rank && object->rank[n] < next) next = object->rank[n];
        }
        if (next == UINT64_MAX || joint->name_count == 0) break;
        rank = next;
    }
    return false;
}

/** What has come of the name, decoded. */
static struct bytes_view name_begun(struct finish *f, const struct json_state *state) {
    struct bytes_view raw = text_between(f->frames, state->frame->start, state->text), out = {0};
    const uint8_t *quote = raw.data == NULL ? NULL : memchr(raw.data, '"', raw.length);
    f->failed |= raw.data == NULL;
    if (quote == NULL) return out;
    size_t length = (size_t)(raw.data + raw.length - quote);
    uint8_t *whole = frames_alloc(f->frames, length + 1);
    f->failed |= whole == NULL;
    if (f->failed) return out;
    memcpy(whole, quote, length);
    whole[length] = '"';
    out = (struct bytes_view){whole, length + 1};
    f->failed |= !text_decode_json(f->frames, &out);
    return out;
}

/** A name that the joint does not know, for an item (UINT32_MAX: any); within `also`, of whole names, unless that is REGEX_EVERYTHING. */
static bool try_unknown(struct finish *f, const struct json_state *state, uint32_t item, regex also) {
    struct regex_pool *pool = pool_of(f);
    if (state->tuple == TUPLE_DEAD) return false;
    struct bytes_view begun = name_begun(f, state);
    if (f->failed) return false;
    if (also != REGEX_EVERYTHING) also = regex_walk(pool, also, begun);
    struct intern_item tuple = intern_get(&f->m->tuples, state->tuple);
    for (uint32_t i = 1; i < tuple.count && !f->failed; i += 2) {
        if (item != UINT32_MAX && tuple.words[i] >> 1 != item) continue;
        regex left = also == REGEX_EVERYTHING ? tuple.words[i + 1] : regex_and(pool, tuple.words[i + 1], also);
        struct others others = {0};
        others_rests(&others, state->frame->texts, begun);
        if (try_left(f, (struct left){LEFT_INSIDE, left}, &others)) return true;
    }
    return false;
}

static bool try_options(struct finish *f, const struct json_state *state, uint32_t target) {
    const struct frame *frame = state->frame;
    const struct joint *joint = frame->joint;
    const struct object_form *form = joint->objects[frame->items[target].index].form;
    for (uint32_t o = 0; o < form->obligation_count; o++) {
        if (frame->items[target].done >> o & 1) continue;
        for (uint32_t j = 0; j < form->obligations[o].count && !f->failed; j++) {
            const struct object_option *option = &form->obligations[o].options[j];
            if (option->kind == OPTION_MISSING) continue;
            for (uint32_t n = state->low; n < state->high; n++)
                if ((option->kind == OPTION_NAME
                         ? option->name == joint->names[n].name
                         : regex_matches(pool_of(f), form->selectors[option->selector], joint->names[n].text)) &&
                    try_name(f, state, n))
                    return true;
            if (option->kind == OPTION_MATCH && try_unknown(f, state, target, form->selectors[option->selector]))
                return true;
        }
    }
    return false;
}

/** The permitted name whose property is shortest. */
static bool try_cheapest(struct finish *f, const struct json_state *state, struct joint_object *object,
                         uint32_t length_max) {
    const uint32_t *lengths = plan_lengths(f->m, state->frame->joint, object);
    uint32_t best = UINT32_MAX;
    f->failed |= lengths == NULL;
    for (uint32_t n = state->low; lengths != NULL && n < state->high; n++)
        if (state->frame->keys->permitted[n / 64] >> n % 64 & 1 && lengths[n] <= length_max &&
            (best == UINT32_MAX || lengths[n] < lengths[best]))
            best = n;
    return best != UINT32_MAX && try_name(f, state, best);
}

/** Of the names that nothing is known of those with the shortest values first, which are no values within themselves. */
static bool try_cheapest_unknown(struct finish *f, const struct json_state *state, uint32_t item,
                                 struct joint_object *object) {
    regex names;
    if (object->form->selector_count > 0 && object_cheapest_other(f->m->shapes, object->form, &names) != LENGTH_NEVER &&
        names != REGEX_NOTHING && try_unknown(f, state, item, names))
        return true;
    return !f->failed && try_unknown(f, state, item, REGEX_EVERYTHING);
}

static bool finish_name(struct finish *f, const struct json_state *state, const struct plan *plan) {
    enum { SHORT = 24 };
    const struct frame *frame = state->frame;
    for (uint32_t t = 0; t < plan->target_count && !f->failed; t++) {
        uint32_t item = plan->targets[t];
        struct joint_object *object = &frame->joint->objects[frame->items[item].index];
        const uint64_t *missing = plan_missing(f->m, f->frames, frame, object);
        f->failed |= missing == NULL;
        if (f->failed) return false;
        if (target_may_close(f, frame, item)) continue;
        if (try_names(f, state, object, missing) || try_options(f, state, item) ||
            try_cheapest(f, state, object, SHORT) || try_cheapest_unknown(f, state, item, object) ||
            try_cheapest(f, state, object, LENGTH_NEVER - 1))
            return true;
    }
    if (plan->target_count > 0 && !f->failed) { /* nothing must come: what is shortest */
        struct joint_object *object = &frame->joint->objects[frame->items[plan->targets[0]].index];
        if (try_cheapest(f, state, object, SHORT)) return true;
    }
    if (try_unknown(f, state, UINT32_MAX, REGEX_EVERYTHING)) return true;
    for (uint32_t n = state->low; n < state->high && !f->failed; n++)
        if (try_name(f, state, n)) return true;
    return false;
}

/* ---- all of it ---- */

/** Behind a number something else has to come, which the state behind it decides. */
static bool leave_number(struct finish *f, const struct json_state *number) {
    struct json_state after = *number;
    struct verdict verdict = {0};
    struct plan plan;
    tuple_verdict(f->m, number->tuple, &verdict);
    enum machine_step step =
        tuple_accepts(f->m, number->tuple) ? value_ended(f->m, f->frames, &after, &verdict) : MACHINE_DEAD;
    f->failed |= step == MACHINE_FAILED;
    if (step != MACHINE_LIVE) { /* it was there before, and may not be again */
        if (f->failed || f->patience == 0) return false;
        f->patience--;
        return try_any(f, "1023456789.");
    }
    f->failed |= !plan_make(f->m, f->frames, &after, &plan);
    return !f->failed && (try_close(f, &after, &plan) || try_any(f, ",]}0123456789."));
}

static bool go_on(struct finish *f) {
    static const char *const LITERALS[] = {"null", "false", "true"};
    struct json_state state = json_load(&f->at);
    struct plan plan;
    if (state.blank) return try_byte(f, ' ');
    if ((state.phase == PHASE_STRING || state.phase == PHASE_KEY_STRING) && state.lex != LEX_PLAIN)
        return finish_character(f, &state);
    if (!plan_make(f->m, f->frames, &state, &plan)) {
        f->failed = true;
        return false;
    }
    switch (state.phase) {
    case PHASE_LITERAL: {
        const char *rest = LITERALS[state.literal] + state.progress;
        return try_text(f, rest, strlen(rest));
    }
    case PHASE_COLON:
        return try_byte(f, ':');
    case PHASE_STRING:
        return finish_string(f, &state, &plan);
    case PHASE_NUMBER:
        return finish_number(f, &state, &plan) || (!f->failed && leave_number(f, &state));
    case PHASE_VALUE:
        return begin_value(f, &state, &plan);
    case PHASE_VALUE_OR_CLOSE:
        return try_close(f, &state, &plan) || begin_value(f, &state, &plan) || try_byte(f, ']');
    case PHASE_AFTER:
        return try_close(f, &state, &plan) || try_any(f, ",]}");
    case PHASE_KEY_OR_CLOSE:
        return try_close(f, &state, &plan) || try_any(f, "\"}");
    case PHASE_KEY:
        return try_byte(f, '"');
    case PHASE_KEY_STRING:
        return finish_name(f, &state, &plan);
    default:
        return false;
    }
}

/** Far more than `limit` bytes must come: no way is looked for. */
static bool is_hopeless(uint64_t about, uint64_t limit) {
    enum { UNSURE = 4, AT_LEAST = 1024 };
    return about != UINT64_MAX && about > UNSURE * limit + AT_LEAST;
}

static uint64_t rest_with_patience(struct json_machine *m, struct frames *frames, const struct machine_state *state,
                                   uint64_t limit, uint32_t patience, struct bytes *out) {
    struct machine *machine = &m->machine;
    struct frames_mark before = frames_mark(frames);
    struct finish f = {.m = m, .frames = frames, .at = *state, .patience = patience};
    bytes_init(&f.text, limit);
    bool complete;
    while (!(complete = machine->operations->complete(machine, &f.at)) && !f.failed &&
           budget_spend(&m->shapes->schema->budget, 1) && budget_may_look(&m->shapes->schema->budget) && go_on(&f)) {
    }
    uint64_t length = complete && !f.failed ? f.text.length : limit + 1;
    if (complete && !f.failed && out != NULL) (void)bytes_append(out, f.text.data, f.text.length); /* shows in `out` */
    bytes_deinit(&f.text);
    frames_drop(frames, before);
    return length;
}

/** What closes soon is shortest most often; where it is longer than was estimated it may be better to go on for what is wanted. */
uint64_t json_shortest(struct machine *machine, struct frames *frames, const struct machine_state *packed,
                       uint64_t limit, struct bytes *out) {
    struct json_machine *m = (struct json_machine *)machine;
    struct json_state state = json_load(packed);
    uint64_t about = plan_estimate(m, frames, &state);
    size_t before = out != NULL ? out->length : 0;
    if (is_hopeless(about, limit)) return limit + 1;
    uint64_t length = rest_with_patience(m, frames, packed, limit, PATIENCE_FIRST, out);
    if (length <= limit && length <= about) return length;
    struct bytes other;
    bytes_init(&other, limit);
    uint64_t patient =
        rest_with_patience(m, frames, packed, length <= limit ? length - 1 : limit, PATIENCE_MAX, &other);
    if (patient < length && patient <= limit) {
        length = patient;
        if (out != NULL) out->length = before;
        if (out != NULL) (void)bytes_append(out, other.data, other.length); /* shows in `out` */
    }
    bytes_deinit(&other);
    return length;
}

/** A name must come, and a required one still can: what is left was counted with it. */
static bool name_is_counted(struct json_machine *m, struct frames *frames, const struct json_state *state) {
    const struct frame *frame = state->frame;
    struct frames_mark before = frames_mark(frames);
    uint32_t low = state->phase == PHASE_KEY ? 0 : state->low;
    uint32_t high = state->phase == PHASE_KEY ? frame->joint->name_count : state->high;
    const uint64_t *missing = NULL;
    bool found = false;
    if (frame->item_count == 1) missing = plan_missing(m, frames, frame, &frame->joint->objects[frame->items[0].index]);
    for (uint32_t n = low; missing != NULL && n < high && !found; n++)
        found = missing[n / 64] & frame->keys->permitted[n / 64] & 1ull << n % 64;
    frames_drop(frames, before);
    return found;
}

uint64_t json_estimate(struct machine *machine, struct frames *frames, const struct machine_state *packed) {
    enum { LIMIT = 1 << 16 };
    struct json_state state = json_load(packed);
    if (machine->operations->complete(machine, packed)) return 0;
    if ((state.phase == PHASE_KEY || state.phase == PHASE_KEY_STRING) &&
        !name_is_counted((struct json_machine *)machine, frames, &state)) {
        uint64_t exact = json_shortest(machine, frames, packed, LIMIT, NULL);
        return exact > LIMIT ? UINT64_MAX : exact;
    }
    return plan_estimate((struct json_machine *)machine, frames, &state);
}

uint64_t json_leap(struct machine *machine) {
    return plan_leap((struct json_machine *)machine);
}

static bool is_string(const struct json_state *state) {
    return state->phase == PHASE_STRING || state->phase == PHASE_KEY_STRING;
}

/** Any text may come, as far as the texts themselves go. */
static bool is_free(const struct json_machine *m, uint32_t tuple_id) {
    struct intern_item tuple = intern_get(&m->tuples, tuple_id);
    for (uint32_t i = 1; i < tuple.count; i += 2)
        if (tuple.words[i + 1] != REGEX_EVERYTHING) return false;
    return tuple_id != TUPLE_DEAD;
}

/** The name that is being written decides about its value, or more names must be made up behind it. */
static bool name_matters(const struct frame *frame) {
    for (uint32_t i = 0; i < frame->item_count; i++) {
        const struct object_form *form = frame->joint->objects[frame->items[i].index].form;
        if (form->selector_count > 0 || form->min > frame->count + 1) return true;
    }
    return false;
}

/**
 * Of every language of the tuple: none of the tokens of common characters makes its shortest rest more than a character longer, as far as they may come at all.
 */
static bool is_roomy(const struct json_machine *m, uint32_t tuple_id) {
    struct regex_pool *pool = m->shapes->schema->regexes;
    struct intern_item tuple = intern_get(&m->tuples, tuple_id);
    for (uint32_t i = 1; i < tuple.count; i += 2) {
        regex language = tuple.words[i + 1];
        uint64_t ascii[2];
        enum regex_others others;
        uint32_t length;
        if (language == REGEX_EVERYTHING) continue;
        regex_freedom(pool, language, ascii, &others, &length);
        if (~ascii[0] != 0 || ~ascii[1] != 0 || others == REGEX_OTHERS_NONE) return false;
        if (length >= COMMON_LENGTH) continue;
        uint32_t least = regex_shortest(pool, language, NULL); /* nothing but a length is asked for */
        if (least > length || regex_length(pool, least, length) != language) return false;
    }
    return tuple_id != TUPLE_DEAD;
}

/** A name that may still be a known one, or another: what is so of others, of tokens that begin with no byte that a known one goes on with. */
static bool inside_beside_names(const struct json_machine *m, const struct grammar_vocabulary *vocabulary,
                                const struct json_state *state, struct string_inside *out) {
    enum { ANOTHER = 2, NAMES_MAX = 1024 };
    const struct joint *joint = state->frame->joint;
    if (!is_free(m, state->tuple) || state->high - state->low > NAMES_MAX) return false;
    *out = (struct string_inside){
        .stands_for = -1, .ends_alike = true, .whole = vocabulary->common_whole, .more = ANOTHER};
    out->but['"' / 64] |= UINT64_C(1) << '"' % 64; /* what has come may end here, and be known */
    for (uint32_t n = state->low; n < state->high; n++) {
        struct bytes_view text = joint->names[n].text;
        if (state->depth < text.length)
            out->but[text.data[state->depth] / 64] |= UINT64_C(1) << text.data[state->depth] % 64;
    }
    for (uint8_t byte = 'a'; byte <= 'z' && out->stands_for < 0; byte++)
        if (!(out->but[byte / 64] >> byte % 64 & 1)) out->stands_for = byte;
    return out->stands_for >= 0;
}

/**
 * Inside a string, or a name that nothing is known of, of any text: whole plain characters change nothing. A name that is still to be made up is not there yet; one that was
 * there before has to go on, and so have characters and escapes that have begun.
 */
bool json_inside(struct machine *machine, const struct grammar_vocabulary *vocabulary,
                 const struct machine_state *packed, struct string_inside *out) {
    enum { ANOTHER = 2, BEGUN = 6 }; /* bytes: of a character more; of what can be left of one: \uXXXX */
    struct json_machine *m = (struct json_machine *)machine;
    struct json_state state = json_load(packed);
    bool name = state.phase == PHASE_KEY_STRING;
    if (!is_string(&state) || state.lex != LEX_PLAIN || state.frame->recording) return false;
    if (name && name_matters(state.frame)) return false;
    if (name && state.low < state.high) return inside_beside_names(m, vocabulary, &state, out);
    bool again = name && state.frame->texts != NULL && !text_is_apart(state.frame, state.text);
    *out = (struct string_inside){.whole = vocabulary->common_whole, .more = ANOTHER, .stands_for = -1};
    if (!is_free(m, state.tuple)) {
        out->ends_alike = intern_get(&m->tuples, state.tuple).count <= 3; /* one language */
        return !name && is_roomy(m, state.tuple);
    }
    *out = (struct string_inside){
        .stands_for = -1,
        .ends_alike = true,
        .whole = vocabulary->common_whole,
        .any = vocabulary->strings[0].spelled[m->spelling.any ? GRAMMAR_SPELLING_ANY : GRAMMAR_SPELLING_PLAIN].inside,
        .more = again ? ANOTHER : 0,
        .more_any = (again ? ANOTHER : 0) + BEGUN};
    return true;
}

/** Nothing but this array looks at the texts of its items, which must differ. */
static bool only_differs(const struct frame *frame) {
    if (frame->kind != FRAME_ARRAY || frame->parent->recording) return false;
    for (uint32_t i = 0; i < frame->item_count; i++)
        if (frame->joint->arrays[frame->items[i].index].form->duplicate) return false;
    return true;
}

/**
 * What has come of a name that nothing is known of, or of an item that only must differ, does not matter beyond the states of languages that it led to: but where it was
 * there before it has to go on, and where it is as short as one that is made up the next one has to be another.
 */
void json_alike(struct machine *machine, const struct machine_state *packed, struct machine_state *out) {
    struct json_state state = json_load(packed);
    uint32_t names = 0;
    *out = *packed;
    if (state.lex != LEX_PLAIN || !is_string(&state)) return;
    if (state.phase == PHASE_KEY_STRING ? state.low < state.high || state.frame->recording
                                        : !state.frame->recording || !only_differs(state.frame))
        return;
    if (!text_is_apart(state.frame, state.text)) return;
    if (state.phase == PHASE_KEY_STRING &&
        !names_state((struct json_machine *)machine, state.frame, state.text, &names))
        return;
    state.high = state.low = names;
    state.depth = 0;
    state.text = NULL;
    json_save(&state, out);
}

/* ---- spellings ---- */

static bool goes_on(struct machine *machine, struct frames *frames, const struct machine_state *from,
                    const char *text) {
    struct machine_state at = *from;
    enum machine_step step = MACHINE_LIVE;
    for (; *text != '\0' && step == MACHINE_LIVE; text++)
        step = machine->operations->step(machine, frames, &at, (uint8_t)*text, &at);
    return step != MACHINE_DEAD; /* a failure: it may */
}

/** A backslash in a string, when all characters that can come so are those that can come without. With plain spelling there are none. */
bool json_respells(struct machine *machine, struct frames *frames, const struct machine_state *packed, uint8_t byte) {
    static const char *const OTHERS[] = {"\\\"", "\\\\", "\\b", "\\f", "\\n", "\\r", "\\t", "\\u000", "\\u001"};
    struct json_state state = json_load(packed);
    if (!((struct json_machine *)machine)->spelling.any || byte != '\\' || !is_string(&state) || state.lex != LEX_PLAIN)
        return false;
    for (size_t i = 0; i < sizeof OTHERS / sizeof *OTHERS; i++)
        if (goes_on(machine, frames, packed, OTHERS[i])) return false;
    return true;
}
