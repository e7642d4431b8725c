/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Masks of the JSON machine.
 *
 *   inside a string of any text     one ready bitset, and the few tokens that end it by their rests
 *   inside a name of any text       the same, then put right along the names that the schema knows and those that were seen
 *   inside another string, a number one table look-up for each node of the trie, and whole subtrees where the text is free
 *   elsewhere                       a walk of the nodes whose byte can come at all
 */
#include "engine/grammar/json_mask.h"

#include <stdlib.h>

/* ---- what may come ---- */

bool next_sibling(struct siblings *siblings, uint32_t *out) {
    const struct token_trie *trie = siblings->trie;
    if (!siblings->roots) {
        uint32_t i = siblings->at;
        while (i < siblings->end && !byte_in(siblings->bytes, trie->bytes[i])) i += trie->sizes[i];
        if (i >= siblings->end) return false;
        siblings->at = i + trie->sizes[i];
        *out = i;
        return true;
    }
    for (uint32_t word = 0; word < 4; word++)
        while (siblings->bytes[word] != 0) {
            uint32_t byte = word * 64 + (uint32_t)__builtin_ctzll(siblings->bytes[word]);
            siblings->bytes[word] &= siblings->bytes[word] - 1;
            if (trie->roots[byte] == trie->roots[byte + 1]) continue;
            *out = trie->roots[byte];
            return true;
        }
    return false;
}

static void add_text(uint64_t bytes[4], const char *text) {
    for (; *text != '\0'; text++) byte_add(bytes, (uint8_t)*text);
}

static void value_bytes(const struct joint *joint, uint64_t out[4]) {
    if (joint == NULL) return;
    if (joint->string != TUPLE_DEAD) byte_add(out, '"');
    if (joint->number != TUPLE_DEAD) add_text(out, "-0123456789");
    if (joint->possible >> VALUE_NULL & 1) byte_add(out, 'n');
    if (joint->possible >> VALUE_FALSE & 1) byte_add(out, 'f');
    if (joint->possible >> VALUE_TRUE & 1) byte_add(out, 't');
    if (joint->possible >> VALUE_ARRAY & 1) byte_add(out, '[');
    if (joint->possible >> VALUE_OBJECT & 1) byte_add(out, '{');
}

static void string_bytes(const struct json_state *state, uint64_t out[4]) {
    switch (state->lex) {
    case LEX_ESCAPE:
        add_text(out, "\"\\/bfnrtu");
        break;
    case LEX_HEX:
    case LEX_LOW_HEX:
        add_text(out, "0123456789abcdefABCDEF");
        break;
    case LEX_LOW_BACKSLASH:
        byte_add(out, '\\');
        break;
    case LEX_LOW_U:
        byte_add(out, 'u');
        break;
    case LEX_UTF8:
        out[2] = UINT64_MAX;
        break;
    default:
        memset(out, 0xff, 4 * sizeof *out);
        break;
    }
}

/** The bytes that may come first, and perhaps some that may not. */
static void first_bytes(const struct json_machine *m, const struct json_state *state, uint64_t out[4]) {
    const struct frame *frame = state->frame;
    memset(out, 0, 4 * sizeof *out);
    switch (state->phase) {
    case PHASE_VALUE_OR_CLOSE:
        byte_add(out, ']');
        value_bytes(frame->child, out);
        break;
    case PHASE_VALUE:
        value_bytes(frame->child, out);
        break;
    case PHASE_AFTER:
        byte_add(out, frame->kind == FRAME_ARRAY ? ']' : '}');
        if (frame->kind == FRAME_ARRAY ? frame->child != NULL : frame->keys->any) byte_add(out, ',');
        break;
    case PHASE_KEY_OR_CLOSE:
    case PHASE_KEY:
        if (state->phase == PHASE_KEY_OR_CLOSE) byte_add(out, '}');
        if (frame->keys->any) byte_add(out, '"');
        break;
    case PHASE_COLON:
        byte_add(out, ':');
        break;
    case PHASE_LITERAL:
        add_text(out, "aelrsu");
        return;
    case PHASE_STRING:
    case PHASE_KEY_STRING:
        string_bytes(state, out);
        return;
    default:
        break;
    }
    if (m->options.space == GRAMMAR_SPACE_FREE || state->blank) {
        if (state->blank && m->options.space != GRAMMAR_SPACE_FREE) memset(out, 0, 4 * sizeof *out);
        add_text(out, " \t\n\r");
    }
}

/* ---- walks ---- */

bool mask_node(struct json_machine *m, struct mask_walk *walk, const struct token_trie *trie, uint32_t node,
               const struct machine_state *from, uint32_t *mask) {
    struct frames_mark before = frames_mark(walk->frames);
    struct machine_state next;
    enum machine_step step = m->machine.operations->step(&m->machine, walk->frames, from, trie->bytes[node], &next);
    bool ok = step != MACHINE_FAILED;
    if (step == MACHINE_LIVE) {
        mask_set_node(mask, trie, node);
        if (trie->sizes[node] > 1) ok = mask_siblings(m, walk, trie, node + 1, node + trie->sizes[node], &next, mask);
    }
    frames_drop(walk->frames, before);
    return ok;
}

static bool is_blank(uint8_t byte) {
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

/** Between the parts of a text: blanks change nothing but their count, and are stepped over here. `bytes`: what may come behind them. */
static bool walk_structure(struct json_machine *m, struct mask_walk *walk, struct siblings siblings,
                           const uint64_t bytes[4], const struct json_state *state, uint32_t *mask) {
    const struct token_trie *trie = siblings.trie;
    bool blanks = m->options.space == GRAMMAR_SPACE_FREE && !state->blank && !state->frame->recording;
    struct machine_state packed;
    uint32_t node;
    json_save(state, &packed);
    while (next_sibling(&siblings, &node)) {
        if (!blanks || !is_blank(trie->bytes[node])) {
            if (!mask_node(m, walk, trie, node, &packed, mask)) return false;
            continue;
        }
        if (state->space >= m->options.space_max) continue;
        mask_set_node(mask, trie, node);
        if (trie->sizes[node] == 1) continue;
        struct json_state behind = *state;
        behind.space++;
        struct siblings below = siblings_of(trie, node + 1, node + trie->sizes[node], bytes);
        if (!walk_structure(m, walk, below, bytes, &behind, mask)) return false;
    }
    return true;
}

bool mask_siblings(struct json_machine *m, struct mask_walk *walk, const struct token_trie *trie, uint32_t first,
                   uint32_t end, const struct machine_state *from, uint32_t *mask) {
    struct json_state state = json_load(from);
    if ((state.phase == PHASE_STRING && state.lex == LEX_PLAIN) || state.phase == PHASE_NUMBER)
        return mask_scalar(m, walk, trie, first, end, &state, mask);
    if (state.phase == PHASE_KEY_STRING && names_by_range(m, &state))
        return mask_names(m, walk, trie, first, end, &state, mask);
    uint64_t bytes[4];
    uint32_t node;
    first_bytes(m, &state, bytes);
    struct siblings siblings = siblings_of(trie, first, end, bytes);
    if (state.phase != PHASE_STRING && state.phase != PHASE_KEY_STRING && state.phase != PHASE_LITERAL)
        return walk_structure(m, walk, siblings, bytes, &state, mask);
    while (next_sibling(&siblings, &node))
        if (!mask_node(m, walk, trie, node, from, mask)) return false;
    return true;
}

bool mask_ends(struct json_machine *m, struct mask_walk *walk, const struct string_ends *ends,
               const struct machine_state *ended, uint32_t *mask) {
    for (uint32_t i = 0; i < ends->whole_count; i++) mask_set(mask, ends->whole[i]);
    return mask_all(m, walk, &ends->rests, ended, mask);
}

/* ---- endings ---- */

struct ending *ending_find(struct json_machine *m, struct endings *endings, uint32_t tuple, bool *out_new) {
    struct verdict verdict = {0};
    tuple_verdict(m, tuple, &verdict);
    const uint64_t *key = verdict.bits;
    for (uint32_t i = 0; i < endings->count; i++)
        if (endings->list[i].key[0] == key[0] && endings->list[i].key[1] == key[1]) {
            *out_new = false;
            return &endings->list[i];
        }
    struct ending *ending = &endings->list[endings->count < CLASSES_MAX ? endings->count++ : 0];
    ending->key[0] = key[0];
    ending->key[1] = key[1];
    *out_new = true;
    return ending;
}

bool ending_learn(struct json_machine *m, struct mask_walk *walk, struct ending *ending,
                  const struct machine_state *before) {
    const struct token_trie *nodes = &walk->vocabulary->strings[0].rest_nodes;
    struct machine_state ended;
    enum machine_step step = m->machine.operations->step(&m->machine, walk->frames, before, '"', &ended);
    ending->live = step == MACHINE_LIVE;
    if (!ending->live) return step != MACHINE_FAILED;
    size_t bytes = (nodes->count + 32) / 32 * sizeof(uint32_t);
    ending->rests = frames_alloc(walk->frames, bytes);
    if (ending->rests == NULL) return false;
    memset(ending->rests, 0, bytes);
    ending->rests[0] = 1;
    return mask_all(m, walk, nodes, &ended, ending->rests);
}

void ending_set(const struct mask_walk *walk, const struct token_trie *trie, uint32_t node, const struct ending *ending,
                uint32_t *mask) {
    const uint32_t *rest_of = walk->vocabulary->strings[0].rest_of;
    if (!ending->live) return;
    for (uint32_t t = trie->first[node]; t < trie->first[node + trie->sizes[node]]; t++) {
        uint32_t rest = rest_of[trie->tokens[t]];
        if (ending->rests[rest / 32] >> rest % 32 & 1) mask_set(mask, trie->tokens[t]);
    }
}

/* ---- whole masks ---- */

/** Tokens of nothing but blanks. */
static void fill_blanks(const struct json_machine *m, const struct grammar_vocabulary *v,
                        const struct json_state *state, uint32_t *mask) {
    uint32_t room = m->options.space != GRAMMAR_SPACE_FREE ? state->blank : m->options.space_max - state->space;
    for (uint32_t i = 0; i < v->blank_count && v->blanks[i].length <= room; i++)
        if (m->options.space == GRAMMAR_SPACE_FREE || v->blanks[i].space) mask_set(mask, v->blanks[i].token);
}

/** Outside strings. Before a value that may be a string of any text the tokens that begin it are ready. */
static bool fill_structure(struct json_machine *m, struct mask_walk *walk, const struct machine_state *packed,
                           uint32_t *mask) {
    const struct token_trie *trie = &walk->vocabulary->structure;
    struct json_state state = json_load(packed);
    bool value = (state.phase == PHASE_VALUE || state.phase == PHASE_VALUE_OR_CLOSE) && !state.blank &&
                 state.frame->child != NULL && !state.frame->recording;
    uint64_t bytes[4];
    uint32_t quote = trie->roots['"'];
    if (state.phase == PHASE_NUMBER)
        return mask_all(m, walk, trie, packed, mask) && mask_all(m, walk, &walk->vocabulary->blank_trie, packed, mask);
    first_bytes(m, &state, bytes);
    fill_blanks(m, walk->vocabulary, &state, mask);
    struct siblings siblings = siblings_of(trie, 0, trie->count, bytes);
    if (value && byte_in(bytes, '"') && quote < trie->roots['"' + 1] && tuple_is_free(m, state.frame->child->string)) {
        struct machine_state inside;
        enum machine_step step = m->machine.operations->step(&m->machine, walk->frames, packed, '"', &inside);
        if (step == MACHINE_FAILED) return false;
        mask_set_node(mask, trie, quote);
        if (step == MACHINE_LIVE && !fill_free_value(m, walk, &walk->vocabulary->strings[1], &inside, mask))
            return false;
        siblings.bytes['"' / 64] &= ~(1ull << '"');
    }
    return walk_structure(m, walk, siblings, bytes, &state, mask);
}

static bool fill(struct json_machine *m, struct mask_walk *walk, const struct machine_state *packed, uint32_t *mask) {
    struct json_state state = json_load(packed);
    if (state.phase == PHASE_STRING && state.lex == LEX_PLAIN) {
        if (tuple_is_free(m, state.tuple) && !state.frame->recording)
            return fill_free_value(m, walk, &walk->vocabulary->strings[0], packed, mask);
        return fill_string(m, walk, &state, mask);
    }
    if (state.phase == PHASE_KEY_STRING && state.lex == LEX_PLAIN && !state.frame->recording)
        return fill_name(m, walk, &state, mask);
    bool inside = state.phase == PHASE_STRING || state.phase == PHASE_KEY_STRING || state.phase == PHASE_LITERAL;
    return inside ? mask_all(m, walk, &walk->vocabulary->trie, packed, mask) : fill_structure(m, walk, packed, mask);
}

/** Inside a string the mask is the same as long as its tuple is, where the text itself is not looked at. */
bool json_fill(struct machine *machine, struct mask_walk *walk, const struct machine_state *packed, uint32_t *mask) {
    struct json_machine *m = (struct json_machine *)machine;
    struct json_state state = json_load(packed);
    struct mask_kept *kept = &walk->kept[MASK_KEPT_STRING];
    size_t bytes = walk->vocabulary->words * sizeof *mask;
    if (state.phase != PHASE_STRING || state.lex != LEX_PLAIN || state.frame->recording)
        return fill(m, walk, packed, mask);
    if (kept->mask != NULL && kept->machine == &m->machine && kept->serial == state.frame->serial &&
        kept->tuple == state.tuple) {
        memcpy(mask, kept->mask, bytes);
        return true;
    }
    if (!fill(m, walk, packed, mask)) return false;
    if (kept->mask == NULL) kept->mask = malloc(bytes);
    if (kept->mask == NULL) return true; /* without memory nothing is kept */
    memcpy(kept->mask, mask, bytes);
    kept->machine = &m->machine;
    kept->serial = state.frame->serial;
    kept->tuple = state.tuple;
    return true;
}
