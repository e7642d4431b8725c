/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/json_internal.h"

#include "engine/grammar/json_canonical.h"

#include <string.h>

/* ---- items that differ ---- */

enum { FEW_VALUES = 1000 }; /* values that may run out */

/** Some digit that makes it another number may follow. */
static bool digit_follows(struct number_pool *numbers, number_state state) {
    for (uint8_t digit = '1'; digit <= '9'; digit++) {
        number_state next = number_step(numbers, state, digit);
        if (next != NUMBER_DEAD && next != NUMBER_STATE_FAILED) return true;
    }
    return false;
}

/** What is begun as this number can become another one. */
static bool number_goes_on(struct number_pool *numbers, number_set set, struct bytes_view json) {
    number_state state = number_start(numbers, set);
    for (size_t i = 0; i < json.length && state != NUMBER_DEAD && state != NUMBER_STATE_FAILED; i++)
        state = number_step(numbers, state, json.data[i]);
    if (state == NUMBER_DEAD || state == NUMBER_STATE_FAILED) return false;
    if (digit_follows(numbers, state)) return true;
    number_state fraction = number_step(numbers, state, '.');
    return fraction != NUMBER_DEAD && fraction != NUMBER_STATE_FAILED && digit_follows(numbers, fraction);
}

/** Where nothing but strings seen could come of what is begun. */
static bool string_runs_out(struct json_machine *m, regex language, struct bytes_view json) {
    struct regex_pool *pool = m->shapes->schema->regexes;
    struct arena arena;
    struct json_value *value;
    struct json_problem problem;
    if (language == REGEX_NOTHING || language == REGEX_EVERYTHING) return false;
    arena_init(&arena, (size_t)1 << 30);
    bool out = json_read(json, 0, 1, &arena, &value, &problem) != STATUS_OK ||
               regex_without(pool, language, value->string, FEW_VALUES) != language;
    arena_deinit(&arena);
    return out;
}

/** An item of these values must be told that it is not the one seen, or it might be begun as one that could only end as that. */
static bool runs_out(struct json_machine *m, conjunction values, struct bytes_view json) {
    const struct shape *shape = shape_of(m->shapes, values, SHAPE_SCALARS | SHAPE_ARRAYS | SHAPE_OBJECTS);
    if (shape == NULL) return false;
    switch (json.data[0]) {
    case 'n':
    case 't':
    case 'f':
        return shape->constants != 0;
    case '"':
        return string_runs_out(m, shape->string, json);
    case '[':
    case '{':
        return shape_count(m->shapes, values, FEW_VALUES) < FEW_VALUES;
    default:
        for (uint32_t i = 0; i < shape->number_count; i++)
            if (shape->numbers[i] == NUMBER_ANY) return false;
        if (shape->number_count == 0) return false;
        if (shape_count(m->shapes, values, FEW_VALUES) < FEW_VALUES) return true;
        for (uint32_t i = 0; i < shape->number_count; i++)
            if (number_goes_on(m->shapes->schema->numbers, shape->numbers[i], json)) return false;
        return true;
    }
}

formula array_seen_formula(struct json_machine *m, const struct seen_text *seen) {
    formula out;
    uint64_t key = seen->hash[0] & (UINT64_MAX >> 1);
    if (memo_get(&m->seen_formulas, key, &out)) return out;
    out = canonical_formula(m->shapes->schema, seen->text);
    return out != FORMULA_NONE && memo_put(&m->seen_formulas, key, out) ? out : FORMULA_NONE;
}

/** What all further items of a form must satisfy besides, now that `seen` is there. */
static conjunction without_seen(struct json_machine *m, const struct array_form *form, conjunction without,
                                const struct seen_text *seen, uint32_t index) {
    enum { FIRST_LOOKED_AT = 64 };
    bool out = form->first_count > FIRST_LOOKED_AT || runs_out(m, form->others, seen->text);
    for (uint32_t i = index; !out && i < form->first_count; i++) out = runs_out(m, form->first[i], seen->text);
    if (!out) return without;
    formula f = array_seen_formula(m, seen);
    if (f == FORMULA_NONE && m->shapes->schema->beyond) return without; /* a number that nobody would begin again */
    return conjunction_with(m->shapes, without, f, true);
}

/* ---- items that repeat ---- */

/** One of the values that were seen. */
static conjunction seen_again(struct json_machine *m, const struct frame *frame) {
    conjunction none = CONJUNCTION_TRUE;
    for (const struct seen_text *seen = frame->texts; seen != NULL; seen = seen->before) {
        formula f = array_seen_formula(m, seen);
        if (f == FORMULA_NONE && m->shapes->schema->beyond) continue;
        none = conjunction_with(m->shapes, none, f, true);
    }
    return conjunction_not(m->shapes, none);
}

/** Behind the item at `index` two items can still become equal: a later one to it, or to one that was seen. */
static bool can_repeat_later(struct json_machine *m, const struct frame *frame, const struct joint_array *array,
                             uint32_t index) {
    const struct array_form *form = array->form;
    uint32_t end = form->first_count + 2 > index + 3 ? form->first_count + 2 : index + 3;
    for (uint32_t j = index + 1; j < array->max && j < end; j++) {
        conjunction item = array_item(form, j);
        for (uint32_t i = index; i < j; i++)
            if (shape_satisfiable(m->shapes, conjunction_and(m->shapes, array_item(form, i), item))) return true;
        if (frame->texts != NULL &&
            shape_satisfiable(m->shapes, conjunction_and(m->shapes, item, seen_again(m, frame))))
            return true;
    }
    return false;
}

/** What the item at `index` must be for the form to go on; CONJUNCTION_FALSE: no further item. */
static conjunction next_item(struct json_machine *m, const struct frame *frame, const struct joint_array *array,
                             const struct item *item, uint32_t index) {
    struct array_progress progress = {index, array->max, item->counts, item->without};
    conjunction value = array_next(m->shapes, array->form, &progress);
    if (!array->form->duplicate || frame->repeated || value == CONJUNCTION_FALSE ||
        can_repeat_later(m, frame, array, index))
        return value;
    return conjunction_and(m->shapes, value, seen_again(m, frame));
}

/** Set child and links: what the next value is looked at for. Without a child when there may be none. */
static bool prepare_child(struct json_machine *m, struct frames *frames, struct frame *frame) {
    struct joint_builder builder;
    builder.count = 0;
    builder.failed = false;
    uint32_t links_max = 0;
    for (uint32_t i = 0; i < frame->item_count; i++)
        links_max += 1 + frame->joint->arrays[frame->items[i].index].form->contains_count;
    struct link *links = frames_alloc(frames, links_max * sizeof *links);
    if (links == NULL) return false;
    frame->link_count = 0;
    frame->child = NULL;
    for (uint32_t i = 0; i < frame->item_count; i++) {
        const struct item *item = &frame->items[i];
        const struct joint_array *array = &frame->joint->arrays[item->index];
        conjunction value = next_item(m, frame, array, item, frame->count);
        if (value == CONJUNCTION_FAILED) return false;
        bool must = array->must;
        if (!shape_satisfiable(m->shapes, value)) continue;
        links[frame->link_count++] = (struct link){i, joint_component(&builder, value, must), LINK_MUST, 0};
        for (uint32_t j = 0; j < array->form->contains_count; j++) {
            const struct array_contains *contains = &array->form->contains[j];
            if (frame->count < contains->from) continue;
            links[frame->link_count++] =
                (struct link){i, joint_component(&builder, contains->what, false), LINK_CONTAINS, j};
        }
    }
    frame->links = links;
    if (m->shapes->declined) return false;
    if (frame->link_count == 0) return true;
    frame->child = joint_make(m, &builder);
    if (frame->child != NULL && frame->child->possible == 0)
        frame->child = NULL; /* only forms that are watched could go on */
    return !builder.failed && !m->shapes->declined && !budget_exhausted(&m->shapes->schema->budget);
}

/** Some form compares its items. */
static bool compares(const struct joint *joint) {
    for (uint32_t i = 0; i < joint->array_count; i++)
        if (joint->arrays[i].form->unique || joint->arrays[i].form->duplicate) return true;
    return false;
}

enum machine_step array_open(struct json_machine *m, struct frames *frames, const struct json_state *at,
                             struct json_state *out) {
    struct joint *joint = at->frame->child;
    struct frame *frame = frames_alloc(frames, sizeof *frame);
    struct item *items = frames_alloc(frames, joint->array_count * sizeof *items);
    if (frame == NULL || items == NULL) return MACHINE_FAILED;
    *frame = (struct frame){.parent = at->frame, .joint = joint, .kind = FRAME_ARRAY, .items = items};
    frame->serial = ++m->frames_made;
    frame->recording = at->frame->recording || compares(joint);
    frame->start = at->text;
    for (uint32_t i = 0; i < joint->array_count; i++) {
        uint32_t contains_count = joint->arrays[i].form->contains_count;
        uint32_t *counts = contains_count == 0 ? NULL : frames_alloc(frames, contains_count * sizeof *counts);
        if (contains_count > 0 && counts == NULL) return MACHINE_FAILED;
        if (counts != NULL) memset(counts, 0, contains_count * sizeof *counts);
        items[frame->item_count++] = (struct item){.index = i, .counts = counts};
    }
    if (!prepare_child(m, frames, frame)) return MACHINE_FAILED;
    *out = *at;
    out->frame = frame;
    out->phase = PHASE_VALUE_OR_CLOSE;
    out->space = out->blank = 0;
    return MACHINE_LIVE;
}

enum machine_step array_comma(struct json_machine *m, struct frames *frames, struct json_state *state) {
    (void)m;
    (void)frames;
    if (state->frame->child == NULL) return MACHINE_DEAD;
    state->phase = PHASE_VALUE;
    return MACHINE_LIVE;
}

bool array_may_close(const struct frame *frame, const struct joint_array *array, const struct item *item) {
    if (frame->count < array->form->min) return false;
    for (uint32_t i = 0; i < array->form->contains_count; i++)
        if (item->counts[i] < array->form->contains[i].min) return false;
    return !array->form->duplicate || frame->repeated;
}

enum machine_step array_close(struct json_machine *m, struct frames *frames, struct json_state *state) {
    const struct frame *frame = state->frame;
    struct verdict verdict = {0};
    for (uint32_t i = 0; i < frame->item_count; i++) {
        const struct joint_array *array = &frame->joint->arrays[frame->items[i].index];
        if (array_may_close(frame, array, &frame->items[i])) verdict_add(&verdict, array->component);
    }
    if (!joint_satisfied(frame->joint, &verdict)) return MACHINE_DEAD;
    state->frame = frame->parent;
    return value_ended(m, frames, state, &verdict);
}

static bool seen_before(const struct frame *frame, const uint64_t hash[2]) {
    for (const struct seen_text *seen = frame->texts; seen != NULL; seen = seen->before)
        if (seen->hash[0] == hash[0] && seen->hash[1] == hash[1]) return true;
    return false;
}

/** Keep the value that has just ended; *again: an equal one was there. */
static bool note_value(struct frames *frames, struct frame *frame, const struct text_node *text, bool *again) {
    struct seen_text *seen = frames_alloc(frames, sizeof *seen);
    if (seen == NULL) return false;
    seen->before = frame->texts;
    seen->text = text_between(frames, frame->start, text);
    while (seen->text.length > 0 && strchr(" \t\r\n,", seen->text.data[0]) != NULL) { /* since the value before */
        seen->text.data++;
        seen->text.length--;
    }
    if (seen->text.data == NULL || !canonical_hash(seen->text, seen->hash)) return false;
    *again = seen_before(frame, seen->hash);
    frame->texts = seen;
    return true;
}

static bool verdict_of(const struct frame *frame, uint32_t item, const struct verdict *verdict) {
    for (uint32_t i = 0; i < frame->link_count; i++)
        if (frame->links[i].item == item && frame->links[i].kind == LINK_MUST)
            return verdict_holds(verdict, frame->links[i].component);
    return false; /* the form allowed no further item */
}

static bool count_contains(struct frames *frames, const struct frame *frame, uint32_t item, uint32_t contains_count,
                           const struct verdict *verdict, struct item *out) {
    if (contains_count == 0) return true;
    uint32_t *counts = frames_alloc(frames, contains_count * sizeof *counts);
    if (counts == NULL) return false;
    memcpy(counts, out->counts, contains_count * sizeof *counts);
    for (uint32_t i = 0; i < frame->link_count; i++) {
        const struct link *link = &frame->links[i];
        if (link->item == item && link->kind == LINK_CONTAINS && verdict_holds(verdict, link->component) &&
            counts[link->index] < UINT32_MAX)
            counts[link->index]++;
    }
    out->counts = counts;
    return true;
}

enum machine_step array_value(struct json_machine *m, struct frames *frames, struct json_state *state,
                              const struct verdict *verdict) {
    const struct frame *before = state->frame;
    struct frame *frame = frames_alloc(frames, sizeof *frame);
    struct item *items = frames_alloc(frames, before->item_count * sizeof *items);
    if (frame == NULL || items == NULL) return MACHINE_FAILED;
    *frame = *before;
    frame->serial = ++m->frames_made;
    bool again = false, compared = compares(before->joint);
    if (compared && !note_value(frames, frame, state->text, &again)) return MACHINE_FAILED;
    frame->start = state->text;
    frame->items = items;
    frame->item_count = 0;
    frame->count = before->count + 1;
    frame->repeated |= again;
    bool must = false;
    for (uint32_t i = 0; i < before->item_count; i++) {
        const struct joint_array *array = &before->joint->arrays[before->items[i].index];
        if (!verdict_of(before, i, verdict) || (again && array->form->unique)) continue;
        struct item *item = &items[frame->item_count++];
        *item = before->items[i];
        if (!count_contains(frames, before, i, array->form->contains_count, verdict, item)) return MACHINE_FAILED;
        if (array->form->unique)
            item->without = without_seen(m, array->form, item->without, frame->texts, frame->count);
        if (item->without == CONJUNCTION_FAILED) return MACHINE_FAILED;
        must |= array->must;
    }
    if (!must) return MACHINE_DEAD;
    if (!prepare_child(m, frames, frame)) return MACHINE_FAILED;
    state->frame = frame;
    state->phase = PHASE_AFTER;
    state->space = state->blank = 0;
    return MACHINE_LIVE;
}
