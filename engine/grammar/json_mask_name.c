/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Masks inside names.
 *
 * Names that the schema knows lie sorted: those that begin as the text so far are a range, and only bytes that go on with one of the range are looked at. A name
 * that it does not know is asked about once, as long as nothing depends on its text; else by classes, or by the machine.
 */
#include "engine/grammar/json_mask.h"

#include "engine/grammar/utf8_steps.h"

#include <stdlib.h>

static bool permitted(const struct frame *frame, uint32_t n) {
    return frame->keys->permitted[n / 64] >> n % 64 & 1;
}

/** What is asked of a value does not depend on the text of an unknown name, but for names seen before. */
static bool names_alike(const struct frame *frame) {
    for (uint32_t i = 0; i < frame->item_count; i++)
        if (frame->joint->objects[frame->items[i].index].form->selector_count > 0) return false;
    return true;
}

bool names_by_range(const struct json_machine *m, const struct json_state *state) {
    if (state->lex != LEX_PLAIN || state->frame->recording) return false;
    return state->tuple == TUPLE_DEAD ||
           (state->frame->texts == NULL && tuple_is_free(m, state->tuple) && names_alike(state->frame));
}

/** The known names that begin as the text so far. */
struct range {
    uint32_t low, high, depth;
};

static bool ends_here(const struct frame *frame, struct range range) {
    return range.low < range.high && frame->joint->names[range.low].text.length == range.depth;
}

/** The bytes that names of the range go on with, but those that only an escape can write. */
static void range_bytes(const struct frame *frame, struct range range, bool only_permitted, uint64_t out[4]) {
    const struct joint *joint = frame->joint;
    uint32_t n = range.low + ends_here(frame, range);
    while (n < range.high) {
        uint8_t byte = joint->names[n].text.data[range.depth];
        uint32_t after = names_from(joint, n, range.high, range.depth, (uint32_t)byte + 1);
        bool any = !only_permitted;
        for (; n < after && !any; n++) any = permitted(frame, n);
        if (any && byte >= 0x20 && byte != '"' && byte != '\\') byte_add(out, byte);
        n = after;
    }
}

static struct range range_step(const struct joint *joint, struct range range, uint8_t byte) {
    uint32_t low = names_from(joint, range.low, range.high, range.depth, byte);
    return (struct range){low, names_from(joint, low, range.high, range.depth, (uint32_t)byte + 1), range.depth + 1};
}

struct range_walk {
    struct json_machine *m;
    struct mask_walk *walk;
    const struct token_trie *trie;
    const struct json_state *from;
    uint32_t *mask;
    uint32_t top; /* depth of the first node */
    uint8_t path[TRIE_DEPTH_MAX + 1];
    bool asked, live; /* about `unknown`: the state behind the quote of a name that is not known */
    struct machine_state unknown;
};

/** Node `i` by the machine. */
static bool range_exactly(struct range_walk *w, uint32_t i, struct range range) {
    struct frames_mark before = frames_mark(w->walk->frames);
    struct json_state state = *w->from;
    struct machine_state packed;
    bool ok = state_record(w->walk->frames, &state, w->path + w->top, w->trie->depths[i] - w->top);
    state.low = range.low;
    state.high = range.high;
    state.depth = range.depth;
    json_save(&state, &packed);
    ok = ok && mask_node(w->m, w->walk, w->trie, i, &packed, w->mask);
    frames_drop(w->walk->frames, before);
    return ok;
}

/** The quote behind a name that is not known. */
static bool end_unknown(struct range_walk *w, uint32_t i) {
    const struct token_trie *trie = w->trie;
    if (!w->asked) {
        struct json_state state = *w->from;
        state.low = state.high = 0;
        enum machine_step step = object_unknown_end(w->m, w->walk->frames, &state, &w->unknown);
        if (step == MACHINE_FAILED) return false;
        w->asked = true;
        w->live = step == MACHINE_LIVE;
    }
    if (!w->live) return true;
    mask_set_node(w->mask, trie, i);
    struct machine_state unknown = w->unknown;
    return trie->sizes[i] == 1 || mask_siblings(w->m, w->walk, trie, i + 1, i + trie->sizes[i], &unknown, w->mask);
}

/** Siblings; `unfinished`: of a character. Only known names, or besides any others. */
static bool walk_range(struct range_walk *w, uint32_t first, uint32_t end, struct range range, uint32_t unfinished) {
    const struct token_trie *trie = w->trie;
    const struct frame *frame = w->from->frame;
    bool known_only = w->from->tuple == TUPLE_DEAD;
    uint64_t bytes[4] = {0};
    uint32_t i;
    if (known_only) {
        range_bytes(frame, range, true, bytes);
        if (ends_here(frame, range) && permitted(frame, range.low)) byte_add(bytes, '"');
        if (unfinished == 0) byte_add(bytes, '\\');
    } else {
        memset(bytes, 0xff, sizeof bytes);
        bytes[0] &= ~0xffffffffull;
    }
    struct siblings siblings = siblings_of(trie, first, end, bytes);
    while (next_sibling(&siblings, &i)) {
        uint8_t byte = trie->bytes[i];
        uint32_t left = unfinished, code_point;
        if (unfinished == 0 && (byte == '"' || byte == '\\')) {
            bool known = byte == '\\' || ends_here(frame, range);
            if (!(known ? range_exactly(w, i, range) : end_unknown(w, i))) return false;
            continue;
        }
        if (utf8_step(&left, byte, &code_point) == UTF8_INVALID) continue;
        w->path[trie->depths[i]] = byte;
        mask_set_node(w->mask, trie, i);
        if (trie->sizes[i] > 1 &&
            !walk_range(w, i + 1, i + trie->sizes[i], range_step(frame->joint, range, byte), left))
            return false;
    }
    return true;
}

static struct range_walk range_walk_of(struct json_machine *m, struct mask_walk *walk, const struct token_trie *trie,
                                       uint32_t first, const struct json_state *state, uint32_t *mask) {
    struct range_walk w;
    w.m = m;
    w.walk = walk;
    w.trie = trie;
    w.from = state;
    w.mask = mask;
    w.top = first < trie->count ? trie->depths[first] : 0;
    w.asked = false;
    return w;
}

bool mask_names(struct json_machine *m, struct mask_walk *walk, const struct token_trie *trie, uint32_t first,
                uint32_t end, const struct json_state *state, uint32_t *mask) {
    struct frames_mark before = frames_mark(walk->frames);
    struct range_walk w = range_walk_of(m, walk, trie, first, state, mask);
    bool ok = walk_range(&w, first, end, (struct range){state->low, state->high, state->depth}, 0);
    frames_drop(walk->frames, before);
    return ok;
}

/* ---- names of any text ---- */

/** Nodes where the text is a known name: what was set for unknown names is put right. */
static bool put_right(struct range_walk *w, uint32_t first, uint32_t end, struct range range) {
    const struct token_trie *trie = w->trie;
    const struct frame *frame = w->from->frame;
    uint64_t bytes[4] = {0};
    uint32_t i;
    range_bytes(frame, range, false, bytes);
    if (ends_here(frame, range)) byte_add(bytes, '"');
    struct siblings siblings = siblings_of(trie, first, end, bytes);
    while (next_sibling(&siblings, &i)) {
        uint8_t byte = trie->bytes[i];
        bool ok = true;
        if (byte == '"') {
            mask_clear_subtree(w->mask, trie, i);
            ok = !permitted(frame, range.low) || range_exactly(w, i, range);
        } else if (trie->sizes[i] > 1) {
            w->path[trie->depths[i]] = byte;
            ok = put_right(w, i + 1, i + trie->sizes[i], range_step(frame->joint, range, byte));
        }
        if (!ok) return false;
    }
    return true;
}

/** Tokens that would end an unknown name as one that was seen. */
static void clear_seen(struct mask_walk *walk, const struct json_state *state, struct bytes_view begun,
                       uint32_t *mask) {
    const struct token_trie *trie = &walk->vocabulary->trie;
    for (const struct seen_text *seen = state->frame->texts; seen != NULL; seen = seen->before) {
        if (seen->text.length < begun.length ||
            (begun.length > 0 && memcmp(seen->text.data, begun.data, begun.length) != 0))
            continue;
        uint32_t first = 0, end = trie->count;
        for (size_t at = begun.length; first < end; at++) {
            uint8_t byte = at < seen->text.length ? seen->text.data[at] : '"';
            while (first < end && trie->bytes[first] != byte) first += trie->sizes[first];
            if (first >= end) break;
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

/** No token that has an escape and ends the name spells a known or a seen name. */
static bool escapes_are_unknown(const struct spelled_tokens *spelled, const struct json_state *state) {
    if (spelled->escaped_hex) return false;
    if (state->low < state->high && !state->frame->joint->names_bare) return false;
    for (const struct seen_text *seen = state->frame->texts; seen != NULL; seen = seen->before)
        if (!text_is_bare(seen->text)) return false;
    return true;
}

/** All names as if none were known or seen; the same as long as the frame is, which is then remembered. */
static bool fill_unknown(struct json_machine *m, struct mask_walk *walk, const struct json_state *state,
                         uint32_t *mask) {
    const struct string_tokens *tokens = &walk->vocabulary->strings[0];
    const struct spelled_tokens *spelled = tokens_spelled(m, tokens);
    struct mask_kept *kept = &walk->kept[MASK_KEPT_NAME];
    size_t bytes = walk->vocabulary->words * sizeof *mask;
    struct json_state unknown = *state;
    bool plain = escapes_are_unknown(spelled, state);
    if (plain && kept->mask != NULL && kept->machine == &m->machine && kept->serial == state->frame->serial) {
        memcpy(mask, kept->mask, bytes);
        return true;
    }
    mask_or(mask, spelled->inside, walk->vocabulary->words);
    struct frames_mark before = frames_mark(walk->frames);
    struct machine_state ended, packed;
    unknown.low = unknown.high = 0;
    json_save(state, &packed);
    enum machine_step step = object_unknown_end(m, walk->frames, &unknown, &ended);
    bool ok = step != MACHINE_FAILED;
    if (step == MACHINE_LIVE) ok = mask_ends(m, walk, &tokens->plain, &ended, mask);
    if (step == MACHINE_LIVE && plain) ok = ok && mask_ends(m, walk, &spelled->escaped, &ended, mask);
    if (!plain) ok = ok && mask_all(m, walk, &spelled->escapes, &packed, mask);
    frames_drop(walk->frames, before);
    if (!ok || !plain) return ok;
    if (kept->mask == NULL) kept->mask = malloc(bytes);
    if (kept->mask == NULL) return true;
    memcpy(kept->mask, mask, bytes);
    kept->machine = &m->machine;
    kept->serial = state->frame->serial;
    return true;
}

static bool fill_free_name(struct json_machine *m, struct mask_walk *walk, const struct json_state *state,
                           uint32_t *mask) {
    const struct token_trie *trie = &walk->vocabulary->trie;
    struct frames_mark before = frames_mark(walk->frames);
    struct bytes_view begun = {0};
    bool ok = true;
    if (state->frame->texts != NULL && !begun_text(walk, state, &begun)) {
        struct machine_state packed;
        json_save(state, &packed);
        ok = mask_all(m, walk, trie, &packed, mask);
        frames_drop(walk->frames, before);
        return ok;
    }
    ok = fill_unknown(m, walk, state, mask);
    if (ok && state->frame->texts != NULL) clear_seen(walk, state, begun, mask);
    if (ok && state->low < state->high) {
        struct range_walk w = range_walk_of(m, walk, trie, 0, state, mask);
        ok = put_right(&w, 0, trie->count, (struct range){state->low, state->high, state->depth});
    }
    frames_drop(walk->frames, before);
    return ok;
}

/* ---- names by tables ---- */

/** Behind so much of a name. */
struct name_place {
    uint32_t tuple, low, high;   /* as in json_state */
    uint32_t classes;            /* tuple of all selectors */
    const struct tuple_row *row; /* of `tuple`; NULL: dead, or not needed */
};

/** A walk through names: the known ones by their range, unknown ones by what they may be and by which selectors they are in. */
struct name_walk {
    struct json_machine *m;
    struct mask_walk *walk;
    const struct token_trie *trie;
    const struct json_state *from;
    uint32_t *mask;
    struct bytes_view begun;
    struct name_place start;                  /* before the trie's first byte */
    struct name_place at[TRIE_DEPTH_MAX + 1]; /* by depth: behind the node's byte */
    uint8_t path[TRIE_DEPTH_MAX + 1];
    struct endings endings;
};

/** All selectors of all forms that are still possible, as a tuple whose verdict is the class of a name. */
static uint32_t class_tuple(struct json_machine *m, struct frames *frames, const struct frame *frame) {
    uint32_t count = 0, used = 0;
    for (uint32_t i = 0; i < frame->item_count; i++)
        count += frame->joint->objects[frame->items[i].index].form->selector_count;
    if (count == 0) return TUPLE_DEAD;
    if (count > 128) return TUPLE_FAILED;
    uint32_t *entries = frames_alloc(frames, 2 * count * sizeof *entries);
    if (entries == NULL) return TUPLE_FAILED;
    for (uint32_t i = 0; i < frame->item_count; i++) {
        const struct object_form *form = frame->joint->objects[frame->items[i].index].form;
        for (uint32_t j = 0; j < form->selector_count; j++, used++) {
            entries[2 * used] = used << 1 | 1;
            entries[2 * used + 1] = form->selectors[j];
        }
    }
    return tuple_make(m, TUPLE_STRING, entries, count);
}

static bool text_is(struct bytes_view text, struct bytes_view begun, const uint8_t *path, uint32_t length) {
    return text.length == begun.length + length && memcmp(text.data, begun.data, begun.length) == 0 &&
           memcmp(text.data + begun.length, path, length) == 0;
}

static bool name_seen(const struct name_walk *w, uint32_t length) {
    for (const struct seen_text *seen = w->from->frame->texts; seen != NULL; seen = seen->before)
        if (text_is(seen->text, w->begun, w->path, length)) return true;
    return false;
}

static const struct name_place *place_before(const struct name_walk *w, uint32_t i) {
    uint32_t depth = w->trie->depths[i];
    return depth == 0 ? &w->start : &w->at[depth - 1];
}

/** The state before node `i`, its path recorded. */
static bool name_state(struct name_walk *w, uint32_t i, struct machine_state *out) {
    const struct name_place *place = place_before(w, i);
    struct json_state state = *w->from;
    state.tuple = place->tuple;
    state.low = place->low;
    state.high = place->high;
    state.depth += w->trie->depths[i];
    if (!state_record(w->walk->frames, &state, w->path, w->trie->depths[i])) return false;
    json_save(&state, out);
    return true;
}

static bool walk_name_exactly(struct name_walk *w, uint32_t i) {
    struct frames_mark before = frames_mark(w->walk->frames);
    struct machine_state state;
    bool ok = name_state(w, i, &state) && mask_node(w->m, w->walk, w->trie, i, &state, w->mask);
    frames_drop(w->walk->frames, before);
    return ok;
}

static bool end_name(struct name_walk *w, uint32_t i) {
    struct json_machine *m = w->m;
    uint32_t depth = w->trie->depths[i];
    const struct name_place *place = place_before(w, i);
    const struct joint *joint = w->from->frame->joint;
    if (place->low < place->high && joint->names[place->low].text.length == w->from->depth + depth)
        return walk_name_exactly(w, i);
    if (place->tuple == TUPLE_DEAD || !tuple_accepts(m, place->tuple) || name_seen(w, depth)) return true;
    bool is_new;
    struct ending *ending = ending_find(m, &w->endings, place->classes, &is_new);
    struct machine_state before;
    if (is_new && !(name_state(w, i, &before) && ending_learn(m, w->walk, ending, &before))) return false;
    ending_set(w->walk, w->trie, i, ending, w->mask);
    return true;
}

/** All tokens at and below node `i` go on with an unknown name, whatever it is. */
static bool goes_on(const struct token_trie *trie, uint32_t i, const struct name_place *before) {
    const struct tuple_row *row = before->row;
    return row != NULL && !(trie->classes[i] & ~row->free_classes) && trie->heights[i] <= row->free_length;
}

static uint32_t step_tuple(struct json_machine *m, uint32_t tuple, uint8_t byte) {
    const struct tuple_row *row = tuple != TUPLE_DEAD && tuple < m->row_capacity ? m->rows[tuple] : NULL;
    return row != NULL && row->next[byte] != TUPLE_UNKNOWN ? row->next[byte] : tuple_step(m, tuple, byte);
}

/** A name as long as known ones begin so: by the machine. */
static enum machine_step step_known(struct name_walk *w, uint32_t i, const struct name_place *before,
                                    struct name_place *after) {
    struct json_state state = *w->from;
    state.tuple = before->tuple;
    state.low = before->low;
    state.high = before->high;
    state.depth += w->trie->depths[i];
    enum machine_step step = object_key_step(w->m, &state, w->trie->bytes[i]);
    *after = (struct name_place){.tuple = state.tuple, .low = state.low, .high = state.high};
    return step;
}

/** Node `i` stands for itself. */
static enum machine_step step_name(struct name_walk *w, uint32_t i, const struct name_place *before) {
    const struct token_trie *trie = w->trie;
    struct name_place *after = &w->at[trie->depths[i]];
    uint8_t byte = trie->bytes[i];
    if (before->low < before->high) {
        enum machine_step step = step_known(w, i, before, after);
        if (step != MACHINE_LIVE) return step;
    } else {
        after->tuple = step_tuple(w->m, before->tuple, byte);
        after->low = after->high = 0;
        if (after->tuple == TUPLE_DEAD) return MACHINE_DEAD;
    }
    after->classes = step_tuple(w->m, before->classes, byte);
    if (after->tuple == TUPLE_FAILED || after->classes == TUPLE_FAILED) return MACHINE_FAILED;
    after->row = NULL;
    if (trie->sizes[i] > 1 && trie->classes != NULL && after->low >= after->high) {
        after->row = tuple_row_at(w->m, after->tuple);
        if (after->row == NULL) return MACHINE_FAILED;
    }
    return MACHINE_LIVE;
}

static bool walk_names(struct name_walk *w) {
    const struct token_trie *trie = w->trie;
    for (uint32_t i = 0; i < trie->count;) {
        const struct name_place *before = place_before(w, i);
        uint8_t byte = trie->bytes[i];
        bool ok = true, enter = false;
        if (goes_on(trie, i, before)) {
            mask_set_subtree(w->mask, trie, i);
        } else if (byte == '"') {
            ok = end_name(w, i);
        } else if (!string_byte(byte)) {
            ok = walk_name_exactly(w, i);
        } else {
            enum machine_step step = step_name(w, i, before);
            ok = step != MACHINE_FAILED;
            enter = step == MACHINE_LIVE;
            if (enter) mask_set_node(w->mask, trie, i);
            w->path[trie->depths[i]] = byte;
        }
        if (!ok) return false;
        i += enter ? 1 : trie->sizes[i];
    }
    return true;
}

/** Names as long as no known one begins so, by their tuple alone: where it takes what most tokens are made of, only the others are looked at. */
static bool walk_unknown(struct name_walk *w) {
    const struct grammar_vocabulary *vocabulary = w->walk->vocabulary;
    w->trie = &vocabulary->trie;
    if (w->start.tuple != TUPLE_DEAD && w->start.low >= w->start.high) {
        const struct tuple_row *row = w->start.row = tuple_row_of(w->m, w->start.tuple);
        if (row == NULL) return false;
        if (row->free_length >= COMMON_LENGTH && !(CLASSES_COMMON & ~row->free_classes)) {
            mask_or(w->mask, vocabulary->common, vocabulary->words);
            w->trie = &vocabulary->uncommon;
        }
    }
    return walk_names(w);
}

static bool fill_selected_name(struct json_machine *m, struct mask_walk *walk, const struct json_state *state,
                               uint32_t *mask) {
    const struct token_trie *trie = &walk->vocabulary->trie;
    struct frames_mark before = frames_mark(walk->frames);
    struct name_walk *w = frames_alloc(walk->frames, sizeof *w);
    struct machine_state packed;
    bool ok = w != NULL;
    if (!ok) return false;
    json_save(state, &packed);
    w->m = m;
    w->walk = walk;
    w->from = state;
    w->mask = mask;
    w->endings.count = 0;
    bool known = begun_text(walk, state, &w->begun);
    uint32_t classes = known ? class_tuple(m, walk->frames, state->frame) : TUPLE_FAILED;
    for (size_t i = 0; i < w->begun.length && classes != TUPLE_FAILED; i++)
        classes = w->begun.data[i] < 0x80 ? tuple_step(m, classes, w->begun.data[i]) : TUPLE_FAILED;
    w->start = (struct name_place){.tuple = state->tuple, .low = state->low, .high = state->high, .classes = classes};
    if (classes == TUPLE_FAILED) { /* escapes or other letters before, or too many patterns */
        ok = mask_all(m, walk, trie, &packed, mask);
    } else if (state->tuple != TUPLE_DEAD && tuple_is_free(m, state->tuple)) {
        const struct spelled_tokens *spelled = tokens_spelled(m, &walk->vocabulary->strings[0]);
        mask_or(mask, spelled->inside, walk->vocabulary->words);
        w->trie = &walk->vocabulary->strings[0].whole;
        ok = walk_names(w) && mask_all(m, walk, &spelled->escapes, &packed, mask);
    } else {
        ok = walk_unknown(w);
    }
    frames_drop(walk->frames, before);
    return ok;
}

bool fill_name(struct json_machine *m, struct mask_walk *walk, const struct json_state *state, uint32_t *mask) {
    const struct token_trie *trie = &walk->vocabulary->trie;
    if (state->tuple == TUPLE_DEAD) return mask_names(m, walk, trie, 0, trie->count, state, mask);
    if (tuple_is_free(m, state->tuple) && names_alike(state->frame)) return fill_free_name(m, walk, state, mask);
    return fill_selected_name(m, walk, state, mask);
}
