/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/state_masks.h"

#include "engine/grammar/growing.h"

/* ---- masks by state ---- */

static struct state_mask *slot_of(const struct state_masks *masks, struct state_key key) {
    uint64_t hash = (key.words[0] ^ key.words[1] << 32 ^ key.words[1] >> 32) * UINT64_C(0x9E3779B97F4A7C15);
    return &masks->slots[hash >> 40 & (masks->slot_count - 1)];
}

bool state_masks_get(const struct state_masks *masks, const struct grammar_vocabulary *vocabulary, struct state_key key,
                     uint32_t *mask) {
    if (masks->vocabulary != vocabulary) return false;
    const struct state_mask *slot = slot_of(masks, key);
    if (slot->key.words[0] != key.words[0] || slot->key.words[1] != key.words[1]) return false;
    memcpy(mask, slot->words, vocabulary->words * sizeof *mask);
    return true;
}

void state_masks_put(struct state_masks *masks, const struct grammar_vocabulary *vocabulary, struct state_key key,
                     const uint32_t *mask) {
    if (masks->vocabulary == NULL) {
        uint32_t count = STATE_MASKS_MAX;
        while (count > 1 && (size_t)count * vocabulary->words * sizeof *mask > STATE_MASKS_BYTES_MAX) count /= 2;
        masks->slots = calloc(count, sizeof *masks->slots);
        if (masks->slots == NULL) return;
        masks->slot_count = count;
        masks->vocabulary = vocabulary;
    }
    if (masks->vocabulary != vocabulary) return;
    struct state_mask *slot = slot_of(masks, key);
    if (slot->words == NULL) slot->words = malloc(vocabulary->words * sizeof *mask);
    if (slot->words == NULL) return;
    slot->key = key;
    memcpy(slot->words, mask, vocabulary->words * sizeof *mask);
}

void state_masks_deinit(struct state_masks *masks) {
    for (uint32_t i = 0; i < masks->slot_count; i++) free(masks->slots[i].words);
    free(masks->slots);
    *masks = (struct state_masks){0};
}

/* ---- free text ---- */

/** However long a token is, it has no more characters than that. */
static slice_classes long_too(uint32_t length) {
    return length >= TRIE_DEPTH_MAX ? SLICE_LONG : 0;
}

static struct free_text by_form(const struct token_slices *slices, struct regex_pool *pool, regex state) {
    uint64_t ascii[2];
    enum regex_others others;
    uint32_t length;
    regex_freedom(pool, state, ascii, &others, &length);
    if (length == 0) return (struct free_text){0};
    slice_classes beyond = others == REGEX_OTHERS_ALL    ? SLICE_OTHERS | SLICE_ODD
                           : others == REGEX_OTHERS_MOST ? SLICE_OTHERS
                                                         : 0;
    return (struct free_text){slice_classes_within(slices, ascii) | beyond | long_too(length), length};
}

/** Characters that lead to `target`, from which they are free, or which is the state itself. */
static struct free_text by_target(const struct token_slices *slices, struct regex_pool *pool, regex state, regex target,
                                  struct free_text behind) {
    uint64_t ascii[2] = {0};
    const regex *row = regex_row(pool, state);
    for (uint32_t c = 0; c < 128; c++) {
        regex next = row == NULL ? REGEX_FAILED : row[c] != REGEX_NOT_KNOWN ? row[c] : regex_step(pool, state, c);
        if (next == REGEX_FAILED) return (struct free_text){0};
        if (next == target) ascii[c / 64] |= UINT64_C(1) << c % 64;
    }
    slice_classes classes = slice_classes_within(slices, ascii);
    if (regex_same_beyond(pool, state) && regex_step(pool, state, 0x100) == target) classes |= SLICE_OTHERS | SLICE_ODD;
    classes &= behind.classes;
    return (struct free_text){classes == 0 ? 0 : classes | (behind.classes & SLICE_LONG), behind.length};
}

static struct free_text in_itself(const struct token_slices *slices, struct regex_pool *pool, regex state) {
    struct free_text form = by_form(slices, pool, state);
    if (form.length >= SLICE_BYTES && (form.classes & SLICE_LETTERS) == SLICE_LETTERS) return form;
    struct free_text any = {~SLICE_INVALID, TRIE_DEPTH_MAX};
    return free_text_better(form, by_target(slices, pool, state, state, any));
}

/** About how much of a vocabulary is made of them. */
static int weight(slice_classes classes) {
    enum { LETTERS = 16 };
    return __builtin_popcountll(classes) + LETTERS * __builtin_popcountll(classes & SLICE_LETTERS);
}

struct free_text free_text_better(struct free_text a, struct free_text b) {
    /* A slice has short tokens only, or all: a length between is worth little. */
    bool whole_a = a.classes != 0 && a.length >= SLICE_BYTES, whole_b = b.classes != 0 && b.length >= SLICE_BYTES;
    if (whole_a != whole_b) return whole_a ? a : b;
    return weight(a.classes) >= weight(b.classes) ? a : b;
}

struct free_text_known *free_texts_at(struct free_texts *texts, struct grammar_budget *budget, uint32_t state) {
    uint32_t before = texts->capacity;
    if (!growing_reserve(budget, &texts->of, &texts->capacity, (uint64_t)state + 1, sizeof *texts->of)) return NULL;
    if (texts->capacity > before) memset(texts->of + before, 0, (texts->capacity - before) * sizeof *texts->of);
    return &texts->of[state];
}

static struct free_text find_free(const struct token_slices *slices, struct regex_pool *pool, regex state) {
    struct free_text own = in_itself(slices, pool, state);
    bool whole = own.classes != 0 && own.length >= SLICE_BYTES;
    if (whole && (own.classes & SLICE_LETTERS) == SLICE_LETTERS) return own;
    /* A name begins with a letter, and goes on as it likes. */
    regex behind = regex_step(pool, state, 'a');
    if (behind == REGEX_NOTHING || behind == REGEX_FAILED || behind == state) return own;
    return free_text_better(own, by_target(slices, pool, state, behind, in_itself(slices, pool, behind)));
}

bool free_text_of(struct free_texts *known, const struct token_slices *slices, struct regex_pool *pool, regex state,
                  struct free_text *out) {
    struct grammar_budget *budget = regex_pool_budget(pool);
    struct free_text_known *entry = free_texts_at(known, budget, state);
    if (entry == NULL) return false;
    if (!entry->known) {
        *out = find_free(slices, pool, state);
        if (budget_exhausted(budget)) return false;
        entry->text = *out;
        entry->known = true;
    }
    *out = entry->text;
    return true;
}

struct free_place free_place_begin(const struct grammar_vocabulary *vocabulary, enum token_slice_kind kind,
                                   struct free_text text, uint32_t *mask) {
    if (text.classes == 0 || text.length < SLICE_BYTES) return (struct free_place){.text = text};
    token_slices_set(&vocabulary->slices, kind, text.classes, vocabulary->words, mask);
    return (struct free_place){text, text.classes};
}

void free_place_improve(struct free_place *place, const struct grammar_vocabulary *vocabulary, bool blank,
                        struct free_text text, uint32_t *mask) {
    /* Blanks alone are a slice, too; where a name may come behind them, that is not the one that counts. */
    if (blank && weight(text.classes) > weight(place->inside))
        *place = free_place_begin(vocabulary, SLICES_BEHIND_BLANK, text, mask);
    else
        place->text = free_text_better(place->text, text);
}
