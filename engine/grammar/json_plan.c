/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * What should be written so that a text ends soon.
 *
 *     upwards     what each component of the value being written still costs -> what each form of the frame around it costs -> ... -> the root
 *     downwards   the root's cheapest component -> the cheapest form that gives it -> the components of the value within that this form asks for -> ...
 *
 * Besides the component that must hold, a form may want others: items that satisfy `contains`, values that meet an obligation.
 * Nothing here is exact: what is written is stepped through the machine.
 */
#include "engine/grammar/json_plan.h"

#include "engine/grammar/shape_internal.h"

#include <string.h>

enum { ITEMS_LOOKED_AT = 32, OBLIGATION_BYTES = 24, UNKNOWN_NAME_BYTES = 16, ESCAPE_BYTES = 8 };

static bool bit(const uint64_t *words, uint32_t n) {
    return words[n / 64] >> n % 64 & 1;
}

static uint32_t length_times(uint32_t a, uint32_t count) {
    uint64_t all = (uint64_t)a * count;
    return a == LENGTH_NEVER && count > 0 ? LENGTH_NEVER : all > LENGTH_NEVER - 1 ? LENGTH_NEVER - 1 : (uint32_t)all;
}

bool plan_within_value(const struct json_state *state) {
    return state->phase == PHASE_VALUE || state->phase == PHASE_COLON || state->phase == PHASE_STRING ||
           state->phase == PHASE_NUMBER || state->phase == PHASE_LITERAL;
}

/* ---- what is left of one frame ---- */

static uint32_t array_left(struct json_machine *m, const struct joint_array *array, const struct item *item,
                           uint32_t count) {
    const struct array_form *form = array->form;
    uint32_t out = 1, needed = form->min > count ? form->min - count : 0, asked = 0;
    for (uint32_t i = 0; i < form->contains_count; i++) {
        const struct array_contains *contains = &form->contains[i];
        uint32_t missing = contains->min > item->counts[i] ? contains->min - item->counts[i] : 0;
        asked = length_add(asked, missing);
        if (missing == 0) continue;
        uint32_t each = length_add(2, shape_shortest(m->shapes, contains->what));
        out = length_add(out, length_times(each, missing));
    }
    needed = needed > asked ? needed - asked : 0;
    if (form->duplicate && needed == 0 && count < 2) needed = 2 - count;
    for (uint32_t i = 0; i < needed && i < ITEMS_LOOKED_AT; i++) {
        uint32_t each = length_add(2, shape_shortest(m->shapes, array_item(form, count + i)));
        bool last = i + 1 == ITEMS_LOOKED_AT || count + i >= form->first_count;
        out = length_add(out, length_times(each, last ? needed - i : 1));
        if (last) break;
    }
    return out;
}

const uint32_t *plan_lengths(struct json_machine *m, struct joint *joint, struct joint_object *object) {
    if (object->lengths != NULL) return object->lengths;
    struct schema *schema = m->shapes->schema;
    uint32_t *lengths = arena_alloc_array(&schema->arena, joint->name_count + 1, sizeof *lengths);
    if (lengths == NULL || !budget_reserve(&schema->budget, (joint->name_count + 1) * sizeof *lengths)) return NULL;
    for (uint32_t n = 0; n < joint->name_count; n++) {
        conjunction value = object_named(m->shapes, object->form, joint->names[n].name);
        if (value == CONJUNCTION_FAILED) return NULL;
        lengths[n] = bit(object->allowed, n)
                         ? length_add((uint32_t)joint->names[n].text.length + 6, shape_shortest(m->shapes, value))
                         : LENGTH_NEVER;
        if (lengths[n] != LENGTH_NEVER && lengths[n] > m->leap) m->leap = lengths[n];
    }
    return object->lengths = lengths;
}

const uint64_t *plan_missing(struct json_machine *m, struct frames *frames, const struct frame *frame,
                             const struct joint_object *object) {
    uint64_t *out;
    if (!object_required(m, frames, frame, object, &out)) return NULL;
    for (uint32_t w = 0; w < frame->joint->name_words; w++) out[w] &= ~frame->seen[w];
    return out;
}

/** `count`: properties that are there when what is left begins. */
static bool object_left(struct json_machine *m, struct frames *frames, const struct frame *frame,
                        const struct item *item, uint32_t count, uint32_t *out) {
    struct joint *joint = frame->joint;
    struct joint_object *object = &joint->objects[item->index];
    struct frames_mark before = frames_mark(frames);
    const uint32_t *lengths = plan_lengths(m, joint, object);
    const uint64_t *missing = plan_missing(m, frames, frame, object);
    if (lengths == NULL || missing == NULL) return false;
    uint32_t first = count;
    *out = 1;
    for (uint32_t w = 0; w < joint->name_words; w++)
        for (uint64_t left = missing[w]; left != 0; left &= left - 1, count++)
            *out = length_add(*out, lengths[w * 64 + (uint32_t)__builtin_ctzll(left)]);
    if (!budget_spend(&m->shapes->schema->budget, (joint->name_words + count - first) / 16)) return false;
    uint32_t obligations = object->form->obligation_count;
    uint64_t all = obligations < 64 ? (1ull << obligations) - 1 : UINT64_MAX;
    *out = length_add(*out, OBLIGATION_BYTES * (uint32_t)__builtin_popcountll(all & ~item->done));
    if (object->form->min > count) {
        regex names;
        uint32_t each = object_cheapest_other(m->shapes, object->form, &names);
        if (each == LENGTH_NEVER || each < UNKNOWN_NAME_BYTES) each = UNKNOWN_NAME_BYTES;
        *out = length_add(*out, length_times(each, object->form->min - count));
    }
    frames_drop(frames, before);
    return true;
}

/** What is left of the frame for one of its forms, without a value that is pending. */
static bool item_left(struct json_machine *m, struct frames *frames, const struct frame *frame, const struct item *item,
                      uint32_t ahead, uint32_t *out) {
    if (frame->kind == FRAME_OBJECT) return object_left(m, frames, frame, item, frame->count + ahead, out);
    *out = array_left(m, &frame->joint->arrays[item->index], item, frame->count + ahead);
    return true;
}

/* ---- what is left of a value ---- */

/** By components of the frame's child: what the value that is written costs. */
static bool value_costs(struct json_machine *m, const struct json_state *state, uint32_t *out) {
    static const uint32_t LITERAL_BYTES[] = {4, 5, 4};
    const struct joint *child = state->frame->child;
    for (uint32_t c = 0; c < child->count; c++) out[c] = LENGTH_NEVER;
    switch (state->phase) {
    case PHASE_STRING:
    case PHASE_NUMBER: {
        bool string = state->phase == PHASE_STRING;
        struct intern_item item = intern_get(&m->tuples, state->tuple);
        uint32_t other = string ? state->lex == LEX_PLAIN ? 1 : 1 + ESCAPE_BYTES : 0;
        for (uint32_t i = 1; i < item.count; i += 2) {
            uint64_t bytes = string ? regex_lengths_of(&m->lengths, m->shapes->schema->regexes, item.words[i + 1])
                                    : number_shortest(m->shapes->schema->numbers, item.words[i + 1], NULL);
            uint32_t length = bytes >= LENGTH_NEVER ? LENGTH_NEVER : length_add(other, (uint32_t)bytes);
            uint32_t component = item.words[i] >> 1;
            if (length < out[component]) out[component] = length;
        }
        break;
    }
    case PHASE_LITERAL:
        for (uint32_t c = 0; c < child->count; c++)
            if (verdict_holds(&child->constants[state->literal], c))
                out[c] = LITERAL_BYTES[state->literal] - state->progress;
        break;
    default: /* it has not begun */
        for (uint32_t c = 0; c < child->count; c++)
            out[c] = length_add(state->phase == PHASE_COLON ? 2 : 1, shape_shortest(m->shapes, child->components[c]));
        break;
    }
    return !m->shapes->declined && !budget_exhausted(&m->shapes->schema->budget);
}

/* ---- all frames ---- */

struct level {
    const struct frame *frame;
    uint32_t *costs; /* by item: to the end of this frame, with everything within. Root: by component of the child */
};

static bool pending_costs(struct json_machine *m, struct frames *frames, const struct level *level,
                          const uint32_t *inner) {
    const struct frame *frame = level->frame;
    for (uint32_t i = 0; i < frame->item_count; i++) level->costs[i] = LENGTH_NEVER;
    for (uint32_t l = 0; l < frame->link_count; l++) {
        const struct link *link = &frame->links[l];
        uint32_t left;
        if (link->kind != LINK_MUST || inner[link->component] == LENGTH_NEVER) continue;
        if (!item_left(m, frames, frame, &frame->items[link->item], 1, &left)) return false;
        level->costs[link->item] = length_add(inner[link->component], left);
    }
    return true;
}

static bool own_costs(struct json_machine *m, struct frames *frames, const struct level *level) {
    for (uint32_t i = 0; i < level->frame->item_count; i++)
        if (!item_left(m, frames, level->frame, &level->frame->items[i], 0, &level->costs[i])) return false;
    return true;
}

static uint32_t item_component(const struct frame *frame, uint32_t item) {
    uint32_t index = frame->items[item].index;
    return frame->kind == FRAME_OBJECT ? frame->joint->objects[index].component : frame->joint->arrays[index].component;
}

/** The cheapest item that gives the component; UINT32_MAX: none. */
static uint32_t best_item(const struct level *level, uint32_t component) {
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < level->frame->item_count; i++)
        if (item_component(level->frame, i) == component && level->costs[i] != LENGTH_NEVER &&
            (best == UINT32_MAX || level->costs[i] < level->costs[best]))
            best = i;
    return best;
}

/** Levels from the root (0) inwards, their costs from within outwards. *out_total: the root's. */
static bool climb(struct json_machine *m, struct frames *frames, const struct json_state *state, struct level **out,
                  uint32_t *out_count, uint32_t *out_total) {
    uint32_t count = 0, widest = 1;
    for (const struct frame *f = state->frame; f != NULL; f = f->parent, count++)
        if (f->child != NULL && f->child->count > widest) widest = f->child->count;
    struct level *levels = frames_alloc(frames, count * sizeof *levels);
    uint32_t *inner = frames_alloc(frames, widest * sizeof *inner);
    if (levels == NULL || inner == NULL || !budget_spend(&m->shapes->schema->budget, 1 + count / 2)) return false;
    uint32_t at = count;
    bool pending = plan_within_value(state);
    if (pending && !value_costs(m, state, inner)) return false;
    for (const struct frame *f = state->frame; f->kind != FRAME_ROOT; f = f->parent, pending = true) {
        struct level *level = &levels[--at];
        *level = (struct level){f, frames_alloc(frames, (f->item_count + 1) * sizeof *level->costs)};
        if (level->costs == NULL) return false;
        if (!(pending ? pending_costs(m, frames, level, inner) : own_costs(m, frames, level))) return false;
        for (uint32_t c = 0; c < f->joint->count; c++) inner[c] = LENGTH_NEVER;
        for (uint32_t i = 0; i < f->item_count; i++) {
            uint32_t component = item_component(f, i);
            if (level->costs[i] < inner[component]) inner[component] = level->costs[i];
        }
    }
    levels[0] = (struct level){0};
    *out_total = inner[0]; /* the root asks for one thing */
    *out = levels;
    *out_count = count;
    return !m->shapes->declined;
}

static void want(struct plan *plan, uint32_t component) {
    for (uint32_t i = 0; i < plan->wanted_count; i++)
        if (plan->wanted[i] == component) return;
    if (plan->wanted_count < PLAN_WANTED_MAX) plan->wanted[plan->wanted_count++] = component;
}

static bool is_missing(const struct frame *frame, const struct item *item, const struct link *link) {
    if (link->kind == LINK_OPTION) return !(item->done >> link->index & 1);
    return link->kind == LINK_CONTAINS &&
           item->counts[link->index] < frame->joint->arrays[item->index].form->contains[link->index].min;
}

/** One frame inwards: from what is wanted of it to its forms, and to what they want of the value within. */
static void descend(const struct level *level, struct plan *plan) {
    const struct frame *frame = level->frame;
    plan->target_count = 0;
    for (uint32_t i = 0; i < plan->wanted_count; i++) {
        uint32_t item = best_item(level, plan->wanted[i]);
        if (item != UINT32_MAX) plan->targets[plan->target_count++] = item;
    }
    plan->wanted_count = 0;
    for (uint32_t t = 0; t < plan->target_count; t++)
        for (uint32_t l = 0; l < frame->link_count; l++) {
            const struct link *link = &frame->links[l];
            if (link->item == plan->targets[t] && link->kind == LINK_MUST) want(plan, link->component);
        }
    for (uint32_t t = 0; t < plan->target_count; t++)
        for (uint32_t l = 0; l < frame->link_count; l++) {
            const struct link *link = &frame->links[l];
            if (link->item == plan->targets[t] && is_missing(frame, &frame->items[link->item], link))
                want(plan, link->component);
        }
}

bool plan_make(struct json_machine *m, struct frames *frames, const struct json_state *state, struct plan *out) {
    struct frames_mark before = frames_mark(frames);
    struct level *levels;
    uint32_t count;
    bool ok = climb(m, frames, state, &levels, &count, &out->total);
    out->target_count = 0;
    out->wanted_count = 1;
    out->wanted[0] = 0;
    for (uint32_t i = 1; ok && i < count; i++) descend(&levels[i], out);
    frames_drop(frames, before);
    return ok;
}

uint64_t plan_estimate(struct json_machine *m, struct frames *frames, const struct json_state *state) {
    struct frames_mark before = frames_mark(frames);
    struct level *levels;
    uint32_t count, total = LENGTH_NEVER;
    if (state->phase == PHASE_DONE) return 0;
    bool ok = climb(m, frames, state, &levels, &count, &total);
    frames_drop(frames, before);
    return ok && total != LENGTH_NEVER ? total : UINT64_MAX;
}

uint64_t plan_leap(struct json_machine *m) {
    const struct shapes *shapes = m->shapes;
    for (; m->leap_shapes < shapes->conjunctions.count && m->leap_shapes < shapes->shape_capacity; m->leap_shapes++) {
        const struct shape *shape = shapes->shapes[m->leap_shapes];
        if (shape == NULL || !shape->known || shape->shortest == LENGTH_NEVER) continue;
        if (shape->shortest > m->leap) m->leap = shape->shortest;
    }
    for (; m->leap_joints < m->joint_index.count && m->leap_joints < m->joint_capacity; m->leap_joints++) {
        const struct joint *joint = m->joints[m->leap_joints];
        for (uint32_t i = 0; joint != NULL && i < joint->array_count + joint->object_count; i++) {
            uint32_t length = i < joint->array_count
                                  ? measure_array(m->shapes, joint->arrays[i].form)
                                  : measure_object(m->shapes, joint->objects[i - joint->array_count].form);
            if (length != LENGTH_NEVER && length > m->leap) m->leap = length;
        }
    }
    return m->leap;
}
