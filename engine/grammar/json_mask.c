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

static void save(const struct json_state *state, struct machine_state *out) {
    memcpy(out, state, sizeof *state);
}

/* ---- strings of any text ---- */

/** Every component takes any text: nothing that is written changes the state. */
static bool is_free(const struct json_machine *m, uint32_t tuple) {
    struct intern_item item = intern_get(&m->tuples, tuple);
    if (item.count < 3 || item.words[0] != TUPLE_STRING) return false;
    for (uint32_t i = 1; i < item.count; i += 2)
        if (item.words[i + 1] != REGEX_EVERYTHING) return false;
    return true;
}

static bool fill_ends(struct json_machine *m, struct mask_walk *walk, const struct string_ends *ends,
                      const struct machine_state *from, uint32_t *mask) {
    (void)m;
    for (uint32_t i = 0; i < ends->whole_count; i++) mask_set(mask, ends->whole[i]);
    return mask_walk(walk, &ends->rests, 0, ends->rests.count, from, mask);
}

/** A value: how it ends does not depend on its text. */
static bool fill_free_value(struct json_machine *m, struct mask_walk *walk, const struct string_tokens *tokens,
                            const struct machine_state *state, uint32_t *mask) {
    mask_or(mask, tokens->inside, walk->vocabulary->words);
    struct frames_mark before = frames_mark(walk->frames);
    struct machine_state ended;
    enum machine_step step = m->machine.operations->step(&m->machine, walk->frames, state, '"', &ended);
    bool ok = step != MACHINE_FAILED;
    if (step == MACHINE_LIVE)
        ok = fill_ends(m, walk, &tokens->plain, &ended, mask) && fill_ends(m, walk, &tokens->escaped, &ended, mask);
    frames_drop(walk->frames, before);
    return ok;
}

/* ---- how strings end ---- */

enum { CLASSES_MAX = 16 };

/** Texts whose end leads to the same state: what may stand behind the quote is found out once. */
struct ending {
    uint64_t key[2];
    bool live;
    uint32_t *rests; /* bitset over 0 (nothing) and the nodes of the rests + 1 */
};
struct endings {
    struct ending list[CLASSES_MAX];
    uint32_t count;
};

/** The ending of class `key`, or the place for it (*out_new). The oldest gives way when there are too many. */
static struct ending *find_ending(struct endings *endings, const uint64_t key[2], bool *out_new) {
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

/** `ended`: the state behind the quote; NULL: no text of the class may end here. */
static bool learn_ending(struct mask_walk *walk, struct ending *ending, const struct machine_state *ended) {
    const struct token_trie *nodes = &walk->vocabulary->strings[0].rest_nodes;
    ending->live = ended != NULL;
    if (ended == NULL) return true;
    size_t bytes = (nodes->count + 32) / 32 * sizeof(uint32_t);
    ending->rests = frames_alloc(walk->frames, bytes);
    if (ending->rests == NULL) return false;
    memset(ending->rests, 0, bytes);
    ending->rests[0] = 1;
    return mask_walk(walk, nodes, 0, nodes->count, ended, ending->rests);
}

/** The tokens of a node whose byte is the quote, and of those below it. */
static void set_ending(const struct mask_walk *walk, const struct token_trie *trie, uint32_t node,
                       const struct ending *ending, uint32_t *mask) {
    const uint32_t *rest_of = walk->vocabulary->strings[0].rest_of;
    if (!ending->live) return;
    for (uint32_t t = trie->first[node]; t < trie->first[node + trie->sizes[node]]; t++) {
        uint32_t rest = rest_of[trie->tokens[t]];
        if (ending->rests[rest / 32] >> rest % 32 & 1) mask_set(mask, trie->tokens[t]);
    }
}

/* ---- tables ---- */

static bool string_byte(uint8_t byte) {
    return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
}
static bool number_byte(uint8_t byte) {
    return (byte >= '0' && byte <= '9') || byte == '-' || byte == '+' || byte == '.' || byte == 'e' || byte == 'E';
}

/** A walk by tables: what is known at the node that is looked at. */
struct scalar_walk {
    struct json_machine *m;
    struct mask_walk *walk;
    const struct token_trie *trie;
    const struct json_state *from;
    uint32_t *mask;
    uint32_t top; /* depth of the first node */
    uint32_t tuples[TRIE_DEPTH_MAX + 1];
    uint8_t path[TRIE_DEPTH_MAX + 1];
    struct bytes_view begun; /* where texts are compared: of the string so far, behind its quote */
    bool compared_alone;     /* only this array compares, and only texts of free strings */
    struct endings endings;
};

/** The state before node `i`, as the machine would have it; its path is recorded where texts are. */
static bool state_at(struct scalar_walk *w, uint32_t i, struct machine_state *out) {
    uint32_t depth = w->trie->depths[i];
    struct json_state state = *w->from;
    if (depth > w->top) state.tuple = w->tuples[depth - 1];
    if (state.frame->recording)
        for (uint32_t d = w->top; d < depth; d++) {
            struct text_node *node = frames_alloc(w->walk->frames, sizeof *node);
            if (node == NULL) return false;
            *node = (struct text_node){state.text, w->path[d]};
            state.text = node;
        }
    save(&state, out);
    return true;
}

static bool walk_exactly(struct scalar_walk *w, uint32_t i) {
    struct frames_mark before = frames_mark(w->walk->frames);
    struct machine_state state;
    bool ok = state_at(w, i, &state) && mask_walk(w->walk, w->trie, i, i + w->trie->sizes[i], &state, w->mask);
    frames_drop(w->walk->frames, before);
    return ok;
}

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
static bool end_string(struct scalar_walk *w, uint32_t i) {
    struct json_machine *m = w->m;
    uint32_t depth = w->trie->depths[i], tuple = depth == w->top ? w->from->tuple : w->tuples[depth - 1];
    if (!tuple_accepts(m, tuple)) return true;
    if (w->from->frame->child->count > 128) return walk_exactly(w, i);
    if (w->from->frame->recording) {
        bool certain, fresh = is_fresh(w, depth, &certain);
        if (!certain || !fresh || goes_on_with_quote(w, i)) return walk_exactly(w, i);
    }
    struct verdict verdict = {0};
    tuple_verdict(m, tuple, &verdict);
    bool is_new;
    struct ending *ending = find_ending(&w->endings, verdict.bits, &is_new);
    if (is_new) {
        struct machine_state state, ended;
        if (!state_at(w, i, &state)) return false;
        enum machine_step step = m->machine.operations->step(&m->machine, w->walk->frames, &state, '"', &ended);
        if (step == MACHINE_FAILED || !learn_ending(w->walk, ending, step == MACHINE_LIVE ? &ended : NULL))
            return false;
    }
    set_ending(w->walk, w->trie, i, ending, w->mask);
    return true;
}

/** Where texts are compared: what the string is so far. */
static bool note_begun(struct scalar_walk *w) {
    const struct frame *frame = w->from->frame;
    w->begun = (struct bytes_view){0};
    w->compared_alone = frame->kind == FRAME_ARRAY && !frame->parent->recording && w->from->phase == PHASE_STRING &&
                        is_free(w->m, w->from->tuple);
    if (!w->compared_alone) return true;
    struct bytes_view raw = text_between(w->walk->frames, frame->start, w->from->text);
    if (raw.data == NULL) return false;
    const uint8_t *quote = memchr(raw.data, '"', raw.length);
    w->compared_alone = quote != NULL;
    if (quote != NULL) w->begun = (struct bytes_view){quote + 1, (size_t)(raw.data + raw.length - quote - 1)};
    return true;
}

/** Nodes below one whose state is within a scalar: its own bytes by its tuples alone, others by the machine. */
static bool fill_scalar(struct json_machine *m, struct mask_walk *walk, const struct token_trie *trie, uint32_t first,
                        uint32_t end, const struct json_state *from, uint32_t *mask) {
    struct scalar_walk w;
    w.m = m;
    w.walk = walk;
    w.trie = trie;
    w.from = from;
    w.mask = mask;
    w.top = first < end ? trie->depths[first] : 0;
    w.endings.count = 0;
    struct frames_mark before = frames_mark(walk->frames);
    if (from->frame->recording && !note_begun(&w)) return false;
    /* rests are known for tokens that begin inside a string: others go by the machine */
    bool is_string = from->phase == PHASE_STRING, ok = true, grouped = is_string && w.top == 0;
    for (uint32_t i = first; ok && i < end;) {
        uint32_t depth = trie->depths[i], tuple = depth == w.top ? from->tuple : w.tuples[depth - 1];
        uint8_t byte = trie->bytes[i];
        if (is_string ? string_byte(byte) : number_byte(byte)) {
            uint32_t next = tuple_step(m, tuple, byte);
            ok = next != TUPLE_FAILED;
            if (next == TUPLE_DEAD || !ok) {
                i += trie->sizes[i];
                continue;
            }
            w.tuples[depth] = next;
            w.path[depth] = byte;
            mask_set_node(mask, trie, i++);
            continue;
        }
        ok = grouped && byte == '"' ? end_string(&w, i) : walk_exactly(&w, i);
        i += trie->sizes[i];
    }
    frames_drop(walk->frames, before);
    return ok;
}

/** Any text of up to *length characters may come next, whichever. */
static bool is_unhindered(const struct json_machine *m, uint32_t tuple, uint32_t *length) {
    struct intern_item item = intern_get(&m->tuples, tuple);
    *length = 0;
    for (uint32_t i = 1; i < item.count; i += 2) {
        uint64_t ascii[2];
        bool others;
        uint32_t k;
        if (!(item.words[i] & 1)) continue;
        regex_freedom(m->shapes->schema->regexes, item.words[i + 1], ascii, &others, &k);
        if (others && (ascii[0] & ascii[1]) == UINT64_MAX && k > *length) *length = k;
    }
    return *length > 0;
}

/** A string value: what stays inside from a ready bitset where the text is not hindered, the tokens that end it by tables. */
static bool fill_string(struct json_machine *m, struct mask_walk *walk, const struct json_state *state,
                        uint32_t *mask) {
    const struct grammar_vocabulary *vocabulary = walk->vocabulary;
    const struct string_tokens *strings = &vocabulary->strings[0];
    uint32_t length;
    if (!is_unhindered(m, state->tuple, &length) || length < vocabulary->plain_longest)
        return fill_scalar(m, walk, &vocabulary->trie, 0, vocabulary->trie.count, state, mask);
    mask_or(mask, strings->inside, vocabulary->words);
    return fill_scalar(m, walk, &strings->whole, 0, strings->whole.count, state, mask) &&
           fill_scalar(m, walk, &strings->escapes, 0, strings->escapes.count, state, mask);
}

static bool fill_below(struct machine *machine, struct mask_walk *walk, const struct token_trie *trie, uint32_t node,
                       const struct machine_state *packed, uint32_t *mask, bool *done) {
    struct json_state state = load(packed);
    bool scalar = (state.phase == PHASE_STRING && state.lex == LEX_PLAIN) || state.phase == PHASE_NUMBER;
    *done = false;
    if (!scalar || trie->sizes[node] < 8) return true;
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
static bool put_right(struct json_machine *m, struct mask_walk *walk, uint32_t first, uint32_t end,
                      const struct machine_state *from, uint32_t *mask);

static bool put_right_node(struct json_machine *m, struct mask_walk *walk, uint32_t i, const struct machine_state *from,
                           uint32_t *mask) {
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

static bool put_right(struct json_machine *m, struct mask_walk *walk, uint32_t first, uint32_t end,
                      const struct machine_state *from, uint32_t *mask) {
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

static bool fill_free_name(struct json_machine *m, struct mask_walk *walk, const struct machine_state *from,
                           uint32_t *mask) {
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
    if (ok && state.low < state.high)
        ok = put_right(m, walk, 0, walk->vocabulary->trie.count, from, mask);
    else if (ok && state.tuple == TUPLE_DEAD)
        ok = false;
    return ok;
}

/* ---- names by tables ---- */

/** A walk through names: the known ones by their range, unknown ones by what they may be and by which selectors they are in. */
struct name_walk {
    struct json_machine *m;
    struct mask_walk *walk;
    const struct token_trie *trie;
    const struct json_state *from;
    uint32_t *mask;
    struct bytes_view begun;
    uint32_t classes_before; /* tuple of all selectors behind `begun` */
    struct json_state states[TRIE_DEPTH_MAX + 1];
    uint32_t classes[TRIE_DEPTH_MAX + 1];
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

/** The state before node `i`, its path recorded. */
static bool name_state(struct name_walk *w, uint32_t i, struct machine_state *out) {
    uint32_t depth = w->trie->depths[i];
    struct json_state state = depth == 0 ? *w->from : w->states[depth - 1];
    state.text = w->from->text;
    for (uint32_t d = 0; d < depth; d++) {
        struct text_node *node = frames_alloc(w->walk->frames, sizeof *node);
        if (node == NULL) return false;
        *node = (struct text_node){state.text, w->path[d]};
        state.text = node;
    }
    save(&state, out);
    return true;
}

static bool walk_name_exactly(struct name_walk *w, uint32_t i) {
    struct frames_mark before = frames_mark(w->walk->frames);
    struct machine_state state;
    bool ok = name_state(w, i, &state) && mask_walk(w->walk, w->trie, i, i + w->trie->sizes[i], &state, w->mask);
    frames_drop(w->walk->frames, before);
    return ok;
}

static bool end_name(struct name_walk *w, uint32_t i) {
    struct json_machine *m = w->m;
    uint32_t depth = w->trie->depths[i];
    const struct json_state *state = depth == 0 ? w->from : &w->states[depth - 1];
    const struct joint *joint = state->frame->joint;
    if (state->low < state->high && joint->names[state->low].text.length == state->depth)
        return walk_name_exactly(w, i);
    if (state->tuple == TUPLE_DEAD || !tuple_accepts(m, state->tuple) || name_seen(w, depth)) return true;
    struct verdict verdict = {0};
    tuple_verdict(m, depth == 0 ? w->classes_before : w->classes[depth - 1], &verdict);
    bool is_new;
    struct ending *ending = find_ending(&w->endings, verdict.bits, &is_new);
    if (is_new) {
        struct machine_state before, ended;
        if (!name_state(w, i, &before)) return false;
        enum machine_step step = m->machine.operations->step(&m->machine, w->walk->frames, &before, '"', &ended);
        if (step == MACHINE_FAILED || !learn_ending(w->walk, ending, step == MACHINE_LIVE ? &ended : NULL))
            return false;
    }
    set_ending(w->walk, w->trie, i, ending, w->mask);
    return true;
}

static bool walk_names(struct name_walk *w) {
    const struct token_trie *trie = w->trie;
    bool ok = true;
    for (uint32_t i = 0; ok && i < trie->count;) {
        uint32_t depth = trie->depths[i];
        uint8_t byte = trie->bytes[i];
        if (byte == '"' || !string_byte(byte)) {
            ok = byte == '"' ? end_name(w, i) : walk_name_exactly(w, i);
            i += trie->sizes[i];
            continue;
        }
        w->states[depth] = depth == 0 ? *w->from : w->states[depth - 1];
        enum machine_step step = object_key_step(w->m, &w->states[depth], byte);
        if (step != MACHINE_LIVE) {
            ok = step == MACHINE_DEAD;
            i += trie->sizes[i];
            continue;
        }
        w->classes[depth] = tuple_step(w->m, depth == 0 ? w->classes_before : w->classes[depth - 1], byte);
        ok = w->classes[depth] != TUPLE_FAILED;
        w->path[depth] = byte;
        mask_set_node(w->mask, trie, i++);
    }
    return ok;
}

static bool fill_name(struct json_machine *m, struct mask_walk *walk, const struct json_state *state, uint32_t *mask) {
    const struct token_trie *trie = &walk->vocabulary->trie;
    struct frames_mark before = frames_mark(walk->frames);
    struct name_walk *w = frames_alloc(walk->frames, sizeof *w);
    struct machine_state packed;
    bool ok = w != NULL;
    if (!ok) return false;
    save(state, &packed);
    w->m = m;
    w->walk = walk;
    w->from = state;
    w->mask = mask;
    w->endings.count = 0;
    bool known = begun_text(walk, state, &w->begun);
    w->classes_before = known ? class_tuple(m, walk->frames, state->frame) : TUPLE_FAILED;
    for (size_t i = 0; i < w->begun.length && w->classes_before != TUPLE_FAILED; i++)
        w->classes_before = w->begun.data[i] < 0x80 ? tuple_step(m, w->classes_before, w->begun.data[i]) : TUPLE_FAILED;
    if (w->classes_before == TUPLE_FAILED) { /* escapes or other letters before, or too many patterns */
        ok = mask_walk(walk, trie, 0, trie->count, &packed, mask);
    } else if (state->tuple != TUPLE_DEAD && is_free(m, state->tuple)) {
        mask_or(mask, walk->vocabulary->strings[0].inside, walk->vocabulary->words);
        w->trie = &walk->vocabulary->strings[0].whole;
        ok = walk_names(w);
        const struct token_trie *escapes = &walk->vocabulary->strings[0].escapes;
        ok = ok && mask_walk(walk, escapes, 0, escapes->count, &packed, mask);
    } else {
        w->trie = trie;
        ok = walk_names(w);
    }
    frames_drop(walk->frames, before);
    return ok;
}

/* ---- whole masks ---- */

/** The bytes that may come first, and perhaps some that may not. */
static void first_bytes(const struct json_machine *m, const struct json_state *state, uint64_t out[4]) {
    const char *text = "";
    bool value = state->phase == PHASE_VALUE || state->phase == PHASE_VALUE_OR_CLOSE;
    switch (state->phase) {
    case PHASE_VALUE:
        text = "\"{[tfn-0123456789";
        break;
    case PHASE_VALUE_OR_CLOSE:
        text = "]\"{[tfn-0123456789";
        break;
    case PHASE_AFTER:
        text = ",]}";
        break;
    case PHASE_KEY_OR_CLOSE:
        text = "\"}";
        break;
    case PHASE_KEY:
        text = "\"";
        break;
    case PHASE_COLON:
        text = ":";
        break;
    case PHASE_DONE:
        break;
    default:
        memset(out, 0xff, 4 * sizeof *out);
        return;
    }
    memset(out, 0, 4 * sizeof *out);
    for (; *text != '\0'; text++) out[(uint8_t)*text / 64] |= 1ull << (uint8_t)*text % 64;
    if (m->options.space == GRAMMAR_SPACE_FREE || state->blank)
        out[0] |= 1ull << ' ' | 1ull << '\t' | 1ull << '\n' | 1ull << '\r';
    if (value && state->frame->child != NULL && state->frame->child->string == TUPLE_DEAD) out[0] &= ~(1ull << '"');
}

static bool fill_structure(struct json_machine *m, struct mask_walk *walk, const struct machine_state *packed,
                           uint32_t *mask) {
    const struct token_trie *trie = &walk->vocabulary->trie;
    struct json_state state = load(packed);
    uint64_t bytes[4];
    first_bytes(m, &state, bytes);
    bool value = (state.phase == PHASE_VALUE || state.phase == PHASE_VALUE_OR_CLOSE) && !state.blank &&
                 state.frame->child != NULL;
    if (value && !state.frame->recording && state.frame->child->string != TUPLE_DEAD &&
        is_free(m, state.frame->child->string)) {
        struct machine_state inside;
        enum machine_step step = m->machine.operations->step(&m->machine, walk->frames, packed, '"', &inside);
        if (step == MACHINE_FAILED) return false;
        if (step == MACHINE_LIVE) {
            for (uint32_t t = trie->first[trie->roots['"']];
                 t < trie->first[trie->roots['"'] + 1] && trie->roots['"'] < trie->roots['"' + 1]; t++)
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
    if (state.phase == PHASE_STRING && state.lex == LEX_PLAIN) {
        if (is_free(m, state.tuple) && !recording)
            return fill_free_value(m, walk, &walk->vocabulary->strings[0], packed, mask);
        return fill_string(m, walk, &state, mask);
    }
    if (state.phase == PHASE_NUMBER) return fill_scalar(m, walk, trie, 0, trie->count, &state, mask);
    if (state.phase == PHASE_KEY_STRING && state.lex == LEX_PLAIN && !recording && state.tuple != TUPLE_DEAD &&
        is_free(m, state.tuple) && names_alike(state.frame))
        return fill_free_name(m, walk, packed, mask);
    if (state.phase == PHASE_KEY_STRING && state.lex == LEX_PLAIN && !recording)
        return fill_name(m, walk, &state, mask);
    if (state.phase == PHASE_STRING || state.phase == PHASE_KEY_STRING || state.phase == PHASE_LITERAL ||
        state.phase == PHASE_NUMBER)
        return mask_walk(walk, trie, 0, trie->count, packed, mask);
    return fill_structure(m, walk, packed, mask);
}

bool json_fill_below(struct machine *machine, struct mask_walk *walk, const struct token_trie *trie, uint32_t node,
                     const struct machine_state *packed, uint32_t *mask, bool *done) {
    return fill_below(machine, walk, trie, node, packed, mask, done);
}
