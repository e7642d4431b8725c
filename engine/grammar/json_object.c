/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects: which names may come next, and what their values are looked at for.
 *
 * A name may come if, for some form that is still possible, it was not seen, its value can be satisfied, and afterwards the form can still be completed: room
 * for all required names (and those that they ask for), enough names left for minProperties, an option left for every obligation. In the order of the
 * schema a name also stands behind those that came, and skips no required one.
 */
#include "engine/grammar/json_internal.h"

#include "base/text.h"

#include <string.h>

static bool bit(const uint64_t *words, uint32_t n) {
    return name_bit(words, n);
}

/* ---- what is still required ---- */

/** The first dependent of name n; dependent_count: it has none. */
static uint32_t first_dependent(const struct joint_object *object, uint32_t n) {
    return object->form->dependent_count == 0 ? 0 : object->first_dependent[n];
}

/** Add what name n asks for; *stack[count] are the names that are new. */
static void ask_for(const struct joint_object *object, uint32_t n, uint64_t *words, uint32_t *stack, uint32_t *count) {
    for (uint32_t i = first_dependent(object, n);
         i < object->form->dependent_count && object->dependent[i].present == n; i++)
        for (uint32_t j = 0; j < object->dependent[i].count; j++) {
            uint32_t r = object->dependent[i].required[j];
            if (bit(words, r)) continue;
            words[r / 64] |= 1ull << r % 64;
            stack[(*count)++] = r;
        }
}

/** All that the presence of name n asks for, in turn; found once. NULL: the budget. */
static const uint64_t *asked_by(struct json_machine *m, struct frames *frames, const struct joint *joint,
                                const struct joint_object *object, uint32_t n) {
    struct schema *schema = m->shapes->schema;
    size_t bytes = joint->name_words * sizeof(uint64_t);
    if (object->asked_by[n] != NULL) return object->asked_by[n];
    uint32_t *stack = frames_alloc(frames, (joint->name_count + 1) * sizeof *stack), count = 0;
    uint64_t *words = budget_reserve(&schema->budget, bytes) ? arena_alloc(&schema->arena, bytes) : NULL;
    if (stack == NULL || words == NULL) return NULL;
    ask_for(object, n, words, stack, &count);
    for (uint32_t steps = 0; count > 0; steps++) {
        if (!budget_spend(&schema->budget, steps % 16 == 0)) return NULL;
        uint32_t next = stack[--count];
        ask_for(object, next, words, stack, &count);
    }
    return object->asked_by[n] = words;
}

bool object_required(struct json_machine *m, struct frames *frames, const struct frame *frame,
                     const struct joint_object *object, uint64_t **out) {
    const struct joint *joint = frame->joint;
    uint64_t *words = frames_alloc(frames, (joint->name_words + 1) * sizeof *words);
    if (words == NULL) return false;
    if (joint->name_words > 0) memcpy(words, object->required, joint->name_words * sizeof *words);
    *out = words;
    for (uint32_t i = 0; i < object->form->dependent_count; i++) {
        uint32_t n = object->dependent[i].present;
        if (!bit(object->required, n) && !bit(frame->seen, n)) continue;
        const uint64_t *asked = asked_by(m, frames, joint, object, n);
        if (asked == NULL || !budget_spend(&m->shapes->schema->budget, joint->name_words / 64)) return false;
        for (uint32_t w = 0; w < joint->name_words; w++) words[w] |= asked[w];
    }
    return true;
}

static uint32_t count_unseen(const struct frame *frame, const uint64_t *required) {
    uint32_t out = 0;
    for (uint32_t w = 0; w < frame->joint->name_words; w++)
        out += (uint32_t)__builtin_popcountll(required[w] & ~frame->seen[w]);
    return out;
}

static bool option_met_by_absence(const struct json_machine *m, const struct frame *frame,
                                  const struct object_obligation *obligation) {
    for (uint32_t i = 0; i < obligation->count; i++) {
        if (obligation->options[i].kind != OPTION_MISSING) continue;
        uint32_t n = joint_find_name(m, frame->joint, obligation->options[i].name);
        if (!bit(frame->seen, n)) return true;
    }
    return false;
}

bool object_may_close(struct json_machine *m, struct frames *frames, const struct frame *frame,
                      const struct joint_object *object, const struct item *item, bool *failed) {
    const struct object_form *form = object->form;
    if (frame->count < form->min || frame->count > form->max) return false;
    uint64_t *required;
    if (!object_required(m, frames, frame, object, &required)) {
        *failed = true;
        return false;
    }
    if (count_unseen(frame, required) > 0) return false;
    for (uint32_t i = 0; i < form->obligation_count; i++)
        if (!(item->done >> i & 1) && !option_met_by_absence(m, frame, &form->obligations[i])) return false;
    return true;
}

/* ---- what may come next ---- */

/** What all candidates of one form share. */
struct outlook {
    const struct frame *frame;
    const struct joint_object *object;
    const struct item *item;
    const uint64_t *required;
    uint32_t missing;   /* required names that were not seen */
    uint32_t stop;      /* in the order of the schema: rank of the next required name */
    bool possible;      /* all that is required may be there */
    bool met;           /* all obligations can be met without the candidate */
    struct witness way; /* how */
    const uint32_t *
        from_rank; /* minProperties is not reached: [r] known names that may come whose rank is at least r; NULL: it is */
};

static bool others_left(const struct item *item) {
    return item->others != REGEX_NOTHING;
}

/** The rank of the first required name that was not seen. */
static uint32_t next_required(const struct frame *frame, const struct joint_object *object, const uint64_t *required) {
    uint32_t stop = UINT32_MAX;
    for (uint32_t w = 0; w < frame->joint->name_words && stop > 0; w++)
        for (uint64_t left = required[w] & ~frame->seen[w]; left != 0 && stop > 0; left &= left - 1) {
            uint32_t rank = object->rank[w * 64 + (uint32_t)__builtin_ctzll(left)];
            if (rank < stop) stop = rank;
        }
    return stop;
}

static bool all_allowed(const struct frame *frame, const struct joint_object *object, const uint64_t *required) {
    for (uint32_t w = 0; w < frame->joint->name_words; w++)
        if (required[w] & ~frame->seen[w] & ~object->allowed[w]) return false;
    return true;
}

static struct future future_of(const struct json_machine *m, const struct outlook *outlook) {
    return (struct future){.frame = outlook->frame,
                           .object = outlook->object,
                           .item = outlook->item,
                           .required = outlook->required,
                           .except = UINT32_MAX,
                           .rank = outlook->item->last_rank,
                           .ordered = m->options.order == GRAMMAR_ORDER_SCHEMA};
}

/** Counted once for all candidates. */
static bool count_from_ranks(struct json_machine *m, struct frames *frames, struct outlook *outlook) {
    const struct object_form *form = outlook->object->form;
    uint32_t *from = frames_alloc(frames, (form->order_count + 2) * sizeof *from);
    if (from == NULL) return false;
    memset(from, 0, (form->order_count + 2) * sizeof *from);
    struct future future = future_of(m, outlook);
    for (uint32_t n = 0; n < outlook->frame->joint->name_count; n++)
        from[outlook->object->rank[n]] += future_has(&future, n);
    for (uint32_t r = form->order_count; r-- > 0;) from[r] += from[r + 1];
    outlook->from_rank = from;
    return true;
}

static bool look_out(struct json_machine *m, struct frames *frames, const struct frame *frame, const struct item *item,
                     struct outlook *out) {
    uint64_t *required;
    const struct joint_object *object = &frame->joint->objects[item->index];
    const struct object_form *form = object->form;
    *out = (struct outlook){.frame = frame, .object = object, .item = item, .met = true};
    if (!object_required(m, frames, frame, object, &required)) return false;
    out->required = required;
    out->missing = count_unseen(frame, required);
    out->stop = next_required(frame, object, required);
    out->possible = all_allowed(frame, object, required);
    if (frame->count + 1 < form->min && item->others != REGEX_EVERYTHING && !count_from_ranks(m, frames, out))
        return false;
    if (form->obligation_count == 0 || frame->count + out->missing > form->max) return true;
    struct future future = future_of(m, out);
    uint64_t all = form->obligation_count == 64 ? UINT64_MAX : (1ull << form->obligation_count) - 1;
    future.room = form->max - frame->count - out->missing;
    out->met = obligations_met_later(m, &future, all & ~item->done, &out->way);
    return true;
}

/** Texts of `seen` that are in the language. */
static uint64_t count_seen(struct json_machine *m, const struct frame *frame, regex language) {
    uint64_t out = 0;
    for (const struct seen_text *seen = frame->texts; seen != NULL; seen = seen->before)
        out += regex_matches(m->shapes->schema->regexes, language, seen->text);
    return out;
}

/** Names that the joint does not know and that may still come, counted up to `wanted`. */
static uint64_t count_others(struct json_machine *m, const struct frame *frame, const struct joint_object *object,
                             const struct item *item, uint64_t wanted) {
    struct regex_pool *pool = m->shapes->schema->regexes;
    if (!others_left(item)) return 0;
    if (item->others == REGEX_EVERYTHING) return wanted;
    uint64_t taken = count_seen(m, frame, item->others), limit;
    for (uint32_t n = 0; n < frame->joint->name_count; n++)
        if (object->rank[n] == object->form->order_count)
            taken += regex_matches(pool, item->others, frame->joint->names[n].text);
    limit = wanted + taken;
    uint64_t there = regex_count(pool, item->others, limit);
    return there > taken ? there - taken : 0;
}

/** minProperties can still be reached after the candidate. */
static bool enough_left(struct json_machine *m, const struct outlook *outlook, const struct future *future,
                        const struct candidate *candidate) {
    const struct frame *frame = future->frame;
    const struct object_form *form = future->object->form;
    if (outlook->from_rank == NULL) return true;
    uint64_t wanted = form->min - frame->count - 1;
    uint32_t rank = future->ordered ? future->rank : 0;
    uint64_t left = outlook->from_rank[rank];
    if (candidate->n != UINT32_MAX && future->object->rank[candidate->n] >= rank &&
        bit(future->object->allowed, candidate->n))
        left--; /* it is one of those that are counted */
    if (left >= wanted) return true;
    uint64_t self = candidate->n == UINT32_MAX && /* it is one of those that are counted */
                    (candidate->text.data == NULL ||
                     regex_matches(m->shapes->schema->regexes, future->item->others, candidate->text));
    uint64_t others = count_others(m, frame, future->object, future->item, wanted - left + self);
    return left + others >= wanted + self;
}

/** What is asked for once the candidate is there, where that is more than before. */
static bool ask_with(struct json_machine *m, struct frames *frames, struct outlook *outlook, uint32_t n) {
    const struct frame *frame = outlook->frame;
    const struct joint *joint = frame->joint;
    const uint64_t *asked = asked_by(m, frames, joint, outlook->object, n);
    uint64_t *more = frames_alloc(frames, joint->name_words * sizeof *more);
    if (asked == NULL || more == NULL) return false;
    bool new = false;
    for (uint32_t w = 0; w < joint->name_words; w++) {
        more[w] = outlook->required[w] | asked[w];
        new |= more[w] != outlook->required[w];
    }
    if (!new) return true;
    if (!budget_spend(&m->shapes->schema->budget, outlook->missing / 16)) return false;
    outlook->required = more;
    outlook->missing = count_unseen(frame, more);
    outlook->stop = next_required(frame, outlook->object, more);
    outlook->possible = all_allowed(frame, outlook->object, more);
    outlook->met = outlook->object->form->obligation_count == 0; /* to be looked at again */
    return true;
}

/** The way that was found to meet all obligations is still open after the candidate. */
static bool way_open(const struct outlook *outlook, const struct future *future) {
    if (!outlook->met || outlook->way.fresh > future->room) return false;
    for (uint32_t i = 0; i < outlook->way.count; i++) {
        uint32_t n = outlook->way.names[i];
        if (n == future->except || (future->ordered && outlook->object->rank[n] < future->rank)) return false;
    }
    return true;
}

/**
 * May the property come, as far as this form's counts, order and obligations go? *extra: what its value must satisfy besides, because it is the last way to
 * meet an obligation.
 */
static bool may_come(struct json_machine *m, struct frames *frames, const struct outlook *shared,
                     const struct candidate *candidate, conjunction *extra) {
    struct outlook outlook = *shared;
    const struct frame *frame = outlook.frame;
    const struct joint_object *object = outlook.object;
    const struct object_form *form = object->form;
    bool known = candidate->n != UINT32_MAX;
    uint32_t rank = known ? object->rank[candidate->n] : form->order_count;
    if (known && form->dependent_count > 0 && !bit(outlook.required, candidate->n)) {
        uint32_t i = first_dependent(object, candidate->n);
        if (i < form->dependent_count && object->dependent[i].present == candidate->n &&
            !ask_with(m, frames, &outlook, candidate->n))
            return false;
    }
    *extra = CONJUNCTION_TRUE;
    if (!outlook.possible) return false;
    uint32_t missing = outlook.missing - (known && bit(outlook.required, candidate->n));
    if ((uint64_t)frame->count + 1 + missing > form->max) return false;
    struct future future = future_of(m, &outlook);
    future.room = form->max - frame->count - 1 - missing;
    future.rank = rank < form->order_count ? rank + 1 : form->order_count;
    future.except = candidate->n;
    if (future.ordered && (rank < outlook.item->last_rank || rank > outlook.stop)) return false;
    if (!enough_left(m, &outlook, &future, candidate)) return false;
    if (form->obligation_count == 0 || way_open(&outlook, &future)) return true;
    *extra = obligations_for(m, &future, candidate);
    return *extra != CONJUNCTION_FALSE;
}

/** Names that are not known: those that may come as far as counts, order and obligations go. */
static regex permit_others(struct json_machine *m, struct frames *frames, const struct outlook *outlook) {
    const struct object_form *form = outlook->object->form;
    struct outlook counted = *outlook;
    struct candidate unknown = {UINT32_MAX, FORMULA_NONE, {0}};
    conjunction extra;
    if (!others_left(outlook->item)) return REGEX_NOTHING;
    counted.met = true; /* obligations are looked at below */
    counted.way.count = counted.way.fresh = 0;
    if (!may_come(m, frames, &counted, &unknown, &extra)) return REGEX_NOTHING;
    if (form->obligation_count == 0) return outlook->item->others;
    struct future future = future_of(m, outlook);
    struct item item = *outlook->item;
    if (regex_count(m->shapes->schema->regexes, item.others, 2) < 2) item.others = REGEX_NOTHING; /* it is the last */
    future.item = &item;
    future.room = form->max - outlook->frame->count - 1 - outlook->missing;
    future.rank = form->order_count;
    return way_open(outlook, &future) ? outlook->item->others : obligations_names(m, &future, outlook->item->others);
}

static conjunction value_for(struct json_machine *m, const struct joint_object *object,
                             const struct candidate *candidate) {
    if (candidate->n != UINT32_MAX) return object_named(m->shapes, object->form, candidate->name);
    return object_other(m->shapes, object->form, object_selected(m->shapes, object->form, candidate->text));
}

/** Fast path: no order, counts or obligations stand in the way of any allowed name. */
static bool unrestricted(const struct json_machine *m, const struct joint_object *object) {
    const struct object_form *form = object->form;
    return m->options.order == GRAMMAR_ORDER_ANY && form->max == UINT32_MAX && form->min == 0 &&
           form->obligation_count == 0 && form->dependent_count == 0;
}

/** In the order of the schema, without anything else that restricts: the names up to the next required one. */
static bool ordered_only(const struct object_form *form) {
    return form->max == UINT32_MAX && form->min == 0 && form->obligation_count == 0 && form->dependent_count == 0;
}

static void permit_in_order(const struct outlook *outlook, uint64_t *permitted) {
    const struct joint_object *object = outlook->object;
    for (uint32_t n = 0; n < outlook->frame->joint->name_count; n++)
        if (bit(object->allowed, n) && !bit(outlook->frame->seen, n) && object->rank[n] >= outlook->item->last_rank &&
            object->rank[n] <= outlook->stop)
            permitted[n / 64] |= 1ull << n % 64;
}

static bool permit_all_names(struct json_machine *m, struct frames *frames, const struct frame *frame,
                             const struct item *item, uint64_t *permitted, regex *others) {
    const struct joint *joint = frame->joint;
    const struct joint_object *object = &joint->objects[item->index];
    struct outlook outlook;
    conjunction extra;
    *others = item->others;
    if (unrestricted(m, object)) {
        for (uint32_t w = 0; w < joint->name_words; w++) permitted[w] |= object->allowed[w] & ~frame->seen[w];
        return true;
    }
    if (!look_out(m, frames, frame, item, &outlook)) return false;
    if (ordered_only(object->form)) {
        permit_in_order(&outlook, permitted);
        if (outlook.stop != UINT32_MAX) *others = REGEX_NOTHING;
        return true;
    }
    if (!budget_spend(&m->shapes->schema->budget, joint->name_count / 4)) return false;
    for (uint32_t n = 0; n < joint->name_count; n++) {
        struct candidate candidate = {n, joint->names[n].name, joint->names[n].text};
        if (bit(frame->seen, n) || !bit(object->allowed, n) || bit(permitted, n)) continue;
        if (!may_come(m, frames, &outlook, &candidate, &extra)) continue;
        if (extra != CONJUNCTION_TRUE &&
            !shape_satisfiable(m->shapes, conjunction_and(m->shapes, extra, value_for(m, object, &candidate))))
            continue;
        permitted[n / 64] |= 1ull << n % 64;
    }
    *others = permit_others(m, frames, &outlook);
    return *others != REGEX_FAILED && !m->shapes->declined;
}

/** Some value around it must differ from others: then it may need all the ways there are to do so. */
static bool must_differ(const struct frame *frame) {
    for (const struct frame *at = frame->parent; at != NULL && at->kind != FRAME_ROOT; at = at->parent) {
        if (at->kind != FRAME_ARRAY) continue;
        for (uint32_t i = 0; i < at->item_count; i++)
            if (at->joint->arrays[at->items[i].index].form->unique) return true;
    }
    return false;
}

/** The form lists properties, and no schema in it says anything of others. */
static bool lists_properties(const struct object_form *form) {
    bool lists = false;
    for (uint32_t i = 0; i < form->properties_count; i++) {
        const struct properties *properties = form->properties[i];
        if (properties->others_said || properties->others != FORMULA_TRUE || properties->matched_count > 0)
            return false;
        for (uint32_t n = 0; n < properties->named_count; n++)
            lists = lists || properties->named[n].formula != FORMULA_FALSE;
    }
    return lists && form->names_selector == UINT32_MAX;
}

/** grammar_options.any_properties. Not of forms that a value only may fit: what has another name fits as well; nor where other names may be needed. */
static bool only_listed(const struct json_machine *m, const struct frame *frame, const struct item *item) {
    const struct joint_object *object = &frame->joint->objects[item->index];
    const struct object_form *form = object->form;
    return !m->options.any_properties && object->must && form->obligation_count == 0 &&
           form->min <= form->required_count && lists_properties(form) && !must_differ(frame);
}

static bool permit_names(struct json_machine *m, struct frames *frames, const struct frame *frame,
                         const struct item *item, uint64_t *permitted, regex *others) {
    if (!permit_all_names(m, frames, frame, item, permitted, others)) return false;
    if (only_listed(m, frame, item)) *others = REGEX_NOTHING;
    return true;
}

static bool prepare_keys(struct json_machine *m, struct frames *frames, struct frame *frame) {
    struct joint *joint = frame->joint;
    struct key_context *keys = frames_alloc(frames, sizeof *keys);
    uint64_t *permitted = frames_alloc(frames, joint->name_words * sizeof *permitted);
    uint32_t *entries = frames_alloc(frames, (2 * frame->item_count + 1) * sizeof *entries), count = 0;
    if (keys == NULL || permitted == NULL || entries == NULL) return false;
    if (!budget_spend(&m->shapes->schema->budget, joint->name_count / 256)) return false; /* all are looked at */
    memset(permitted, 0, joint->name_words * sizeof *permitted);
    for (uint32_t i = 0; i < frame->item_count; i++) {
        const struct joint_object *object = &joint->objects[frame->items[i].index];
        regex others;
        if (!object->must) continue;
        if (!permit_names(m, frames, frame, &frame->items[i], permitted, &others)) return false;
        if (others == REGEX_NOTHING) continue;
        entries[2 * count] = i << 1 | 1;
        entries[2 * count++ + 1] = others;
    }
    keys->permitted = permitted;
    keys->others = tuple_make(m, TUPLE_STRING, entries, count);
    keys->any = keys->others != TUPLE_DEAD;
    for (uint32_t w = 0; w < joint->name_words; w++) keys->any |= permitted[w] != 0;
    frame->keys = keys;
    frame->child = NULL;
    return keys->others != TUPLE_FAILED;
}

enum machine_step object_open(struct json_machine *m, struct frames *frames, const struct json_state *at,
                              struct json_state *out) {
    struct joint *joint = at->frame->child;
    if (!joint_prepare_objects(m, joint)) return MACHINE_FAILED;
    struct frame *frame = frames_alloc(frames, sizeof *frame);
    struct item *items = frames_alloc(frames, joint->object_count * sizeof *items);
    uint64_t *seen = frames_alloc(frames, joint->name_words * sizeof *seen);
    if (frame == NULL || items == NULL || seen == NULL) return MACHINE_FAILED;
    memset(seen, 0, joint->name_words * sizeof *seen);
    *frame = (struct frame){.parent = at->frame, .joint = joint, .kind = FRAME_OBJECT, .items = items, .seen = seen};
    frame->serial = ++m->frames_made;
    frame->recording = at->frame->recording;
    frame->start = at->text;
    for (uint32_t i = 0; i < joint->object_count; i++)
        items[frame->item_count++] = (struct item){.index = i, .others = joint->objects[i].others};
    if (!prepare_keys(m, frames, frame)) return MACHINE_FAILED;
    *out = *at;
    out->frame = frame;
    out->phase = PHASE_KEY_OR_CLOSE;
    out->space = out->blank = 0;
    return MACHINE_LIVE;
}

enum machine_step object_comma(struct json_state *state) {
    if (!state->frame->keys->any) return MACHINE_DEAD;
    state->phase = PHASE_KEY;
    return MACHINE_LIVE;
}

enum machine_step object_close(struct json_machine *m, struct frames *frames, struct json_state *state) {
    const struct frame *frame = state->frame;
    struct verdict verdict = {0};
    bool failed = false;
    for (uint32_t i = 0; i < frame->item_count; i++) {
        const struct joint_object *object = &frame->joint->objects[frame->items[i].index];
        if (object_may_close(m, frames, frame, object, &frame->items[i], &failed))
            verdict_add(&verdict, object->component);
    }
    if (failed) return MACHINE_FAILED;
    if (!joint_satisfied(frame->joint, &verdict)) return MACHINE_DEAD;
    state->frame = frame->parent;
    return value_ended(m, frames, state, &verdict);
}

/* ---- names ---- */

static bool any_permitted(const struct frame *frame, uint32_t low, uint32_t high) {
    const uint64_t *permitted = frame->keys->permitted;
    for (uint32_t n = low; n < high;) {
        if (n % 64 == 0 && high - n >= 64) {
            if (permitted[n / 64] != 0) return true;
            n += 64;
        } else if (bit(permitted, n++)) {
            return true;
        }
    }
    return false;
}

enum machine_step object_key_begin(struct json_machine *m, struct json_state *state) {
    (void)m;
    if (!state->frame->keys->any) return MACHINE_DEAD;
    state->phase = PHASE_KEY_STRING;
    state->lex = LEX_PLAIN;
    state->low = 0;
    state->high = state->frame->joint->name_count;
    state->depth = 0;
    state->tuple = state->frame->keys->others;
    return MACHINE_LIVE;
}

uint32_t names_from(const struct joint *joint, uint32_t low, uint32_t high, uint32_t depth, uint32_t byte) {
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        struct bytes_view text = joint->names[middle].text;
        if (text.length <= depth || text.data[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void narrow(const struct joint *joint, struct json_state *state, uint8_t byte) {
    if (state->low < state->high) {
        uint32_t low = names_from(joint, state->low, state->high, state->depth, byte);
        state->high = names_from(joint, low, state->high, state->depth, (uint32_t)byte + 1);
        state->low = low;
    }
    state->depth++;
}

enum machine_step object_key_step(struct json_machine *m, struct json_state *state, uint32_t code_point) {
    const struct frame *frame = state->frame;
    uint8_t utf8[4];
    size_t length = text_encode(code_point, utf8);
    for (size_t i = 0; i < length; i++) narrow(frame->joint, state, utf8[i]);
    state->tuple = tuple_step(m, state->tuple, code_point);
    if (state->tuple == TUPLE_FAILED) return MACHINE_FAILED;
    if (state->tuple != TUPLE_DEAD || any_permitted(frame, state->low, state->high)) return MACHINE_LIVE;
    return MACHINE_DEAD;
}

/** The smallest code point that begins with what is at `depth` of a name; names are valid UTF-8. */
static uint32_t code_point_at(struct bytes_view text, uint32_t depth) {
    uint8_t first = text.data[depth];
    if (first < 0x80) return first;
    uint32_t length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4, c = first & (0xffu >> (length + 1));
    for (uint32_t i = 1; i < length && depth + i < text.length; i++) c = c << 6 | (text.data[depth + i] & 0x3f);
    return c;
}

bool object_key_live_in(struct json_machine *m, const struct json_state *state, uint32_t first, uint32_t last) {
    const struct frame *frame = state->frame;
    if (state->tuple != TUPLE_DEAD) {
        struct intern_item item = intern_get(&m->tuples, state->tuple);
        for (uint32_t i = 1; i < item.count; i += 2)
            if (regex_live_in(m->shapes->schema->regexes, item.words[i + 1], first, last)) return true;
    }
    for (uint32_t n = state->low; n < state->high; n++) {
        struct bytes_view text = frame->joint->names[n].text;
        if (text.length <= state->depth || !bit(frame->keys->permitted, n)) continue;
        uint32_t c = code_point_at(text, state->depth);
        if (c >= first && c <= last) return true;
    }
    return false;
}

/* ---- the value of a name ---- */

static bool mark_seen(struct frames *frames, struct frame *frame, const struct candidate *candidate) {
    if (candidate->n == UINT32_MAX) {
        struct seen_text *seen = frames_alloc(frames, sizeof *seen);
        if (seen == NULL) return false;
        *seen = (struct seen_text){.before = frame->texts, .text = candidate->text};
        frame->texts = seen;
        return true;
    }
    uint64_t *words = frames_alloc(frames, frame->joint->name_words * sizeof *words);
    if (words == NULL) return false;
    memcpy(words, frame->seen, frame->joint->name_words * sizeof *words);
    words[candidate->n / 64] |= 1ull << candidate->n % 64;
    frame->seen = words;
    return true;
}

/** Watch what would meet an obligation. */
static void add_options(struct json_machine *m, struct frame *frame, struct link *links, uint32_t i,
                        const struct candidate *candidate, struct joint_builder *builder) {
    const struct joint_object *object = &frame->joint->objects[frame->items[i].index];
    for (uint32_t o = 0; o < object->form->obligation_count; o++) {
        if (frame->items[i].done >> o & 1) continue;
        const struct object_obligation *obligation = &object->form->obligations[o];
        for (uint32_t j = 0; j < obligation->count; j++)
            if (option_offered(m, object->form, &obligation->options[j], candidate))
                links[frame->link_count++] =
                    (struct link){i, joint_component(builder, obligation->options[j].value, false), LINK_OPTION, o};
    }
}

static uint32_t links_needed(const struct frame *frame) {
    uint32_t out = 0;
    for (uint32_t i = 0; i < frame->item_count; i++) {
        const struct object_form *form = frame->joint->objects[frame->items[i].index].form;
        out++;
        for (uint32_t o = 0; o < form->obligation_count; o++) out += form->obligations[o].count;
    }
    return out;
}

enum { FEW_NAMES = 1000 }; /* names that may run out */

/** A name comes once: where few could come, the rest of its text must not lead to nothing else. */
static regex without_name(struct json_machine *m, regex others, struct bytes_view text) {
    return regex_without(m->shapes->schema->regexes, others, text, FEW_NAMES);
}

static enum machine_step prepare_value(struct json_machine *m, struct frames *frames, struct frame *frame,
                                       const struct frame *before, const struct candidate *candidate) {
    struct joint_builder builder;
    builder.count = 0;
    builder.failed = false;
    struct link *links = frames_alloc(frames, links_needed(before) * sizeof *links);
    struct item *items = frames_alloc(frames, before->item_count * sizeof *items);
    if (links == NULL || items == NULL) return MACHINE_FAILED;
    frame->items = items;
    frame->item_count = frame->link_count = 0;
    frame->links = links;
    for (uint32_t i = 0; i < before->item_count; i++) {
        const struct joint_object *object = &before->joint->objects[before->items[i].index];
        struct item item = before->items[i];
        conjunction extra = CONJUNCTION_TRUE, value = value_for(m, object, candidate);
        if (candidate->n == UINT32_MAX) item.others = without_name(m, item.others, candidate->text);
        if (value == CONJUNCTION_FAILED || item.others == REGEX_FAILED) return MACHINE_FAILED;
        if (value == CONJUNCTION_FALSE) continue;
        if (!unrestricted(m, object)) {
            struct outlook outlook;
            if (!look_out(m, frames, before, &before->items[i], &outlook)) return MACHINE_FAILED;
            outlook.met &= candidate->n != UINT32_MAX; /* the way may have been by just this name */
            if (candidate->n == UINT32_MAX) outlook.item = &item;
            if (!may_come(m, frames, &outlook, candidate, &extra)) continue;
        }
        value = conjunction_and(m->shapes, value, extra);
        if (!shape_satisfiable(m->shapes, value)) continue;
        uint32_t at = frame->item_count++;
        items[at] = item;
        items[at].last_rank = candidate->n == UINT32_MAX ? object->form->order_count : object->rank[candidate->n];
        items[at].last_rank += items[at].last_rank < object->form->order_count;
        links[frame->link_count++] = (struct link){at, joint_component(&builder, value, object->must), LINK_MUST, 0};
        add_options(m, frame, links, at, candidate, &builder);
    }
    if (m->shapes->declined) return MACHINE_FAILED;
    frame->child = builder.count == 0 ? NULL : joint_make(m, &builder);
    if (builder.count > 0 && frame->child == NULL) return MACHINE_FAILED;
    return frame->child != NULL && frame->child->possible != 0 ? MACHINE_LIVE : MACHINE_DEAD;
}

static bool seen_text_before(const struct frame *frame, struct bytes_view text) {
    for (const struct seen_text *seen = frame->texts; seen != NULL; seen = seen->before)
        if (bytes_view_equal(seen->text, text)) return true;
    return false;
}

/* What was recorded of a name may hold escapes. */
bool text_decode_json(struct frames *frames, struct bytes_view *text) {
    struct arena arena;
    struct json_value *value;
    struct json_problem problem;
    arena_init(&arena, (size_t)1 << 30);
    bool ok = json_read(*text, 0, 1, &arena, &value, &problem) == STATUS_OK && value->kind == JSON_KIND_STRING;
    if (ok) {
        uint8_t *copy = frames_alloc(frames, value->string.length + 1);
        ok = copy != NULL;
        if (ok && value->string.length > 0) memcpy(copy, value->string.data, value->string.length);
        *text = (struct bytes_view){copy, ok ? value->string.length : 0};
    }
    arena_deinit(&arena);
    return ok;
}

static enum machine_step name_ended(struct json_machine *m, struct frames *frames, struct json_state *state,
                                    const struct candidate *candidate) {
    const struct frame *before = state->frame;
    struct frame *frame = frames_alloc(frames, sizeof *frame);
    if (frame == NULL) return MACHINE_FAILED;
    *frame = *before;
    frame->serial = ++m->frames_made;
    if (!mark_seen(frames, frame, candidate)) return MACHINE_FAILED;
    enum machine_step step = prepare_value(m, frames, frame, before, candidate);
    if (step != MACHINE_LIVE) return step;
    state->frame = frame;
    state->phase = PHASE_COLON;
    state->space = state->blank = 0;
    return MACHINE_LIVE;
}

enum machine_step object_unknown_end(struct json_machine *m, struct frames *frames, const struct json_state *from,
                                     struct machine_state *out) {
    struct json_state state = *from;
    struct candidate candidate = {.n = UINT32_MAX, .name = FORMULA_NONE, .text = bytes_view_string("\x1f")};
    if (state.tuple == TUPLE_DEAD || !tuple_accepts(m, state.tuple)) return MACHINE_DEAD;
    enum machine_step step = name_ended(m, frames, &state, &candidate);
    if (step == MACHINE_LIVE) memcpy(out, &state, sizeof state);
    return step;
}

enum machine_step object_key_end(struct json_machine *m, struct frames *frames, struct json_state *state) {
    const struct frame *before = state->frame;
    const struct joint *joint = before->joint;
    struct candidate candidate = {.n = UINT32_MAX, .name = FORMULA_NONE};
    if (state->low < state->high && joint->names[state->low].text.length == state->depth) {
        candidate = (struct candidate){state->low, joint->names[state->low].name, joint->names[state->low].text};
        if (!bit(before->keys->permitted, candidate.n)) return MACHINE_DEAD;
    } else {
        if (state->tuple == TUPLE_DEAD || !tuple_accepts(m, state->tuple)) return MACHINE_DEAD;
        candidate.text = text_between(frames, before->start, state->text);
        size_t quote = 0;
        while (quote < candidate.text.length && candidate.text.data[quote] != '"') quote++;
        candidate.text = (struct bytes_view){candidate.text.data + quote, candidate.text.length - quote};
        if (!text_decode_json(frames, &candidate.text)) return MACHINE_FAILED;
        if (seen_text_before(before, candidate.text)) return MACHINE_DEAD;
    }
    return name_ended(m, frames, state, &candidate);
}

enum machine_step object_value(struct json_machine *m, struct frames *frames, struct json_state *state,
                               const struct verdict *verdict) {
    const struct frame *before = state->frame;
    struct frame *frame = frames_alloc(frames, sizeof *frame);
    struct item *items = frames_alloc(frames, before->item_count * sizeof *items);
    if (frame == NULL || items == NULL) return MACHINE_FAILED;
    *frame = *before;
    frame->serial = ++m->frames_made;
    frame->items = items;
    frame->item_count = 0;
    frame->count++;
    bool must = false, holds = false;
    for (uint32_t l = 0; l < before->link_count; l++) { /* an item's links stand together, its must first */
        const struct link *link = &before->links[l];
        bool yes = verdict_holds(verdict, link->component);
        if (link->kind == LINK_MUST) {
            holds = yes;
            if (!yes) continue;
            items[frame->item_count++] = before->items[link->item];
            must |= before->joint->objects[before->items[link->item].index].must;
        } else if (holds && yes) {
            items[frame->item_count - 1].done |= 1ull << link->index;
        }
    }
    if (!must) return MACHINE_DEAD;
    if (!prepare_keys(m, frames, frame)) return MACHINE_FAILED;
    frame->start = state->text;
    if (!frame->keys->any && frame->recording && seen_when_closed(frames, frame, state->text)) return MACHINE_DEAD;
    state->frame = frame;
    state->phase = PHASE_AFTER;
    state->space = state->blank = 0;
    return MACHINE_LIVE;
}
