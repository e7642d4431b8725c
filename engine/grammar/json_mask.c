/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Masks of the JSON machine.
 *
 *   inside a string of any text     one ready bitset, and the few tokens that end it by their rests
 *   inside a name of any text       the same, then put right along the names that the schema knows and those that were seen
 *   inside another string, a number one table look-up for each node of the trie
 *   elsewhere                       a walk of the nodes whose first byte can come at all
 */
#include "engine/grammar/json_internal.h"

#include "engine/grammar/mask.h"

#include <string.h>

static struct json_state load(const struct machine_state *state) {
    struct json_state out;
    memcpy(&out, state, sizeof out);
    return out;
}

static void save(const struct json_state *state, struct machine_state *out) { memcpy(out, state, sizeof *state); }

/* ---- strings of any text ---- */

/** Every component takes any text: nothing that is written changes the state. */
static bool is_free(const struct json_machine *m, uint32_t tuple) {
    struct intern_item item = intern_get(&m->tuples, tuple);
    if (item.count < 3 || item.words[0] != TUPLE_STRING) return false;
    for (uint32_t i = 1; i < item.count; i += 2)
        if (item.words[i + 1] != REGEX_EVERYTHING) return false;
    return true;
}

static bool fill_ends(struct json_machine *m, struct mask_walk *walk, const struct string_ends *ends, const struct machine_state *from, uint32_t *mask) {
    (void)m;
    for (uint32_t i = 0; i < ends->whole_count; i++) mask_set(mask, ends->whole[i]);
    return mask_walk(walk, &ends->rests, 0, ends->rests.count, from, mask);
}

/** A value: how it ends does not depend on its text. */
static bool fill_free_value(struct json_machine *m, struct mask_walk *walk, const struct string_tokens *tokens, const struct machine_state *state, uint32_t *mask) {
    mask_or(mask, tokens->inside, walk->vocabulary->words);
    struct frames_mark before = frames_mark(walk->frames);
    struct machine_state ended;
    enum machine_step step = m->machine.operations->step(&m->machine, walk->frames, state, '"', &ended);
    bool ok = step != MACHINE_FAILED;
    if (step == MACHINE_LIVE) ok = fill_ends(m, walk, &tokens->plain, &ended, mask) && fill_ends(m, walk, &tokens->escaped, &ended, mask);
    frames_drop(walk->frames, before);
    return ok;
}

/* ---- tables ---- */

static bool string_byte(uint8_t byte) { return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\'; }
static bool number_byte(uint8_t byte) { return (byte >= '0' && byte <= '9') || byte == '-' || byte == '+' || byte == '.' || byte == 'e' || byte == 'E'; }

/** Nodes below one whose state is within a scalar: its own bytes by its tuples alone, others by the machine. */
static bool fill_scalar(struct json_machine *m, struct mask_walk *walk, const struct token_trie *trie, uint32_t first, uint32_t end,
                        const struct json_state *from, uint32_t *mask) {
    uint32_t tuples[TRIE_DEPTH_MAX + 1], top = first < end ? trie->depths[first] : 0;
    bool is_string = from->phase == PHASE_STRING, ok = true;
    for (uint32_t i = first; ok && i < end;) {
        uint32_t depth = trie->depths[i], tuple = depth == top ? from->tuple : tuples[depth - 1];
        uint8_t byte = trie->bytes[i];
        if (is_string ? string_byte(byte) : number_byte(byte)) {
            uint32_t next = tuple_step(m, tuple, byte);
            ok = next != TUPLE_FAILED;
            if (next == TUPLE_DEAD || !ok) {
                i += trie->sizes[i];
                continue;
            }
            tuples[depth] = next;
            mask_set_node(mask, trie, i++);
            continue;
        }
        struct json_state state = *from;
        struct machine_state packed;
        state.tuple = tuple;
        save(&state, &packed);
        ok = mask_walk(walk, trie, i, i + trie->sizes[i], &packed, mask);
        i += trie->sizes[i];
    }
    return ok;
}

static bool fill_below(struct machine *machine, struct mask_walk *walk, const struct token_trie *trie, uint32_t node,
                       const struct machine_state *packed, uint32_t *mask, bool *done) {
    struct json_state state = load(packed);
    bool scalar = (state.phase == PHASE_STRING && state.lex == LEX_PLAIN) || state.phase == PHASE_NUMBER;
    *done = false;
    if (!scalar || state.frame->recording || trie->sizes[node] < 8) return true;
    *done = true;
    return fill_scalar((struct json_machine *)machine, walk, trie, node + 1, node + trie->sizes[node], &state, mask);
}

/* ---- names ---- */

/** What is asked of a value does not depend on the text of an unknown name, but for names seen before. */
static bool names_alike(const struct frame *frame) {
    for (uint32_t i = 0; i < frame->item_count; i++)
        if (frame->joint->objects[frame->items[i].index].form->selector_count > 0) return false;
    return true;
}

/** Nodes where the text is still the beginning of a known or a seen name: what was set for unknown names is put right. */
static bool put_right(struct json_machine *m, struct mask_walk *walk, uint32_t first, uint32_t end, const struct machine_state *from, uint32_t *mask);

static bool put_right_node(struct json_machine *m, struct mask_walk *walk, uint32_t i, const struct machine_state *from, uint32_t *mask) {
    const struct token_trie *trie = &walk->vocabulary->trie;
    struct frames_mark before = frames_mark(walk->frames);
    struct machine_state next;
    enum machine_step step = m->machine.operations->step(&m->machine, walk->frames, from, trie->bytes[i], &next);
    bool ok = step != MACHINE_FAILED;
    if (step == MACHINE_DEAD) {
        mask_clear_subtree(mask, trie, i);
    } else if (ok) {
        struct json_state state = load(&next);
        if (state.phase != PHASE_KEY_STRING) {
            mask_clear_subtree(mask, trie, i);
            mask_set_node(mask, trie, i);
            ok = mask_walk(walk, trie, i + 1, i + trie->sizes[i], &next, mask);
        } else if (state.low < state.high || state.lex != LEX_PLAIN) {
            mask_set_node(mask, trie, i);
            ok = put_right(m, walk, i + 1, i + trie->sizes[i], &next, mask);
        }
    }
    frames_drop(walk->frames, before);
    return ok;
}

static bool begins_name(const struct joint *joint, const struct json_state *state, uint8_t byte) {
    for (uint32_t n = state->low; n < state->high; n++) {
        struct bytes_view text = joint->names[n].text;
        if (text.length > state->depth && text.data[state->depth] == byte) return true;
        if (n - state->low > 32) return true; /* many: let the machine look */
    }
    return false;
}

static bool put_right(struct json_machine *m, struct mask_walk *walk, uint32_t first, uint32_t end, const struct machine_state *from, uint32_t *mask) {
    const struct token_trie *trie = &walk->vocabulary->trie;
    struct json_state state = load(from);
    bool ok = true;
    for (uint32_t i = first; ok && i < end; i += trie->sizes[i]) {
        uint8_t byte = trie->bytes[i];
        bool plain = state.lex == LEX_PLAIN && byte != '"' && byte != '\\';
        if (plain && !begins_name(state.frame->joint, &state, byte)) continue; /* an unknown name from here on */
        ok = put_right_node(m, walk, i, from, mask);
    }
    return ok;
}

/** Tokens that would end an unknown name as one that was seen. */
static void clear_seen(struct mask_walk *walk, const struct json_state *state, struct bytes_view begun, uint32_t *mask) {
    const struct token_trie *trie = &walk->vocabulary->trie;
    for (const struct seen_text *seen = state->frame->texts; seen != NULL; seen = seen->before) {
        if (seen->text.length < begun.length || (begun.length > 0 && memcmp(seen->text.data, begun.data, begun.length) != 0)) continue;
        uint32_t first = 0, end = trie->count;
        for (size_t at = begun.length; first < end; at++) {
            uint8_t byte = at < seen->text.length ? seen->text.data[at] : '"';
            while (first < end && trie->bytes[first] != byte) first += trie->sizes[first];
            if (first == end) break;
            if (at == seen->text.length) {
                mask_clear_subtree(mask, trie, first);
                break;
            }
            end = first + trie->sizes[first];
            first++;
        }
    }
}

/** The decoded text of the name so far. */
static bool begun_text(struct mask_walk *walk, const struct json_state *state, struct bytes_view *out) {
    struct bytes_view raw = text_between(walk->frames, state->frame->start, state->text);
    if (raw.data == NULL) return false;
    const uint8_t *quote = memchr(raw.data, '"', raw.length);
    if (quote == NULL) return false;
    *out = (struct bytes_view){quote + 1, (size_t)(raw.data + raw.length - quote - 1)};
    return memchr(out->data, '\\', out->length) == NULL; /* with escapes: the machine looks at every token */
}

static bool fill_free_name(struct json_machine *m, struct mask_walk *walk, const struct machine_state *from, uint32_t *mask) {
    const struct string_tokens *tokens = &walk->vocabulary->strings[0];
    struct json_state state = load(from), unknown = state;
    struct frames_mark before = frames_mark(walk->frames);
    struct machine_state ended;
    struct bytes_view begun = {0};
    bool ok = true;
    if (state.frame->texts != NULL && !begun_text(walk, &state, &begun)) {
        frames_drop(walk->frames, before);
        const struct token_trie *trie = &walk->vocabulary->trie;
        return mask_walk(walk, trie, 0, trie->count, from, mask);
    }
    mask_or(mask, tokens->inside, walk->vocabulary->words);
    unknown.low = unknown.high = 0;
    enum machine_step step = object_unknown_end(m, walk->frames, &unknown, &ended);
    ok = step != MACHINE_FAILED;
    if (step == MACHINE_LIVE) ok = fill_ends(m, walk, &tokens->plain, &ended, mask);
    frames_drop(walk->frames, before);
    /* those with an escape before the quote may spell a known or a seen name */
    ok = ok && mask_walk(walk, &tokens->escapes, 0, tokens->escapes.count, from, mask);
    if (ok && state.frame->texts != NULL) {
        ok = begun_text(walk, &state, &begun);
        clear_seen(walk, &state, begun, mask);
        frames_drop(walk->frames, before);
    }
    if (ok && state.low < state.high) ok = put_right(m, walk, 0, walk->vocabulary->trie.count, from, mask);
    else if (ok && state.tuple == TUPLE_DEAD) ok = false;
    return ok;
}

/* ---- whole masks ---- */

/** The bytes that may come first, and perhaps some that may not. */
static void first_bytes(const struct json_machine *m, const struct json_state *state, uint64_t out[4]) {
    const char *text = "";
    bool value = state->phase == PHASE_VALUE || state->phase == PHASE_VALUE_OR_CLOSE;
    switch (state->phase) {
    case PHASE_VALUE: text = "\"{[tfn-0123456789"; break;
    case PHASE_VALUE_OR_CLOSE: text = "]\"{[tfn-0123456789"; break;
    case PHASE_AFTER: text = ",]}"; break;
    case PHASE_KEY_OR_CLOSE: text = "\"}"; break;
    case PHASE_KEY: text = "\""; break;
    case PHASE_COLON: text = ":"; break;
    case PHASE_DONE: break;
    default: memset(out, 0xff, 4 * sizeof *out); return;
    }
    memset(out, 0, 4 * sizeof *out);
    for (; *text != '\0'; text++) out[(uint8_t)*text / 64] |= 1ull << (uint8_t)*text % 64;
    if (m->options.space == GRAMMAR_SPACE_FREE || state->blank)
        out[0] |= 1ull << ' ' | 1ull << '\t' | 1ull << '\n' | 1ull << '\r';
    if (value && state->frame->child != NULL && state->frame->child->string == TUPLE_DEAD) out[0] &= ~(1ull << '"');
}

static bool fill_structure(struct json_machine *m, struct mask_walk *walk, const struct machine_state *packed, uint32_t *mask) {
    const struct token_trie *trie = &walk->vocabulary->trie;
    struct json_state state = load(packed);
    uint64_t bytes[4];
    first_bytes(m, &state, bytes);
    bool value = (state.phase == PHASE_VALUE || state.phase == PHASE_VALUE_OR_CLOSE) && !state.blank && state.frame->child != NULL;
    if (value && !state.frame->recording && state.frame->child->string != TUPLE_DEAD && is_free(m, state.frame->child->string)) {
        struct machine_state inside;
        enum machine_step step = m->machine.operations->step(&m->machine, walk->frames, packed, '"', &inside);
        if (step == MACHINE_FAILED) return false;
        if (step == MACHINE_LIVE) {
            for (uint32_t t = trie->first[trie->roots['"']]; t < trie->first[trie->roots['"'] + 1] && trie->roots['"'] < trie->roots['"' + 1]; t++)
                mask_set(mask, trie->tokens[t]);
            if (!fill_free_value(m, walk, &walk->vocabulary->strings[1], &inside, mask)) return false;
        }
        bytes[0] &= ~(1ull << '"');
    }
    for (uint32_t word = 0; word < 4; word++)
        for (uint64_t rest = bytes[word]; rest != 0; rest &= rest - 1) {
            uint32_t byte = word * 64 + (uint32_t)__builtin_ctzll(rest);
            if (!mask_walk(walk, trie, trie->roots[byte], trie->roots[byte + 1], packed, mask)) return false;
        }
    return true;
}

bool json_fill(struct machine *machine, struct mask_walk *walk, const struct machine_state *packed, uint32_t *mask) {
    struct json_machine *m = (struct json_machine *)machine;
    const struct token_trie *trie = &walk->vocabulary->trie;
    struct json_state state = load(packed);
    bool recording = state.frame->recording;
    if (state.phase == PHASE_STRING && state.lex == LEX_PLAIN && !recording) {
        if (is_free(m, state.tuple)) return fill_free_value(m, walk, &walk->vocabulary->strings[0], packed, mask);
        return fill_scalar(m, walk, trie, 0, trie->count, &state, mask);
    }
    if (state.phase == PHASE_NUMBER && !recording) return fill_scalar(m, walk, trie, 0, trie->count, &state, mask);
    if (state.phase == PHASE_KEY_STRING && state.lex == LEX_PLAIN && !recording && state.tuple != TUPLE_DEAD && is_free(m, state.tuple) &&
        names_alike(state.frame))
        return fill_free_name(m, walk, packed, mask);
    if (state.phase == PHASE_STRING || state.phase == PHASE_KEY_STRING || state.phase == PHASE_LITERAL || state.phase == PHASE_NUMBER)
        return mask_walk(walk, trie, 0, trie->count, packed, mask);
    return fill_structure(m, walk, packed, mask);
}

bool json_fill_below(struct machine *machine, struct mask_walk *walk, const struct token_trie *trie, uint32_t node,
                     const struct machine_state *packed, uint32_t *mask, bool *done) {
    return fill_below(machine, walk, trie, node, packed, mask, done);
}
