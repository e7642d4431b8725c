/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Obligations of objects (shape.h): can all that are open still be met, and what must a property's value satisfy for it?
 *
 * Several may need the same property, or the same last place, so they are looked at together: a search that gives each obligation one of its options, with what
 * was chosen before in mind. Choices are few in practice; the search gives up, and the property is refused, after TRIES_MAX.
 */
#include "engine/grammar/json_internal.h"

enum { TRIES_MAX = 2000, OFFERED_MAX = 6 };

bool future_has(const struct future *future, uint32_t n) {
    if (n == future->except || name_bit(future->frame->seen, n) || !name_bit(future->object->allowed, n)) return false;
    return !future->ordered || future->object->rank[n] >= future->rank;
}

bool option_offered(struct json_machine *m, const struct object_form *form, const struct object_option *option,
                    const struct candidate *candidate) {
    if (option->kind == OPTION_NAME) return candidate->n != UINT32_MAX && option->name == candidate->name;
    return option->kind == OPTION_MATCH &&
           regex_matches(m->shapes->schema->regexes, form->selectors[option->selector], candidate->text);
}

/* ---- a choice for each ---- */

enum chosen_kind { CHOSEN_THERE, CHOSEN_MISSING, CHOSEN_UNKNOWN };
struct chosen {
    enum chosen_kind kind;
    uint32_t n;
    regex names; /* of a name that is not known */
    conjunction value;
};
struct search {
    struct json_machine *m;
    const struct future *future;
    struct chosen chosen[64];
    uint32_t count, fresh, tries;
};

static bool search_on(struct search *search, uint64_t open);

static struct chosen *find_chosen(struct search *search, uint32_t n) {
    for (uint32_t i = 0; i < search->count; i++)
        if (search->chosen[i].kind != CHOSEN_UNKNOWN && search->chosen[i].n == n) return &search->chosen[i];
    return NULL;
}

/** One more choice, or a changed one (`at`), and the rest. */
static bool try_choice(struct search *search, struct chosen *at, struct chosen choice, uint32_t fresh, uint64_t open) {
    struct chosen before = {0};
    if (search->fresh + fresh > search->future->room) return false;
    if (at == NULL) {
        search->chosen[search->count++] = choice;
    } else {
        before = *at;
        *at = choice;
    }
    search->fresh += fresh;
    if (search_on(search, open)) return true;
    search->fresh -= fresh;
    if (at == NULL)
        search->count--;
    else
        *at = before;
    return false;
}

/** The known name n with a value that satisfies `value`, too. */
static bool try_name(struct search *search, uint32_t n, conjunction value, uint64_t open) {
    const struct future *future = search->future;
    struct shapes *shapes = search->m->shapes;
    struct chosen *at = find_chosen(search, n);
    if (!future_has(future, n) || (at != NULL && at->kind == CHOSEN_MISSING)) return false;
    bool fresh = at == NULL && !name_bit(future->required, n);
    if (search->fresh + fresh > future->room) return false;
    conjunction so_far =
        at != NULL ? at->value : object_named(shapes, future->object->form, future->frame->joint->names[n].name);
    struct chosen choice = {.kind = CHOSEN_THERE, .n = n, .value = conjunction_and(shapes, so_far, value)};
    return shape_satisfiable(shapes, choice.value) && try_choice(search, at, choice, fresh, open);
}

/** Some text of `names` may be a property of a value that satisfies `value`: a few are tried, the shortest first. */
static bool unknown_possible(struct json_machine *m, struct object_form *form, regex names, conjunction value) {
    struct regex_pool *pool = m->shapes->schema->regexes;
    bool found = false;
    for (int tries = 0; tries < 8 && !found && names != REGEX_NOTHING && names != REGEX_FAILED; tries++) {
        struct bytes text;
        bytes_init(&text, 1 << 16);
        if (regex_shortest(pool, names, &text) != REGEX_UNBOUNDED) {
            conjunction of = object_other(m->shapes, form, object_selected(m->shapes, form, bytes_view(&text)));
            found = shape_satisfiable(m->shapes, conjunction_and(m->shapes, of, value));
            names = regex_and(pool, names, regex_not(pool, regex_literal(pool, bytes_view(&text))));
        } else {
            names = REGEX_NOTHING;
        }
        bytes_deinit(&text);
    }
    return found;
}

static bool try_unknown(struct search *search, const struct object_option *option, uint64_t open) {
    const struct future *future = search->future;
    struct regex_pool *pool = search->m->shapes->schema->regexes;
    struct object_form *form = future->object->form;
    regex selector = form->selectors[option->selector];
    for (uint32_t i = 0; i < search->count; i++) { /* one that was chosen before may do */
        struct chosen both = search->chosen[i];
        if (both.kind != CHOSEN_UNKNOWN) continue;
        both.names = regex_and(pool, both.names, selector);
        both.value = conjunction_and(search->m->shapes, both.value, option->value);
        if (unknown_possible(search->m, form, both.names, both.value) &&
            try_choice(search, &search->chosen[i], both, 0, open))
            return true;
    }
    if (search->fresh >= future->room) return false;
    struct chosen choice = {.kind = CHOSEN_UNKNOWN, .n = UINT32_MAX, .value = option->value};
    choice.names = regex_and(pool, future->item->others, selector);
    return unknown_possible(search->m, form, choice.names, choice.value) && try_choice(search, NULL, choice, 1, open);
}

static bool try_option(struct search *search, const struct object_option *option, uint64_t open) {
    const struct future *future = search->future;
    const struct joint *joint = future->frame->joint;
    if (option->kind == OPTION_MATCH) {
        regex selector = future->object->form->selectors[option->selector];
        for (uint32_t n = 0; n < joint->name_count; n++)
            if (future_has(future, n) &&
                regex_matches(search->m->shapes->schema->regexes, selector, joint->names[n].text) &&
                try_name(search, n, option->value, open))
                return true;
        return try_unknown(search, option, open);
    }
    uint32_t n = joint_find_name(search->m, joint, option->name);
    if (option->kind == OPTION_NAME) return try_name(search, n, option->value, open);
    struct chosen *at = find_chosen(search, n), choice = {.kind = CHOSEN_MISSING, .n = n};
    if (n == future->except || name_bit(future->frame->seen, n) || name_bit(future->required, n)) return false;
    if (at != NULL) return at->kind == CHOSEN_MISSING && search_on(search, open);
    return try_choice(search, NULL, choice, 0, open);
}

static bool search_on(struct search *search, uint64_t open) {
    if (open == 0) return true;
    if (++search->tries > TRIES_MAX || !budget_spend(&search->m->shapes->schema->budget, 1)) return false;
    const struct object_obligation *obligation = &search->future->object->form->obligations[__builtin_ctzll(open)];
    open &= open - 1;
    const struct future *future = search->future;
    bool past = future->ordered && future->rank >= future->object->form->order_count; /* no known name can come */
    if (!past && !budget_spend(&search->m->shapes->schema->budget, obligation->count / 16)) return false;
    /* the last names first: in the order of the schema such a way stays open longest. Names that are not known cost most */
    for (uint32_t i = obligation->count; i-- > 0;)
        if (obligation->options[i].kind != OPTION_MATCH && !(past && obligation->options[i].kind == OPTION_NAME) &&
            try_option(search, &obligation->options[i], open))
            return true;
    for (uint32_t i = 0; i < obligation->count; i++)
        if (obligation->options[i].kind == OPTION_MATCH && try_option(search, &obligation->options[i], open))
            return true;
    return false;
}

bool obligations_met_later(struct json_machine *m, const struct future *future, uint64_t open, struct witness *out) {
    struct search search = {.m = m, .future = future};
    if (out != NULL) out->count = out->fresh = 0;
    if (!search_on(&search, open)) return false;
    for (uint32_t i = 0; out != NULL && i < search.count; i++)
        if (search.chosen[i].kind != CHOSEN_UNKNOWN) out->names[out->count++] = search.chosen[i].n;
    if (out != NULL) out->fresh = search.fresh;
    return true;
}

/* ---- what a property meets ---- */

static uint64_t open_obligations(const struct future *future) {
    uint32_t count = future->object->form->obligation_count;
    return ~future->item->done & (count == 64 ? UINT64_MAX : (1ull << count) - 1);
}

static conjunction either(struct shapes *shapes, conjunction a, conjunction b) {
    return conjunction_not(shapes, conjunction_and(shapes, conjunction_not(shapes, a), conjunction_not(shapes, b)));
}

/** Values that meet one obligation, if the candidate has them. */
static conjunction meeting(struct json_machine *m, const struct object_form *form,
                           const struct object_obligation *obligation, const struct candidate *candidate) {
    conjunction out = CONJUNCTION_FALSE;
    for (uint32_t i = 0; i < obligation->count; i++) {
        if (!option_offered(m, form, &obligation->options[i], candidate)) continue;
        out = out == CONJUNCTION_FALSE ? obligation->options[i].value
                                       : either(m->shapes, out, obligation->options[i].value);
    }
    return out;
}

conjunction obligations_for(struct json_machine *m, const struct future *future, const struct candidate *candidate) {
    const struct object_form *form = future->object->form;
    uint64_t open = open_obligations(future), offered[OFFERED_MAX], good = 0;
    if (obligations_met_later(m, future, open, NULL)) return CONJUNCTION_TRUE;
    conjunction values[OFFERED_MAX], out = CONJUNCTION_FALSE;
    uint32_t count = 0;
    for (uint32_t i = 0; i < form->obligation_count && count < OFFERED_MAX; i++) {
        if (!(open >> i & 1)) continue;
        values[count] = meeting(m, form, &form->obligations[i], candidate);
        offered[count] = 1ull << i;
        count += values[count] != CONJUNCTION_FALSE;
    }
    for (uint32_t set = 1; set < 1u << count; set++) {
        bool smaller = false; /* a part of it is enough */
        for (uint32_t part = (set - 1) & set; part > 0 && !smaller; part = (part - 1) & set) smaller = good >> part & 1;
        if (smaller) continue;
        uint64_t met = 0;
        conjunction value = CONJUNCTION_TRUE;
        for (uint32_t i = 0; i < count; i++) {
            if (!(set >> i & 1)) continue;
            met |= offered[i];
            value = conjunction_and(m->shapes, value, values[i]);
        }
        if (!shape_satisfiable(m->shapes, value) || !obligations_met_later(m, future, open & ~met, NULL)) continue;
        good |= 1ull << set;
        out = out == CONJUNCTION_FALSE ? value : either(m->shapes, out, value);
    }
    return out;
}

/** Unknown names whose value can meet the obligation. */
static regex meeting_names(struct json_machine *m, const struct future *future, regex others, uint32_t obligation) {
    struct object_form *form = future->object->form;
    struct regex_pool *pool = m->shapes->schema->regexes;
    regex out = REGEX_NOTHING;
    for (uint32_t i = 0; i < form->obligations[obligation].count; i++) {
        const struct object_option *option = &form->obligations[obligation].options[i];
        if (option->kind != OPTION_MATCH) continue;
        regex names = object_other_names_with(m->shapes, form, option->value);
        out = regex_or(pool, out, regex_and(pool, names, form->selectors[option->selector]));
    }
    return regex_and(pool, out, others);
}

regex obligations_names(struct json_machine *m, const struct future *future, regex others) {
    const struct object_form *form = future->object->form;
    struct regex_pool *pool = m->shapes->schema->regexes;
    uint64_t open = open_obligations(future);
    if (open == 0 || obligations_met_later(m, future, open, NULL)) return others;
    uint32_t list[OFFERED_MAX], count = 0;
    regex names[OFFERED_MAX], out = REGEX_NOTHING;
    for (uint32_t i = 0; i < form->obligation_count && count < OFFERED_MAX; i++) {
        if (!(open >> i & 1)) continue;
        names[count] = meeting_names(m, future, others, i);
        list[count] = i;
        count += names[count] != REGEX_NOTHING;
    }
    for (uint32_t set = 1; set < 1u << count; set++) {
        uint64_t met = 0;
        regex of = others;
        for (uint32_t i = 0; i < count; i++) {
            if (!(set >> i & 1)) continue;
            met |= 1ull << list[i];
            of = regex_and(pool, of, names[i]);
        }
        if (of != REGEX_NOTHING && obligations_met_later(m, future, open & ~met, NULL)) out = regex_or(pool, out, of);
    }
    return out;
}
