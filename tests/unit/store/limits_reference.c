/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/store/limits_reference.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SLICES = 240, AHEAD_US = LIMITS_AHEAD_MS * 1000 };
static const int64_t SLICE_US = 250000, SECOND_US = 1000000, DAY_US = INT64_C(86400000000),
                     LEASE_US = LIMITS_LEASE_MS * INT64_C(1000);

static int64_t max64(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static int64_t min64(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t month_of(int64_t time_us) {
    time_t seconds = time_us / SECOND_US;
    struct tm when;
    gmtime_r(&seconds, &when);
    return when.tm_year * INT64_C(12) + when.tm_mon;
}

static int64_t input_cost(const struct limits_price *price, int64_t input, int64_t cached) {
    struct limits_usage usage = {.input = input, .cached_input = cached};
    return limits_cost(price, &usage);
}

static int64_t output_cost(const struct limits_price *price, int64_t output) {
    struct limits_usage usage = {.output = output};
    return limits_cost(price, &usage);
}

/** The dearest way in which input can turn out to have been cached: all, nothing, or one more rounding than that. */
static int64_t input_cost_max(const struct limits_price *price, int64_t input) {
    int64_t most = max64(input_cost(price, input, 0), input_cost(price, input, input));
    return price->input > 0 && price->cached_input > 0 ? most + 1 : most;
}

/* --- what counts --------------------------------------------------------------------------------------------------- */

static void add_held(const struct reference *reference, int scope, struct limits_bounds *used) {
    for (int i = 0; i < REFERENCE_LEASES; i++) {
        const struct reference_lease *lease = &reference->leases[i];
        if (!lease->running) continue;
        for (int j = 0; j < lease->scope_count; j++) {
            if (lease->scopes[j] != scope) continue;
            int64_t most = max64(lease->granted, lease->charged.output), tokens = most - lease->charged.output;
            used->of[LIMITS_OUTPUT_PER_MINUTE] += tokens;
            used->of[LIMITS_TOKENS_PER_MINUTE] += tokens;
            used->of[LIMITS_TOKENS_PER_DAY] += tokens;
            used->of[LIMITS_TOKENS_PER_MONTH] += tokens;
            used->of[LIMITS_SPEND_PER_MONTH] +=
                output_cost(&lease->price, most) - output_cost(&lease->price, lease->charged.output);
            used->of[LIMITS_STREAMS]++;
        }
    }
}

struct limits_bounds reference_used(const struct reference *reference, int scope, int64_t time_us) {
    struct limits_bounds used = {{0}};
    for (int i = 0; i < reference->event_count; i++) {
        const struct reference_event *event = &reference->events[i];
        if (event->scope != scope) continue;
        int64_t tokens = event->input + event->output;
        if (event->second_us > time_us - SECOND_US) used.of[LIMITS_REQUESTS_PER_SECOND] += event->in_second;
        if (event->slice >= time_us / SLICE_US - SLICES) {
            used.of[LIMITS_REQUESTS_PER_MINUTE] += event->requests;
            used.of[LIMITS_INPUT_PER_MINUTE] += event->input;
            used.of[LIMITS_OUTPUT_PER_MINUTE] += event->output;
            used.of[LIMITS_TOKENS_PER_MINUTE] += tokens;
        }
        if (event->time_us / DAY_US == time_us / DAY_US) used.of[LIMITS_TOKENS_PER_DAY] += tokens;
        if (month_of(event->time_us) == month_of(time_us)) {
            used.of[LIMITS_TOKENS_PER_MONTH] += tokens;
            used.of[LIMITS_SPEND_PER_MONTH] += event->spend;
        }
    }
    add_held(reference, scope, &used);
    return used;
}

static int64_t need_of(const struct limits_admission *admission, int kind, int64_t output) {
    switch (kind) {
    case LIMITS_INPUT_PER_MINUTE:
        return admission->input;
    case LIMITS_OUTPUT_PER_MINUTE:
        return output;
    case LIMITS_TOKENS_PER_MINUTE:
    case LIMITS_TOKENS_PER_DAY:
    case LIMITS_TOKENS_PER_MONTH:
        return admission->input + output;
    case LIMITS_SPEND_PER_MONTH:
        return input_cost_max(&admission->price, admission->input) + output_cost(&admission->price, output);
    default:
        return 1;
    }
}

bool reference_passes(const struct reference *reference, const struct reference_request *request, int64_t output,
                      int64_t time_us) {
    const struct limits_admission *admission = request->admission;
    for (int i = 0; i < admission->scope_count; i++) {
        struct limits_bounds used = reference_used(reference, request->scopes[i], time_us);
        for (int kind = 0; kind < LIMITS_KINDS; kind++) {
            int64_t limit = admission->scopes[i].bounds.of[kind];
            if (limit >= 0 && (limit == 0 || used.of[kind] + need_of(admission, kind, output) > limit)) return false;
        }
    }
    return true;
}

/** Of every limit of tokens and of spend, or of all where it is ahead of its request, at least three quarters are left behind it. */
static bool leaves_plenty(const struct reference *reference, const struct reference_request *request) {
    const struct limits_admission *admission = request->admission;
    for (int i = 0; i < admission->scope_count; i++) {
        struct limits_bounds used = reference_used(reference, request->scopes[i], reference->now_us);
        for (int kind = 0; kind < LIMITS_KINDS; kind++) {
            int64_t limit = admission->scopes[i].bounds.of[kind];
            bool of_requests = kind < LIMITS_INPUT_PER_MINUTE || kind == LIMITS_STREAMS;
            if ((of_requests && !admission->ahead) || limit < 0) continue;
            if (4 * (limit - used.of[kind] - need_of(admission, kind, admission->output)) < 3 * limit) return false;
        }
    }
    return !admission->ahead || (reference->now_us + AHEAD_US) / DAY_US == reference->now_us / DAY_US;
}

static bool ever_fits(const struct limits_admission *admission) {
    int64_t least = admission->output - admission->output_optional;
    for (int i = 0; i < admission->scope_count; i++) {
        for (int kind = 0; kind < LIMITS_KINDS; kind++) {
            int64_t limit = admission->scopes[i].bounds.of[kind];
            if (limit == 0 || (limit > 0 && need_of(admission, kind, least) > limit)) return false;
        }
    }
    return true;
}

/** The most output that passes; halving, as passing is monotone. */
static int64_t most_output(const struct reference *reference, const struct reference_request *request) {
    int64_t low = request->admission->output - request->admission->output_optional, high = request->admission->output;
    while (low < high) {
        int64_t middle = (low + high + 1) / 2;
        if (reference_passes(reference, request, middle, reference->now_us))
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

struct limits_result reference_answer(const struct reference *reference, const struct reference_request *request) {
    const struct limits_admission *admission = request->admission;
    struct limits_result result = {.outcome = LIMITS_ADMITTED};
    int64_t least = admission->output - admission->output_optional;
    bool surely = !admission->estimate || (ever_fits(admission) && leaves_plenty(reference, request) &&
                                           reference_passes(reference, request, least, reference->now_us));
    if (!surely)
        result.outcome = LIMITS_SCARCE;
    else if (!ever_fits(admission))
        result.outcome = LIMITS_NEVER_FITS;
    else if (!reference_passes(reference, request, least, reference->now_us))
        result.outcome = LIMITS_DENIED;
    else
        result.output_held = most_output(reference, request);
    for (int kind = 0; kind < LIMITS_KINDS; kind++) {
        result.room[kind] = (struct limits_room){LIMITS_ABSENT, LIMITS_ABSENT};
        for (int i = 0; i < admission->scope_count; i++) {
            int64_t limit = admission->scopes[i].bounds.of[kind];
            if (limit < 0) continue;
            int64_t left = max64(0, limit - reference_used(reference, request->scopes[i], reference->now_us).of[kind]);
            if (result.outcome == LIMITS_ADMITTED) left -= need_of(admission, kind, result.output_held);
            if (result.room[kind].limit < 0 || left < result.room[kind].remaining)
                result.room[kind] = (struct limits_room){limit, left};
        }
    }
    return result;
}

/* --- what happens -------------------------------------------------------------------------------------------------- */

static int add_event(struct reference *reference, struct reference_event event) {
    if (reference->event_count == REFERENCE_EVENTS) abort();
    event.time_us = reference->now_us;
    event.true_us = reference->true_us;
    event.slice = max64(reference->now_us / SLICE_US, reference->latest_slice[event.scope]);
    reference->events[reference->event_count] = event;
    return reference->event_count++;
}

void reference_admit(struct reference *reference, const struct reference_request *request, int number,
                     int64_t granted) {
    const struct limits_admission *admission = request->admission;
    struct reference_lease *lease = &reference->leases[number];
    *lease = (struct reference_lease){.running = true,
                                      .estimate = admission->estimate,
                                      .ahead = admission->ahead,
                                      .scope_count = admission->scope_count,
                                      .price = admission->price,
                                      .due_us = reference->now_us + LEASE_US,
                                      .granted = granted,
                                      .input_cost = input_cost_max(&admission->price, admission->input),
                                      .charged = {.input = admission->input},
                                      .answers = admission->answers};
    for (int i = 0; i < admission->scope_count; i++) {
        int64_t *latest_us = &reference->latest_us[request->scopes[i]];
        *latest_us = max64(reference->now_us + (admission->ahead ? AHEAD_US : 0), *latest_us);
        if (admission->ahead) reference->latest_slice[request->scopes[i]] = reference->now_us / SLICE_US + 1;
        lease->scopes[i] = request->scopes[i];
        lease->events[i] = add_event(reference, (struct reference_event){.scope = request->scopes[i],
                                                                         .requests = 1,
                                                                         .second_us = *latest_us,
                                                                         .in_second = 1,
                                                                         .input = admission->input,
                                                                         .spend = lease->input_cost});
    }
}

/** Input that was not used is taken out of the event in which it was charged; output is charged now, and so is input that is heard of late. */
static void charge(struct reference *reference, struct reference_lease *lease, struct limits_usage usage, bool end) {
    int64_t output = max64(usage.output, lease->charged.output);
    int64_t more_spend = output_cost(&lease->price, output) - output_cost(&lease->price, lease->charged.output);
    int64_t cost = lease->input_cost;
    if (end)
        cost = input_cost(&lease->price, usage.input, usage.cached_input);
    else if (usage.input < lease->charged.input)
        cost = input_cost_max(&lease->price, usage.input);
    for (int i = 0; i < lease->scope_count; i++) {
        struct reference_event *admission = &reference->events[lease->events[i]];
        admission->input -= max64(lease->charged.input - usage.input, 0);
        admission->spend -= max64(lease->input_cost - cost, 0);
        add_event(reference, (struct reference_event){.scope = lease->scopes[i],
                                                      .input = max64(usage.input - lease->charged.input, 0),
                                                      .output = output - lease->charged.output,
                                                      .spend = more_spend + max64(cost - lease->input_cost, 0),
                                                      .late = lease->ended});
    }
    lease->charged = (struct limits_usage){.input = usage.input, .cached_input = usage.cached_input, .output = output};
    lease->input_cost = cost;
}

/** Settle or correct: the ledger then says `usage`. */
static void end(struct reference *reference, struct reference_lease *lease, struct limits_usage usage, bool open_end) {
    charge(reference, lease, usage, true);
    lease->estimate = false;
    lease->running = false;
    lease->ended = true;
    lease->open_end = open_end;
    lease->ledger = (struct reference_ledger){!lease->forgotten, lease->charged.input, lease->charged.cached_input,
                                              lease->charged.output, limits_cost(&lease->price, &lease->charged)};
}

/** What reports say together; false when some are missing. */
static bool reported(const struct reference_lease *lease, struct limits_usage *out) {
    int count = 0;
    struct limits_usage sum = {0};
    for (int i = lease->answers - 1; i >= 0; i--) {
        if (!lease->has_report[i]) continue;
        count++;
        sum.output += lease->reports[i].output;
        sum.input = max64(sum.input, lease->reports[i].input);
        if (lease->reports[i].input > 0) sum.cached_input = lease->reports[i].cached_input;
    }
    if (count < lease->answers && !lease->estimate) sum.input = lease->charged.input;
    sum.cached_input = min64(sum.cached_input, sum.input);
    sum.output = max64(sum.output, lease->charged.output);
    *out = sum;
    return count == lease->answers;
}

static bool has_reports(const struct reference_lease *lease) {
    for (int i = 0; i < lease->answers; i++)
        if (lease->has_report[i]) return true;
    return false;
}

int reference_charge(struct reference *reference, int number, const struct limits_usage *usage) {
    struct reference_lease *lease = &reference->leases[number];
    if (!lease->running) return 0;
    struct limits_usage so_far = *usage;
    if (!lease->estimate || usage->input == 0) so_far.input = lease->charged.input;
    so_far.input = min64(so_far.input, lease->charged.input);
    so_far.cached_input = min64(so_far.input, max64(usage->cached_input, lease->charged.cached_input));
    charge(reference, lease, so_far, false);
    lease->estimate = lease->estimate && usage->input == 0;
    lease->ahead = false;
    lease->due_us = reference->now_us + LEASE_US;
    return 1;
}

static int say(struct reference *reference, struct reference_lease *lease, struct limits_usage usage, bool open_end) {
    bool running = lease->running;
    if (!running && !lease->open_end) {
        if (!lease->ended) lease->refused = true;
        return 0;
    }
    end(reference, lease, usage, open_end);
    return running ? 1 : 2;
}

/** As if it had never been. */
static int forget(struct reference *reference, struct reference_lease *lease) {
    charge(reference, lease, (struct limits_usage){0}, true);
    for (int i = 0; i < lease->scope_count; i++) {
        struct reference_event *event = &reference->events[lease->events[i]];
        event->requests = event->in_second = 0;
    }
    lease->running = lease->estimate = false;
    lease->ended = lease->open_end = lease->forgotten = true;
    return 1;
}

int reference_settle(struct reference *reference, int number, const struct limits_usage *usage) {
    struct reference_lease *lease = &reference->leases[number];
    if (usage->unused && lease->running && lease->charged.output == 0 && !has_reports(lease))
        return forget(reference, lease);
    struct limits_usage said = *usage, by_workers;
    if (has_reports(lease)) {
        reported(lease, &by_workers);
        said.output = max64(said.output, by_workers.output);
    }
    return say(reference, lease, said, usage->provisional || usage->unused);
}

int reference_report(struct reference *reference, int number, int answer, const struct limits_usage *usage) {
    struct reference_lease *lease = &reference->leases[number];
    struct limits_usage said = *usage;
    if (lease->running || lease->open_end) {
        lease->has_report[answer] = true;
        lease->reports[answer] = *usage;
        if (!reported(lease, &said)) return 0;
    }
    return say(reference, lease, said, false);
}

int reference_reap(struct reference *reference, int most) {
    int count = 0;
    for (; count < most; count++) {
        struct reference_lease *first = NULL;
        for (int i = 0; i < REFERENCE_LEASES; i++) {
            struct reference_lease *lease = &reference->leases[i];
            if (lease->running && lease->due_us <= reference->now_us &&
                (first == NULL || lease->due_us < first->due_us))
                first = lease;
        }
        if (first == NULL) break;
        struct limits_usage usage = first->charged;
        if (first->ahead && !has_reports(first)) {
            forget(reference, first);
            continue;
        }
        if (has_reports(first))
            reported(first, &usage);
        else if (first->estimate)
            usage.input = usage.cached_input = 0;
        end(reference, first, usage, true);
    }
    return count;
}

void reference_pull_leases(struct reference *reference) {
    for (int i = 0; i < REFERENCE_LEASES; i++) {
        struct reference_lease *lease = &reference->leases[i];
        if (lease->running && lease->due_us > reference->now_us + LEASE_US)
            lease->due_us = reference->now_us + LEASE_US;
    }
}
