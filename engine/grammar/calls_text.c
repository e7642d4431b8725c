/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/calls_internal.h"

#include <stdlib.h>
#include <string.h>

/** The state of `text`, which begins a trigger; a new one where there is none yet. TEXT_STATES_MAX: no room. */
static uint32_t state_of(struct text_automaton *automaton, const char *text, uint32_t length, bool at_start) {
    for (uint32_t s = 0; s < automaton->state_count; s++) {
        const struct text_state *state = &automaton->states[s];
        if (state->length == length && state->at_start == at_start && memcmp(state->text, text, length) == 0) return s;
    }
    if (automaton->state_count == TEXT_STATES_MAX) return TEXT_STATES_MAX;
    automaton->states[automaton->state_count] = (struct text_state){text, (uint8_t)length, at_start};
    return automaton->state_count++;
}

/** A trigger that `text` begins; NULL. At the start of the answer all count, later those that may come anywhere. */
static const struct text_trigger *begun_by(const struct text_automaton *automaton, const char *text, uint32_t length,
                                           bool at_start) {
    for (uint32_t i = 0; i < automaton->trigger_count; i++) {
        const struct text_trigger *trigger = &automaton->triggers[i];
        if ((at_start || !trigger->at_start) && strlen(trigger->text) >= length &&
            memcmp(trigger->text, text, length) == 0)
            return trigger;
    }
    return NULL;
}

/** What follows state `s` by `byte`: a state or a trigger; -1: no room. */
static int follow(struct text_automaton *automaton, uint32_t s, uint8_t byte) {
    struct text_state from = automaton->states[s];
    char text[UINT8_MAX + 1];
    uint32_t length = from.length + 1U;
    memcpy(text, from.text, from.length);
    text[from.length] = (char)byte;
    bool at_start = from.at_start;
    for (uint32_t skip = 0; skip <= length; skip++) {
        /* What has been there before makes the rest no start any more; nothing at all is none either. */
        bool start = at_start && skip == 0;
        if (skip == length) break;
        const struct text_trigger *trigger = begun_by(automaton, text + skip, length - skip, start);
        if (trigger == NULL) continue;
        if (strlen(trigger->text) == length - skip) return TEXT_TRIGGERED | (int)(trigger - automaton->triggers);
        uint32_t state = state_of(automaton, trigger->text, length - skip, start);
        return state == TEXT_STATES_MAX ? -1 : (int)state;
    }
    return (int)automaton->go_on;
}

bool text_automaton_init(struct text_automaton *automaton, const struct text_trigger *triggers, uint32_t count) {
    *automaton = (struct text_automaton){.trigger_count = count};
    if (pthread_mutex_init(&automaton->lock, NULL) != 0) return false;
    memcpy(automaton->triggers, triggers, count * sizeof *triggers);
    automaton->go_on = state_of(automaton, "", 0, false);
    automaton->start = state_of(automaton, "", 0, true);
    for (uint32_t s = 0; s < automaton->state_count; s++)
        for (uint32_t byte = 0; byte < 256; byte++) {
            int next = follow(automaton, s, (uint8_t)byte);
            if (next < 0) {
                pthread_mutex_destroy(&automaton->lock);
                return false;
            }
            automaton->next[s][byte] = (uint8_t)next;
        }
    return true;
}

static void mask_destroy(struct text_mask *mask) {
    if (mask == NULL) return;
    free(mask->stay);
    token_trie_deinit(&mask->other);
    free(mask);
}

void text_automaton_deinit(struct text_automaton *automaton) {
    for (uint32_t s = 0; s < automaton->state_count; s++) mask_destroy(automaton->masks[s]);
    pthread_mutex_destroy(&automaton->lock);
}

/** Of the nodes first..end - 1, below the root: sets `stay` for the tokens that stay, `other` for the rest. */
static void divide(const struct text_automaton *automaton, const struct token_trie *trie, uint32_t first, uint32_t end,
                   uint32_t state, uint32_t *stay, uint32_t *other) {
    uint8_t states[TRIE_DEPTH_MAX + 2];
    states[0] = (uint8_t)state;
    for (uint32_t n = first; n < end;) {
        uint32_t depth = trie->depths[n];
        uint8_t next = automaton->next[states[depth]][trie->bytes[n]];
        uint32_t behind = next & TEXT_TRIGGERED ? n + trie->sizes[n] : n + 1;
        uint32_t *out = next & TEXT_TRIGGERED ? other : stay;
        for (uint32_t t = trie->first[n]; t < trie->first[behind]; t++) mask_set(out, trie->tokens[t]);
        states[depth + 1] = next;
        n = behind;
    }
}

/** As `base`, of the state where nothing is begun, but for tokens whose first byte leads elsewhere from here. */
static void divide_as(const struct text_automaton *automaton, const struct token_trie *trie,
                      const struct text_mask *base, uint32_t words, uint32_t state, uint32_t *stay, uint32_t *other) {
    mask_or(stay, base->stay, words);
    for (uint32_t t = 0; t < base->other.first[base->other.count]; t++) mask_set(other, base->other.tokens[t]);
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t first = trie->roots[byte], end = trie->roots[byte + 1];
        if (first == end || automaton->next[state][byte] == automaton->next[automaton->go_on][byte]) continue;
        mask_clear_subtree(stay, trie, first);
        mask_clear_subtree(other, trie, first);
        divide(automaton, trie, first, end, state, stay, other);
    }
}

/** `base`: of the state where nothing is begun; NULL: this is that. */
static struct text_mask *make_mask(const struct text_automaton *automaton, const struct grammar_vocabulary *vocabulary,
                                   uint32_t state, const struct text_mask *base) {
    const struct token_trie *trie = &vocabulary->trie;
    struct text_mask *mask = calloc(1, sizeof *mask);
    uint32_t *other = calloc(vocabulary->words, sizeof *other);
    bool ok = mask != NULL && other != NULL;
    if (ok) {
        mask->stay = calloc(vocabulary->words, sizeof *mask->stay);
        ok = mask->stay != NULL;
    }
    if (ok && base == NULL) divide(automaton, trie, 0, trie->count, state, mask->stay, other);
    if (ok && base != NULL) divide_as(automaton, trie, base, vocabulary->words, state, mask->stay, other);
    ok = ok && trie_select(vocabulary, other, &mask->other);
    free(other);
    if (ok) return mask;
    mask_destroy(mask);
    return NULL;
}

const struct text_mask *text_automaton_mask(struct text_automaton *automaton,
                                            const struct grammar_vocabulary *vocabulary, uint32_t state) {
    struct text_mask **masks = automaton->masks, **base = &masks[automaton->go_on];
    pthread_mutex_lock(&automaton->lock);
    if (*base == NULL) *base = make_mask(automaton, vocabulary, automaton->go_on, NULL);
    if (masks[state] == NULL && *base != NULL) masks[state] = make_mask(automaton, vocabulary, state, *base);
    const struct text_mask *mask = masks[state];
    pthread_mutex_unlock(&automaton->lock);
    return mask;
}
