/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/json_internal.h"

#include "engine/grammar/vocabulary.h"

#include <stdlib.h>
#include <string.h>

/* ---- tuples ---- */

static struct tuple_row *row_of(struct json_machine *m, uint32_t tuple) {
    if (tuple >= m->row_capacity) {
        uint32_t capacity = m->row_capacity == 0 ? 64 : m->row_capacity;
        while (capacity <= tuple) capacity *= 2;
        struct tuple_row **rows = realloc(m->rows, capacity * sizeof *rows);
        if (rows == NULL || !budget_reserve(&m->shapes->schema->budget, capacity * sizeof *rows / 2)) return NULL;
        memset(rows + m->row_capacity, 0, (capacity - m->row_capacity) * sizeof *rows);
        m->rows = rows;
        m->row_capacity = capacity;
    }
    if (m->rows[tuple] == NULL) {
        if (!budget_reserve(&m->shapes->schema->budget, sizeof(struct tuple_row))) return NULL;
        m->rows[tuple] = arena_alloc(&m->shapes->schema->arena, sizeof(struct tuple_row));
        if (m->rows[tuple] != NULL) memset(m->rows[tuple], 0xff, sizeof(struct tuple_row));
    }
    return m->rows[tuple];
}

uint32_t tuple_make(struct json_machine *m, enum tuple_kind kind, const uint32_t *entries, uint32_t count) {
    uint32_t local[64], *words = 1 + 2 * count <= 64 ? local : malloc((1 + 2 * count) * sizeof *words), used = 1;
    if (words == NULL) return TUPLE_FAILED;
    words[0] = kind;
    bool must = false;
    for (uint32_t i = 0; i < count; i++) {
        if (entries[2 * i + 1] == 0) continue; /* REGEX_NOTHING, NUMBER_DEAD */
        must |= entries[2 * i] & 1;
        words[used++] = entries[2 * i];
        words[used++] = entries[2 * i + 1];
    }
    uint32_t tuple = must ? intern_put(&m->tuples, words, used) : TUPLE_DEAD;
    if (words != local) free(words);
    return tuple == INTERN_FAILED ? TUPLE_FAILED : tuple;
}

static uint32_t step_entries(struct json_machine *m, uint32_t tuple, uint32_t code_point) {
    struct schema *schema = m->shapes->schema;
    struct intern_item item = intern_get(&m->tuples, tuple);
    uint32_t local[64], *entries = item.count <= 64 ? local : malloc(item.count * sizeof *entries);
    if (entries == NULL || !budget_spend(&schema->budget, 1)) {
        if (entries != local) free(entries);
        return TUPLE_FAILED;
    }
    bool failed = false;
    for (uint32_t i = 1; i < item.count; i += 2) {
        entries[i - 1] = item.words[i];
        entries[i] = item.words[0] == TUPLE_STRING
                         ? regex_step(schema->regexes, item.words[i + 1], code_point)
                         : number_step(schema->numbers, item.words[i + 1], (uint8_t)code_point);
        failed |= entries[i] == REGEX_FAILED; /* the same value as NUMBER_STATE_FAILED */
    }
    uint32_t out = failed ? TUPLE_FAILED : tuple_make(m, item.words[0], entries, (item.count - 1) / 2);
    if (entries != local) free(entries);
    return out;
}

uint32_t tuple_step(struct json_machine *m, uint32_t tuple, uint32_t code_point) {
    if (tuple == TUPLE_DEAD) return tuple;
    if (code_point >= 128) return step_entries(m, tuple, code_point);
    if (tuple < m->row_capacity && m->rows[tuple] != NULL && m->rows[tuple]->next[code_point] != TUPLE_UNKNOWN)
        return m->rows[tuple]->next[code_point];
    uint32_t next = step_entries(m, tuple, code_point);
    struct tuple_row *row = next == TUPLE_FAILED ? NULL : row_of(m, tuple);
    if (row == NULL) return TUPLE_FAILED;
    row->next[code_point] = next;
    return next;
}

static bool entry_accepts(struct json_machine *m, struct intern_item item, uint32_t i) {
    return item.words[0] == TUPLE_STRING ? regex_accepts(m->shapes->schema->regexes, item.words[i + 1])
                                         : number_accepts(m->shapes->schema->numbers, item.words[i + 1]);
}

void tuple_verdict(struct json_machine *m, uint32_t tuple, struct verdict *out) {
    struct intern_item item = intern_get(&m->tuples, tuple);
    for (uint32_t i = 1; i < item.count; i += 2)
        if (entry_accepts(m, item, i)) verdict_add(out, item.words[i] >> 1);
}

bool tuple_accepts(struct json_machine *m, uint32_t tuple) {
    struct intern_item item = intern_get(&m->tuples, tuple);
    for (uint32_t i = 1; i < item.count; i += 2)
        if (item.words[i] & 1 && entry_accepts(m, item, i)) return true;
    return false;
}

bool tuple_live_in(struct json_machine *m, uint32_t tuple, uint32_t first, uint32_t last) {
    struct intern_item item = intern_get(&m->tuples, tuple);
    for (uint32_t i = 1; i < item.count; i += 2)
        if (item.words[i] & 1 && regex_live_in(m->shapes->schema->regexes, item.words[i + 1], first, last)) return true;
    return false;
}

/* ---- what masks ask of strings ---- */

/** Where all characters beyond ASCII lead, if they lead to the same. */
static uint32_t step_beyond(struct json_machine *m, uint32_t tuple) {
    struct intern_item item = intern_get(&m->tuples, tuple);
    for (uint32_t i = 1; i < item.count; i += 2)
        if (!regex_same_beyond(m->shapes->schema->regexes, item.words[i + 1])) return TUPLE_MIXED;
    return step_entries(m, tuple, 0x80);
}

/** The classes that lie wholly within a set of ASCII characters, and what goes beyond. */
static uint16_t classes_within(const uint64_t ascii[2], enum regex_others others) {
    static const struct {
        uint64_t ascii[2];
        uint16_t class;
    } CLASSES[] = {
        {{0x3ffull << '0', 0}, CLASS_DIGIT},
        {{0, 0x3full << ('a' - 64)}, CLASS_HEX_LOWER},
        {{0, 0xfffffull << ('g' - 64)}, CLASS_LOWER},
        {{0, 0x3full << ('A' - 64)}, CLASS_HEX_UPPER},
        {{0, 0xfffffull << ('G' - 64)}, CLASS_UPPER},
        {{1ull << '-', 0}, CLASS_HYPHEN},
        {{0, 1ull << ('_' - 64)}, CLASS_UNDERSCORE},
        {{1ull << '.', 0}, CLASS_DOT},
        {{1ull << ' ', 0}, CLASS_BLANK},
        {{1ull << '/', 0}, CLASS_SLASH},
        {{1ull << ':', 0}, CLASS_COLON},
        {{0xf8001ffa00000000ull, 0x7800000168000001ull}, CLASS_PUNCTUATION},
    };
    uint16_t out = others != REGEX_OTHERS_NONE ? CLASS_OTHERS : CLASS_NONE;
    if (others == REGEX_OTHERS_ALL && ascii[1] >> 63) out |= CLASS_ODD;
    if (others == REGEX_OTHERS_ALL && (ascii[0] & ascii[1]) == UINT64_MAX) out |= CLASS_ESCAPED;
    for (size_t i = 0; i < sizeof CLASSES / sizeof *CLASSES; i++)
        if (!(CLASSES[i].ascii[0] & ~ascii[0]) && !(CLASSES[i].ascii[1] & ~ascii[1])) out |= CLASSES[i].class;
    return out;
}

/** Of the components that must hold the freest: one that goes on is enough. */
static void note_freedom(struct json_machine *m, uint32_t tuple, struct tuple_row *row) {
    struct intern_item item = intern_get(&m->tuples, tuple);
    row->free_length = 0;
    row->free_classes = CLASS_NONE;
    for (uint32_t i = 1; i < item.count; i += 2) {
        uint64_t ascii[2];
        enum regex_others others;
        uint32_t length;
        if (!(item.words[i] & 1)) continue;
        regex_freedom(m->shapes->schema->regexes, item.words[i + 1], ascii, &others, &length);
        uint16_t classes = length == 0 ? CLASS_NONE : classes_within(ascii, others);
        int more = __builtin_popcount(classes) - __builtin_popcount(row->free_classes);
        if (more < 0 || (more == 0 && length <= row->free_length)) continue;
        row->free_length = length;
        row->free_classes = classes;
    }
}

struct tuple_row *tuple_row_of(struct json_machine *m, uint32_t tuple) {
    struct tuple_row *row = row_of(m, tuple);
    if (row == NULL || row->beyond != TUPLE_UNKNOWN) return row;
    row->beyond = step_beyond(m, tuple);
    if (row->beyond == TUPLE_FAILED) return NULL;
    note_freedom(m, tuple, row);
    return row;
}

/* ---- the inside of strings ---- */

static bool live_in(struct json_machine *m, const struct json_state *state, uint32_t first, uint32_t last) {
    if (first > last) return false;
    if (state->phase == PHASE_KEY_STRING) return object_key_live_in(m, state, first, last);
    return tuple_live_in(m, state->tuple, first, last);
}

/** Scalar values of first..last: surrogates are none. */
static bool scalars_live_in(struct json_machine *m, const struct json_state *state, uint32_t first, uint32_t last) {
    if (first < 0xd800 && live_in(m, state, first, last < 0xd800 ? last : 0xd7ff)) return true;
    return last > 0xdfff && live_in(m, state, first > 0xdfff ? first : 0xe000, last);
}

static enum machine_step character(struct json_machine *m, struct json_state *state, uint32_t code_point) {
    state->lex = LEX_PLAIN;
    state->value = 0;
    state->digits = 0;
    if (state->phase == PHASE_KEY_STRING) return object_key_step(m, state, code_point);
    state->tuple = tuple_step(m, state->tuple, code_point);
    return state->tuple == TUPLE_FAILED ? MACHINE_FAILED : state->tuple == TUPLE_DEAD ? MACHINE_DEAD : MACHINE_LIVE;
}

/** Some of `points` goes on that is in one of the ranges, too. */
static bool spelled_live_in(struct json_machine *m, const struct json_state *state,
                            const struct code_points ranges[ESCAPED_RANGES], struct code_points points) {
    for (int i = 0; i < ESCAPED_RANGES; i++) {
        struct code_points both = code_points_both(ranges[i], points);
        if (both.first <= both.last && scalars_live_in(m, state, both.first, both.last)) return true;
    }
    return false;
}

static enum machine_step escape(struct json_machine *m, struct json_state *state, uint8_t byte) {
    if (byte == 'u') {
        state->lex = LEX_HEX;
        state->value = state->digits = 0;
        /* four more digits: surrogate pairs included, anything may come of it */
        const struct code_points all = {0, CODE_POINTS_COUNT - 1};
        return spelled_live_in(m, state, m->spelling.hex, all) ? MACHINE_LIVE : MACHINE_DEAD;
    }
    int spelled = json_spelling_short(&m->spelling, byte);
    return spelled < 0 ? MACHINE_DEAD : character(m, state, (uint32_t)spelled);
}

static enum machine_step code_point_by_hex(struct json_machine *m, struct json_state *state, uint32_t code_point) {
    return json_spelling_has(&m->spelling, (struct code_points){code_point, code_point})
               ? character(m, state, code_point)
               : MACHINE_DEAD;
}

static enum machine_step hex_digit(struct json_machine *m, struct json_state *state, uint8_t byte) {
    int digit = json_spelling_digit(&m->spelling, byte);
    if (digit < 0) return MACHINE_DEAD;
    state->value = state->value << 4 | (uint32_t)digit;
    state->digits++;
    uint32_t rest = 16 - 4u * state->digits, first = state->value << rest, last = first | ((1u << rest) - 1);
    if (state->lex == LEX_LOW_HEX) {
        if (last < 0xdc00 || first > 0xdfff) return MACHINE_DEAD;
        uint32_t low = first < 0xdc00 ? 0xdc00 : first, high = last > 0xdfff ? 0xdfff : last;
        uint32_t base = 0x10000 + ((state->high_surrogate - 0xd800) << 10) - 0xdc00;
        if (state->digits == 4) return code_point_by_hex(m, state, base + low);
        const struct code_points pairs = {base + low, base + high};
        return spelled_live_in(m, state, m->spelling.hex, pairs) ? MACHINE_LIVE : MACHINE_DEAD;
    }
    if (state->digits < 4) {
        if (spelled_live_in(m, state, m->spelling.hex, (struct code_points){first, last})) return MACHINE_LIVE;
        uint32_t from = first < 0xd800 ? 0xd800 : first, to = last > 0xdbff ? 0xdbff : last; /* the first of a pair */
        return from <= to && spelled_live_in(m, state, m->spelling.hex, code_points_of_pairs(from, to)) ? MACHINE_LIVE
                                                                                                        : MACHINE_DEAD;
    }
    if (state->value < 0xd800 || state->value > 0xdfff) return code_point_by_hex(m, state, state->value);
    if (state->value > 0xdbff) return MACHINE_DEAD; /* the second of a pair without the first */
    state->high_surrogate = state->value;
    state->lex = LEX_LOW_BACKSLASH;
    const struct code_points pairs = code_points_of_pairs(state->value, state->value);
    return spelled_live_in(m, state, m->spelling.hex, pairs) ? MACHINE_LIVE : MACHINE_DEAD;
}

static enum machine_step utf8_first(struct json_machine *m, struct json_state *state, uint8_t byte) {
    if (byte < 0xc2 || byte > 0xf4) return MACHINE_DEAD;
    state->lex = LEX_UTF8;
    state->length = byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
    state->digits = 1;
    state->value = byte & (0xff >> (state->length + 1));
    static const uint32_t SMALLEST[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t rest = 6u * (state->length - 1u), first = state->value << rest, last = first | ((1u << rest) - 1);
    if (first < SMALLEST[state->length]) first = SMALLEST[state->length];
    if (last > 0x10ffff) last = 0x10ffff;
    return scalars_live_in(m, state, first, last) ? MACHINE_LIVE : MACHINE_DEAD;
}

static enum machine_step utf8_next(struct json_machine *m, struct json_state *state, uint8_t byte) {
    if ((byte & 0xc0) != 0x80) return MACHINE_DEAD;
    state->value = state->value << 6 | (byte & 0x3f);
    state->digits++;
    static const uint32_t SMALLEST[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t rest = 6u * (uint32_t)(state->length - state->digits), first = state->value << rest,
             last = first | ((1u << rest) - 1);
    if (last < SMALLEST[state->length] || first > 0x10ffff || (first >= 0xd800 && last <= 0xdfff)) return MACHINE_DEAD;
    if (rest == 0) return character(m, state, state->value);
    if (first < SMALLEST[state->length]) first = SMALLEST[state->length];
    if (last > 0x10ffff) last = 0x10ffff;
    return scalars_live_in(m, state, first, last) ? MACHINE_LIVE : MACHINE_DEAD;
}

enum machine_step string_step(struct json_machine *m, struct json_state *state, uint8_t byte, bool *ended) {
    *ended = false;
    switch (state->lex) {
    case LEX_PLAIN:
        if (byte == '"') {
            *ended = true;
            return MACHINE_LIVE;
        }
        if (byte == '\\') {
            const struct code_points all = {0, CODE_POINTS_COUNT - 1};
            state->lex = LEX_ESCAPE;
            return spelled_live_in(m, state, m->spelling.escaped, all) ? MACHINE_LIVE : MACHINE_DEAD;
        }
        if (byte < 0x20) return MACHINE_DEAD;
        return byte < 0x80 ? character(m, state, byte) : utf8_first(m, state, byte);
    case LEX_ESCAPE:
        return escape(m, state, byte);
    case LEX_HEX:
    case LEX_LOW_HEX:
        return hex_digit(m, state, byte);
    case LEX_LOW_BACKSLASH:
        state->lex = LEX_LOW_U;
        return byte == '\\' ? MACHINE_LIVE : MACHINE_DEAD;
    case LEX_LOW_U:
        state->lex = LEX_LOW_HEX;
        state->value = state->digits = 0;
        return byte == 'u' ? MACHINE_LIVE : MACHINE_DEAD;
    default:
        return utf8_next(m, state, byte);
    }
}
