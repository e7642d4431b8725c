/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Masks inside strings and numbers, by their tuples alone: the machine is asked once for every way a text can end.
 *
 * Where a state takes any text of some classes of characters (tuple_row.free_classes), subtrees of only such characters are set without a look at their nodes.
 */
#include "engine/grammar/json_mask.h"

#include "engine/grammar/utf8_steps.h"

enum { ENDED_MAX = 4, CLASSES_WHOLE = 128 /* components whose verdict is a key of two words */ };

bool tuple_is_free(const struct json_machine *m, uint32_t tuple) {
    struct intern_item item = intern_get(&m->tuples, tuple);
    if (item.count < 3 || item.words[0] != TUPLE_STRING) return false;
    for (uint32_t i = 1; i < item.count; i += 2)
        if (item.words[i + 1] != REGEX_EVERYTHING) return false;
    return true;
}

static bool number_byte(uint8_t byte) {
    return (byte >= '0' && byte <= '9') || byte == '-' || byte == '+' || byte == '.' || byte == 'e' || byte == 'E';
}

/** The state behind a number, by its verdict. */
struct ended {
    uint64_t key[2];
    bool live;
    struct machine_state state;
};

/** What is known at the node that is looked at. */
struct scalar_walk {
    struct json_machine *m;
    struct mask_walk *walk;
    const struct token_trie *trie;
    const struct json_state *from;
    uint32_t *mask;
    uint32_t top;                                     /* depth of the first node */
    bool grouped;                                     /* the tokens begin inside the string: their rests are known */
    bool whole_class;                                 /* verdicts are keys */
    uint32_t tuples[TRIE_DEPTH_MAX + 1];              /* by depth: behind the node's byte */
    const struct tuple_row *rows[TRIE_DEPTH_MAX + 1]; /* of strings: theirs */
    uint8_t path[TRIE_DEPTH_MAX + 1];
    struct bytes_view begun; /* where texts are compared: of the string so far, behind its quote */
    bool compared_alone;     /* only this array compares, and only texts of free strings */
    struct endings endings;
    struct ended ended[ENDED_MAX];
    uint32_t ended_count;
};

/** The state before node `i`, as the machine would have it; its path is recorded where texts are. */
static bool state_at(struct scalar_walk *w, uint32_t i, struct machine_state *out) {
    uint32_t depth = w->trie->depths[i];
    struct json_state state = *w->from;
    if (depth > w->top) state.tuple = w->tuples[depth - 1];
    if (state.frame->recording && !state_record(w->walk->frames, &state, w->path + w->top, depth - w->top))
        return false;
    json_save(&state, out);
    return true;
}

static bool walk_exactly(struct scalar_walk *w, uint32_t i) {
    struct frames_mark before = frames_mark(w->walk->frames);
    struct machine_state state;
    bool ok = state_at(w, i, &state) && mask_node(w->m, w->walk, w->trie, i, &state, w->mask);
    frames_drop(w->walk->frames, before);
    return ok;
}

/* ---- how strings end ---- */

/** Some token of the subtree has another quote behind the one that ends the string. */
static bool goes_on_with_quote(const struct scalar_walk *w, uint32_t node) {
    const struct string_tokens *strings = &w->walk->vocabulary->strings[0];
    for (uint32_t t = w->trie->first[node]; t < w->trie->first[node + w->trie->sizes[node]]; t++) {
        uint32_t rest = strings->rest_of[w->trie->tokens[t]];
        if (strings->quoted[rest / 32] >> rest % 32 & 1) return true;
    }
    return false;
}

/** Texts that are compared: this one equals none of those before, which is then as good as any other that does not. */
static bool is_fresh(const struct scalar_walk *w, uint32_t length, bool *certain) {
    const struct frame *frame = w->from->frame;
    *certain = w->compared_alone && (w->begun.length == 0 || memchr(w->begun.data, '\\', w->begun.length) == NULL);
    for (const struct seen_text *seen = frame->texts; *certain && seen != NULL; seen = seen->before) {
        struct bytes_view text = seen->text;
        if (text.length < 2 || text.data[0] != '"') continue; /* no string */
        if (memchr(text.data, '\\', text.length) != NULL) *certain = false;
        if (text.length == w->begun.length + length + 2 && memcmp(text.data + 1, w->begun.data, w->begun.length) == 0 &&
            memcmp(text.data + 1 + w->begun.length, w->path, length) == 0)
            return false;
    }
    return true;
}

/** The quote that ends a string: by the class of its verdict; its text plays a part only where it is compared with others. */
static bool end_string(struct scalar_walk *w, uint32_t i, uint32_t tuple) {
    struct json_machine *m = w->m;
    if (!tuple_accepts(m, tuple)) return true;
    if (!w->grouped || !w->whole_class) return walk_exactly(w, i);
    if (w->from->frame->recording) {
        bool certain, fresh = is_fresh(w, w->trie->depths[i], &certain);
        if (!certain || !fresh || goes_on_with_quote(w, i)) return walk_exactly(w, i);
    }
    bool is_new;
    struct ending *ending = ending_find(m, &w->endings, tuple, &is_new);
    struct machine_state state;
    if (is_new && !(state_at(w, i, &state) && ending_learn(m, w->walk, ending, &state))) return false;
    ending_set(w->walk, w->trie, i, ending, w->mask);
    return true;
}

/** Where texts are compared: what the string is so far. */
static bool note_begun(struct scalar_walk *w) {
    const struct frame *frame = w->from->frame;
    w->begun = (struct bytes_view){0};
    w->compared_alone = frame->kind == FRAME_ARRAY && !frame->parent->recording && w->from->phase == PHASE_STRING &&
                        tuple_is_free(w->m, w->from->tuple);
    if (!w->compared_alone) return true;
    struct bytes_view raw = text_between(w->walk->frames, frame->start, w->from->text);
    if (raw.data == NULL) return false;
    const uint8_t *quote = memchr(raw.data, '"', raw.length);
    w->compared_alone = quote != NULL;
    if (quote != NULL) w->begun = (struct bytes_view){quote + 1, (size_t)(raw.data + raw.length - quote - 1)};
    return true;
}

/* ---- strings ---- */

static bool walk_string(struct scalar_walk *w, uint32_t first, uint32_t end, uint32_t tuple);

/** A character ends at node `i`, and behind it the tuple is `next`. */
static bool go_on(struct scalar_walk *w, uint32_t i, uint32_t next) {
    const struct token_trie *trie = w->trie;
    if (next == TUPLE_DEAD || next == TUPLE_FAILED) return next == TUPLE_DEAD;
    w->tuples[trie->depths[i]] = next;
    mask_set_node(w->mask, trie, i);
    return trie->sizes[i] == 1 || walk_string(w, i + 1, i + trie->sizes[i], next);
}

/** Node `i` begins a character beyond ASCII, or goes on with it. */
static bool walk_beyond(struct scalar_walk *w, uint32_t i, uint32_t unfinished, uint32_t tuple, uint32_t beyond) {
    const struct token_trie *trie = w->trie;
    uint32_t code_point, first, last;
    w->path[trie->depths[i]] = trie->bytes[i];
    switch (utf8_step(&unfinished, trie->bytes[i], &code_point)) {
    case UTF8_INVALID:
        return true;
    case UTF8_CODE_POINT:
        return go_on(w, i, beyond == TUPLE_MIXED ? tuple_step(w->m, tuple, code_point) : beyond);
    default:
        break;
    }
    if (!utf8_range(unfinished, &first, &last)) return true;
    if (beyond == TUPLE_MIXED && !tuple_live_in(w->m, tuple, first, last)) return true;
    mask_set_node(w->mask, trie, i);
    for (uint32_t c = i + 1; c < i + trie->sizes[i]; c += trie->sizes[c])
        if (!walk_beyond(w, c, unfinished, tuple, beyond)) return false;
    return true;
}

/** The subtree is set without a look at it. */
static bool is_free(const struct token_trie *trie, uint32_t i, const struct tuple_row *row) {
    return trie->classes != NULL && !(trie->classes[i] & ~row->free_classes) && trie->heights[i] <= row->free_length;
}

/** Node `i` stands for itself: set it and note what is behind it. *out_live: what is below is looked at next. */
static bool step_plain(struct scalar_walk *w, uint32_t i, uint32_t tuple, const struct tuple_row *row, bool *out_live) {
    uint32_t depth = w->trie->depths[i], next = row->next[w->trie->bytes[i]];
    if (next == TUPLE_UNKNOWN) next = tuple_step(w->m, tuple, w->trie->bytes[i]);
    *out_live = next != TUPLE_DEAD;
    if (next == TUPLE_DEAD || next == TUPLE_FAILED) return next == TUPLE_DEAD;
    w->tuples[depth] = next;
    w->path[depth] = w->trie->bytes[i];
    mask_set_node(w->mask, w->trie, i);
    if (w->trie->sizes[i] == 1) return true;
    w->rows[depth] = tuple_row_at(w->m, next);
    return w->rows[depth] != NULL;
}

/** Siblings at the beginning of a character, and what is below them. */
static bool walk_string(struct scalar_walk *w, uint32_t first, uint32_t end, uint32_t tuple) {
    const struct token_trie *trie = w->trie;
    const struct tuple_row *start = tuple_row_at(w->m, tuple);
    uint32_t top = first < end ? trie->depths[first] : 0;
    if (start == NULL) return false;
    for (uint32_t i = first; i < end;) {
        uint32_t depth = trie->depths[i], before = depth == top ? tuple : w->tuples[depth - 1];
        const struct tuple_row *row = depth == top ? start : w->rows[depth - 1];
        uint8_t byte = trie->bytes[i];
        bool ok = true, enter = false;
        if (is_free(trie, i, row))
            mask_set_subtree(w->mask, trie, i);
        else if (string_byte(byte))
            ok = step_plain(w, i, before, row, &enter);
        else if (byte >= 0x80)
            ok = row->beyond == TUPLE_DEAD || walk_beyond(w, i, 0, before, row->beyond);
        else if (byte == '"')
            ok = end_string(w, i, before);
        else if (byte == '\\')
            ok = walk_exactly(w, i);
        if (!ok) return false;
        i += enter ? 1 : trie->sizes[i];
    }
    return true;
}

/* ---- numbers ---- */

/** The state behind a number of this tuple; NULL in *out: it may not end so. */
static bool end_number(struct scalar_walk *w, uint32_t tuple, const struct machine_state **out) {
    struct verdict verdict = {0};
    *out = NULL;
    if (!tuple_accepts(w->m, tuple)) return true;
    tuple_verdict(w->m, tuple, &verdict);
    struct ended *ended = NULL;
    for (uint32_t i = 0; i < w->ended_count && ended == NULL; i++)
        if (w->ended[i].key[0] == verdict.bits[0] && w->ended[i].key[1] == verdict.bits[1]) ended = &w->ended[i];
    if (ended == NULL) {
        struct json_state state = *w->from;
        state.tuple = tuple;
        enum machine_step step = value_ended(w->m, w->walk->frames, &state, &verdict);
        if (step == MACHINE_FAILED) return false;
        ended = &w->ended[w->ended_count < ENDED_MAX ? w->ended_count++ : 0];
        ended->key[0] = verdict.bits[0];
        ended->key[1] = verdict.bits[1];
        ended->live = step == MACHINE_LIVE;
        json_save(&state, &ended->state);
    }
    if (ended->live) *out = &ended->state;
    return true;
}

static bool walk_behind_number(struct scalar_walk *w, uint32_t i, uint32_t tuple) {
    const struct machine_state *ended;
    if (w->from->frame->recording || !w->whole_class) return walk_exactly(w, i);
    if (!end_number(w, tuple, &ended)) return false;
    struct machine_state state; /* the list may change below: numbers in numbers' tokens */
    if (ended == NULL) return true;
    state = *ended;
    return mask_node(w->m, w->walk, w->trie, i, &state, w->mask);
}

static bool walk_number(struct scalar_walk *w, uint32_t first, uint32_t end, uint32_t tuple) {
    const struct token_trie *trie = w->trie;
    uint64_t bytes[4] = {0};
    uint32_t i;
    for (const char *c = "-+.0123456789eE ,]}\t\n\r"; *c != '\0'; c++) byte_add(bytes, (uint8_t)*c);
    struct siblings siblings = siblings_of(trie, first, end, bytes);
    while (next_sibling(&siblings, &i)) {
        uint8_t byte = trie->bytes[i];
        if (!number_byte(byte)) {
            if (!walk_behind_number(w, i, tuple)) return false;
            continue;
        }
        uint32_t next = tuple_step(w->m, tuple, byte);
        if (next == TUPLE_FAILED) return false;
        if (next == TUPLE_DEAD) continue;
        w->tuples[trie->depths[i]] = next;
        w->path[trie->depths[i]] = byte;
        mask_set_node(w->mask, trie, i);
        if (trie->sizes[i] > 1 && !walk_number(w, i + 1, i + trie->sizes[i], next)) return false;
    }
    return true;
}

bool mask_scalar(struct json_machine *m, struct mask_walk *walk, const struct token_trie *trie, uint32_t first,
                 uint32_t end, const struct json_state *from, uint32_t *mask) {
    struct scalar_walk w;
    if (first == end) return true;
    w.m = m;
    w.walk = walk;
    w.trie = trie;
    w.from = from;
    w.mask = mask;
    w.top = trie->depths[first];
    w.endings.count = w.ended_count = 0;
    w.grouped = w.top == 0;
    w.whole_class = from->frame->child->count <= CLASSES_WHOLE;
    struct frames_mark before = frames_mark(walk->frames);
    if (from->frame->recording && !note_begun(&w)) return false;
    bool ok = from->phase == PHASE_STRING ? walk_string(&w, first, end, from->tuple)
                                          : walk_number(&w, first, end, from->tuple);
    frames_drop(walk->frames, before);
    return ok;
}

/* ---- whole masks ---- */

bool fill_free_value(struct json_machine *m, struct mask_walk *walk, const struct string_tokens *tokens,
                     const struct machine_state *state, uint32_t *mask) {
    const struct spelled_tokens *spelled = tokens_spelled(m, tokens);
    mask_or(mask, spelled->inside, walk->vocabulary->words);
    struct frames_mark before = frames_mark(walk->frames);
    struct machine_state ended;
    enum machine_step step = m->machine.operations->step(&m->machine, walk->frames, state, '"', &ended);
    bool ok = step != MACHINE_FAILED;
    if (step == MACHINE_LIVE)
        ok = mask_ends(m, walk, &tokens->plain, &ended, mask) && mask_ends(m, walk, &spelled->escaped, &ended, mask);
    frames_drop(walk->frames, before);
    return ok;
}

bool fill_string(struct json_machine *m, struct mask_walk *walk, const struct json_state *state, uint32_t *mask) {
    const struct grammar_vocabulary *vocabulary = walk->vocabulary;
    const struct string_tokens *strings = &vocabulary->strings[0];
    const struct spelled_tokens *spelled = tokens_spelled(m, strings);
    const struct tuple_row *row = tuple_row_of(m, state->tuple);
    if (row == NULL) return false;
    if (row->free_length >= vocabulary->inside_longest && !((CLASSES_ALL | CLASS_ESCAPED) & ~row->free_classes)) {
        mask_or(mask, spelled->inside, vocabulary->words);
        return mask_scalar(m, walk, &strings->whole, 0, strings->whole.count, state, mask) &&
               mask_scalar(m, walk, &spelled->escapes, 0, spelled->escapes.count, state, mask);
    }
    if (row->free_length >= COMMON_LENGTH && !(CLASSES_COMMON & ~row->free_classes)) {
        mask_or(mask, vocabulary->common, vocabulary->words);
        return mask_scalar(m, walk, &vocabulary->uncommon, 0, vocabulary->uncommon.count, state, mask);
    }
    return mask_scalar(m, walk, &vocabulary->trie, 0, vocabulary->trie.count, state, mask);
}
