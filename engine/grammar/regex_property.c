/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* \p{...}: general categories by utf8proc, scripts and binary properties by asking PCRE2 once about every character. What was learnt is shared by the process:
 * at most a list for each of the few hundred names that Unicode has. */
#include "engine/grammar/regex_pattern.h"

#include "base/text.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <utf8proc.h>

/* ---- general categories ---- */

/** Runs of characters of one category. */
static struct category_run {
    uint32_t first;
    uint8_t category;
} * category_runs;
static uint32_t category_run_count;
static pthread_once_t categories_once = PTHREAD_ONCE_INIT;

static void add_run(uint32_t *capacity, uint32_t first, uint8_t category) {
    if (category_run_count > 0 && category_runs[category_run_count - 1].category == category) return;
    if (category_run_count == *capacity) {
        struct category_run *larger = realloc(category_runs, 2ull * *capacity * sizeof *larger);
        if (larger == NULL) return; /* seen by the end mark that is missing */
        category_runs = larger;
        *capacity *= 2;
    }
    category_runs[category_run_count++] = (struct category_run){first, category};
}

static void learn_categories(void) {
    uint32_t capacity = 4096;
    category_runs = malloc(capacity * sizeof *category_runs);
    if (category_runs == NULL) return;
    for (uint32_t c = 0; c <= REGEX_CODE_POINT_LAST; c++) {
        add_run(&capacity, c, (uint8_t)utf8proc_category((utf8proc_int32_t)c));
        /* Nothing is assigned between; private planes are one category but for their last two characters. */
        if (c == 0x3FFFF) c = 0xDFFFF;
        if (c == 0xE0FFF) c = 0xEFFFF;
        if (c == 0xF0000 || c == 0x100000) c |= 0xFFFC;
    }
    add_run(&capacity, REGEX_CODE_POINT_LAST + 1, UINT8_MAX);
}

#define BIT(name) (1u << UTF8PROC_CATEGORY_##name)
enum {
    CASED = BIT(LU) | BIT(LL) | BIT(LT),
    LETTERS = CASED | BIT(LM) | BIT(LO),
    MARKS = BIT(MN) | BIT(MC) | BIT(ME),
    NUMBERS = BIT(ND) | BIT(NL) | BIT(NO),
    PUNCTUATION = BIT(PC) | BIT(PD) | BIT(PS) | BIT(PE) | BIT(PI) | BIT(PF) | BIT(PO),
    SYMBOLS = BIT(SM) | BIT(SC) | BIT(SK) | BIT(SO),
    SEPARATORS = BIT(ZS) | BIT(ZL) | BIT(ZP),
    OTHERS = BIT(CC) | BIT(CF) | BIT(CS) | BIT(CO) | BIT(CN),
};

/** The categories that a name of a General_Category stands for; 0: it is none. */
static uint32_t categories_of(struct bytes_view name) {
    static const struct {
        const char *brief, *name, *alias;
        uint32_t categories;
    } names[] = {
        {"L", "Letter", NULL, LETTERS},
        {"LC", "Cased_Letter", NULL, CASED},
        {"Lu", "Uppercase_Letter", NULL, BIT(LU)},
        {"Ll", "Lowercase_Letter", NULL, BIT(LL)},
        {"Lt", "Titlecase_Letter", NULL, BIT(LT)},
        {"Lm", "Modifier_Letter", NULL, BIT(LM)},
        {"Lo", "Other_Letter", NULL, BIT(LO)},
        {"M", "Mark", "Combining_Mark", MARKS},
        {"Mn", "Nonspacing_Mark", NULL, BIT(MN)},
        {"Mc", "Spacing_Mark", NULL, BIT(MC)},
        {"Me", "Enclosing_Mark", NULL, BIT(ME)},
        {"N", "Number", NULL, NUMBERS},
        {"Nd", "Decimal_Number", "digit", BIT(ND)},
        {"Nl", "Letter_Number", NULL, BIT(NL)},
        {"No", "Other_Number", NULL, BIT(NO)},
        {"P", "Punctuation", "punct", PUNCTUATION},
        {"Pc", "Connector_Punctuation", NULL, BIT(PC)},
        {"Pd", "Dash_Punctuation", NULL, BIT(PD)},
        {"Ps", "Open_Punctuation", NULL, BIT(PS)},
        {"Pe", "Close_Punctuation", NULL, BIT(PE)},
        {"Pi", "Initial_Punctuation", NULL, BIT(PI)},
        {"Pf", "Final_Punctuation", NULL, BIT(PF)},
        {"Po", "Other_Punctuation", NULL, BIT(PO)},
        {"S", "Symbol", NULL, SYMBOLS},
        {"Sm", "Math_Symbol", NULL, BIT(SM)},
        {"Sc", "Currency_Symbol", NULL, BIT(SC)},
        {"Sk", "Modifier_Symbol", NULL, BIT(SK)},
        {"So", "Other_Symbol", NULL, BIT(SO)},
        {"Z", "Separator", NULL, SEPARATORS},
        {"Zs", "Space_Separator", NULL, BIT(ZS)},
        {"Zl", "Line_Separator", NULL, BIT(ZL)},
        {"Zp", "Paragraph_Separator", NULL, BIT(ZP)},
        {"C", "Other", NULL, OTHERS},
        {"Cc", "Control", "cntrl", BIT(CC)},
        {"Cf", "Format", NULL, BIT(CF)},
        {"Cs", "Surrogate", NULL, BIT(CS)},
        {"Co", "Private_Use", NULL, BIT(CO)},
        {"Cn", "Unassigned", NULL, BIT(CN)},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (bytes_view_equal_string(name, names[i].brief) || bytes_view_equal_string(name, names[i].name) ||
            (names[i].alias != NULL && bytes_view_equal_string(name, names[i].alias)))
            return names[i].categories;
    return 0;
}

static enum property_result add_categories(struct pattern *pattern, uint32_t categories) {
    pthread_once(&categories_once, learn_categories);
    uint32_t count = category_run_count;
    if (count == 0 || category_runs[count - 1].category != UINT8_MAX) return PROPERTY_FAILED;
    if (!budget_spend(pattern->pool->budget, count / 64)) return PROPERTY_FAILED;
    for (uint32_t i = 0; i + 1 < count; i++)
        if ((categories >> category_runs[i].category & 1) != 0 &&
            !pattern_add_range(pattern, category_runs[i].first, category_runs[i + 1].first - 1))
            return PROPERTY_FAILED;
    return PROPERTY_KNOWN;
}

/* ---- scripts and binary properties ---- */

enum { NAME_MAX_BYTES = 64, ENCODED_MAX = 4 };

struct learnt {
    struct learnt *next;
    char name[NAME_MAX_BYTES];
    uint32_t count, capacity;
    struct regex_range *ranges;
};
static struct learnt *learnt_list;
static pthread_mutex_t learnt_mutex = PTHREAD_MUTEX_INITIALIZER;

static bool append_learnt(struct learnt *learnt, uint32_t first, uint32_t last) {
    if (learnt->count == learnt->capacity) {
        uint32_t capacity = learnt->capacity == 0 ? 64 : learnt->capacity * 2;
        struct regex_range *larger = realloc(learnt->ranges, capacity * sizeof *larger);
        if (larger == NULL) return false;
        learnt->ranges = larger;
        learnt->capacity = capacity;
    }
    learnt->ranges[learnt->count++] = (struct regex_range){first, last};
    return true;
}

/** The code point that the sequence which ends before `end` encodes. */
static uint32_t code_point_before(const uint8_t *text, size_t end) {
    uint32_t code_point;
    bool valid;
    size_t start = end - 1;
    while ((text[start] & 0xC0) == 0x80) start--;
    text_decode(text + start, end - start, &code_point, &valid);
    return code_point;
}

/** Matches runs of the property in all characters of first..last, in one text. */
static bool learn_segment(struct learnt *learnt, const pcre2_code *code, uint32_t first, uint32_t last) {
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    uint8_t *text = malloc((size_t)(last - first + 1) * ENCODED_MAX);
    size_t length = 0, at = 0;
    bool ok = match != NULL && text != NULL;
    for (uint32_t c = first; ok && c <= last; c++) length += text_encode(c, text + length);
    while (ok && at < length && pcre2_match(code, text, length, at, PCRE2_NO_UTF_CHECK, match, NULL) > 0) {
        const PCRE2_SIZE *found = pcre2_get_ovector_pointer(match);
        uint32_t from, to = code_point_before(text, found[1]);
        bool valid;
        text_decode(text + found[0], length - found[0], &from, &valid);
        ok = append_learnt(learnt, from, to);
        at = found[1];
    }
    pcre2_match_data_free(match);
    free(text);
    return ok;
}

static pcre2_code *compile_property(const char *name) {
    char pattern[NAME_MAX_BYTES + 16];
    int number;
    PCRE2_SIZE offset;
    snprintf(pattern, sizeof pattern, "\\p{%s}++", name);
    return pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &number, &offset, NULL);
}

/** NULL and *out_unknown, or without memory. */
static struct learnt *learn(const char *name, bool *out_unknown) {
    pcre2_code *code = compile_property(name);
    *out_unknown = code == NULL;
    if (code == NULL) return NULL;
    struct learnt *learnt = calloc(1, sizeof *learnt);
    bool ok = learnt != NULL && learn_segment(learnt, code, 0, REGEX_SURROGATE_FIRST - 1) &&
              learn_segment(learnt, code, REGEX_SURROGATE_LAST + 1, 0x3FFFF) &&
              learn_segment(learnt, code, 0xE0000, 0xE0FFF);
    for (uint32_t plane = 4; plane <= 16 && ok; plane++)
        ok = learn_segment(learnt, code, plane << 16 | 0xFFFE, plane << 16 | 0xFFFF);
    pcre2_code_free(code);
    if (!ok) {
        if (learnt != NULL) free(learnt->ranges);
        free(learnt);
        return NULL;
    }
    snprintf(learnt->name, sizeof learnt->name, "%s", name);
    learnt->next = learnt_list;
    return learnt_list = learnt;
}

static enum property_result add_learnt(struct pattern *pattern, const char *name) {
    if (!budget_spend(pattern->pool->budget, 64)) return PROPERTY_FAILED;
    bool unknown = false;
    pthread_mutex_lock(&learnt_mutex);
    const struct learnt *learnt = learnt_list;
    while (learnt != NULL && strcmp(learnt->name, name) != 0) learnt = learnt->next;
    if (learnt == NULL) learnt = learn(name, &unknown);
    pthread_mutex_unlock(&learnt_mutex);
    if (learnt == NULL) return unknown ? PROPERTY_UNKNOWN : PROPERTY_FAILED;
    for (uint32_t i = 0; i < learnt->count; i++)
        if (!pattern_add_range(pattern, learnt->ranges[i].first, learnt->ranges[i].last)) return PROPERTY_FAILED;
    return PROPERTY_KNOWN;
}

/** Letters and '_' only, beginning with a capital, as ECMA's names do: PCRE2 would take more spellings. */
static bool is_name(struct bytes_view name) {
    if (name.length == 0 || name.length > NAME_MAX_BYTES - 8 || name.data[0] < 'A' || name.data[0] > 'Z') return false;
    for (size_t i = 0; i < name.length; i++) {
        uint8_t c = name.data[i] | 0x20;
        if ((c < 'a' || c > 'z') && name.data[i] != '_') return false;
    }
    return true;
}

static enum property_result add_script(struct pattern *pattern, struct bytes_view script, bool extensions) {
    char name[NAME_MAX_BYTES];
    if (!is_name(script)) return PROPERTY_UNKNOWN;
    snprintf(name, sizeof name, "%s:%.*s", extensions ? "scx" : "sc", (int)script.length, (const char *)script.data);
    return add_learnt(pattern, name);
}

static enum property_result add_binary(struct pattern *pattern, struct bytes_view property) {
    char name[NAME_MAX_BYTES];
    if (!is_name(property) || (property.length == 3 && property.data[0] == 'X')) return PROPERTY_UNKNOWN;
    snprintf(name, sizeof name, "sc:%.*s", (int)property.length, (const char *)property.data);
    pcre2_code *script = compile_property(name);
    pcre2_code_free(script);
    if (script != NULL) { /* alone a script's name is none of ECMA's */
        bool lenient = (pattern->flags & REGEX_LENIENT) != 0;
        return lenient ? add_script(pattern, property, false) : PROPERTY_UNKNOWN;
    }
    snprintf(name, sizeof name, "%.*s", (int)property.length, (const char *)property.data);
    return add_learnt(pattern, name);
}

enum property_result pattern_add_property(struct pattern *pattern, struct bytes_view name, struct bytes_view value) {
    if (value.length > 0) {
        if (bytes_view_equal_string(name, "Script") || bytes_view_equal_string(name, "sc"))
            return add_script(pattern, value, false);
        if (bytes_view_equal_string(name, "Script_Extensions") || bytes_view_equal_string(name, "scx"))
            return add_script(pattern, value, true);
        uint32_t categories = categories_of(value);
        bool category = bytes_view_equal_string(name, "General_Category") || bytes_view_equal_string(name, "gc");
        return category && categories != 0 ? add_categories(pattern, categories) : PROPERTY_UNKNOWN;
    }
    if (bytes_view_equal_string(name, "Any"))
        return pattern_add_range(pattern, 0, REGEX_CODE_POINT_LAST) ? PROPERTY_KNOWN : PROPERTY_FAILED;
    if (bytes_view_equal_string(name, "Assigned")) return add_categories(pattern, ~(uint32_t)BIT(CN));
    uint32_t categories = categories_of(name);
    return categories != 0 ? add_categories(pattern, categories) : add_binary(pattern, name);
}
