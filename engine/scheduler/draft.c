/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/scheduler/draft.h"

enum { RETRY_STEPS = 32 };
static const double LEARNING = 0.15, ACCEPTED_START = 0.6;

int draft_lookup(const int32_t *tokens, int64_t count, int most, int32_t *out) {
    int64_t best_end = 0;
    int best = DRAFT_MATCH_MIN - 1;
    for (int64_t end = count - 1; end >= DRAFT_MATCH_MIN && best < DRAFT_MATCH_MAX; end--) {
        int match = 0;
        while (match < DRAFT_MATCH_MAX && match < end && tokens[end - 1 - match] == tokens[count - 1 - match]) match++;
        if (match <= best) continue;
        best = match;
        best_end = end;
    }
    if (best < DRAFT_MATCH_MIN) return 0;
    int guesses = 0;
    for (; guesses < most && best_end + guesses < count; guesses++) out[guesses] = tokens[best_end + guesses];
    return guesses;
}

void draft_record_init(struct draft_record *record) {
    *record = (struct draft_record){.accepted = ACCEPTED_START};
}

int draft_length(struct draft_record *record, double row_ns, double token_ns) {
    int length = 0;
    if (record->pause > 0) {
        record->pause--;
        return 0;
    }
    double worth = record->accepted * token_ns;
    for (; length < DRAFT_TOKENS_MAX && worth > row_ns; length++) worth *= record->accepted;
    if (length == 0 && row_ns < token_ns && ++record->silent >= RETRY_STEPS) length = 1;
    if (length > 0) record->silent = 0;
    return length;
}

void draft_looked(struct draft_record *record, int64_t count, bool found) {
    enum { MISSES_MAX = 30 };
    record->misses = found ? 0 : record->misses < MISSES_MAX ? record->misses + 1 : MISSES_MAX;
    int64_t most = count / DRAFT_SCAN_TOKENS, wait = (INT64_C(1) << record->misses) - 1;
    record->pause = wait < most ? wait : most;
}

void draft_learn(struct draft_record *record, int guessed, int right) {
    /* Every guess up to the first wrong one is a trial; those behind it were never judged. */
    int trials = right < guessed ? right + 1 : guessed;
    for (int i = 0; i < trials; i++) record->accepted += LEARNING * ((i < right ? 1.0 : 0.0) - record->accepted);
}
