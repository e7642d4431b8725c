/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* What a request is told that a limit keeps out: in a sentence, and in headers for programs. */
#include "base/text.h"
#include "services/gateway/chat.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* No wait helps, but every 429 has a Retry-After (contract 1.17): a whole window, so that a client which obeys it does no harm. */
enum { NEVER_RETRY_MS = 61000 };
enum { AMOUNT_BYTES = 32, WAIT_BYTES = 32, PHRASE_BYTES = 128 };

static const struct {
    const char *one, *several; /* "request per minute" */
    const char *none;          /* of a limit of 0 */
} kinds[LIMITS_KINDS] = {
    [LIMITS_REQUESTS_PER_SECOND] = {"request per second", "requests per second", "may make no requests"},
    [LIMITS_REQUESTS_PER_MINUTE] = {"request per minute", "requests per minute", "may make no requests"},
    [LIMITS_INPUT_PER_MINUTE] = {"input token per minute", "input tokens per minute", "may use no input tokens"},
    [LIMITS_OUTPUT_PER_MINUTE] = {"output token per minute", "output tokens per minute", "may use no output tokens"},
    [LIMITS_TOKENS_PER_MINUTE] = {"token per minute", "tokens per minute", "may use no tokens"},
    [LIMITS_TOKENS_PER_DAY] = {"token per day", "tokens per day", "may use no tokens"},
    [LIMITS_TOKENS_PER_MONTH] = {"token per month", "tokens per month", "may use no tokens"},
    [LIMITS_STREAMS] = {"request at a time", "requests at a time", "may have no answer under way"},
    [LIMITS_SPEND_PER_MONTH] = {"spend per month", "spend per month", "may spend nothing"},
};

/** "this key", "its workspace". */
static const char *owner_of(const struct limits_scope *scope) {
    return scope->name[0] == 'o' ? "its organization" : scope->name[0] == 'w' ? "its workspace" : "this key";
}

/** A number of tokens or requests; of money "0.00001", never with an exponent. */
static void format_amount(enum limits_kind kind, int64_t amount, char out[AMOUNT_BYTES]) {
    enum { NANO_DIGITS = 9 };
    const int64_t nanos = 1000000000;
    if (kind != LIMITS_SPEND_PER_MONTH) {
        snprintf(out, AMOUNT_BYTES, "%" PRId64, amount);
        return;
    }
    int length = snprintf(out, AMOUNT_BYTES, "%" PRId64 ".%09" PRId64, amount / nanos, amount % nanos);
    for (int cut = 0; cut < NANO_DIGITS && out[length - 1] == '0'; cut++) out[--length] = 0;
    if (out[length - 1] == '.') out[length - 1] = 0;
}

/** Rounded up: "1 s", "5 min", "3 h", "12 d". */
static void format_wait(int64_t ms, char out[WAIT_BYTES]) {
    static const struct {
        int64_t ms, from_ms;
        const char *unit;
    } units[] = {{86400000, 172800000, "d"}, {3600000, 7200000, "h"}, {60000, 120000, "min"}, {1000, 0, "s"}};
    size_t i = 0;
    while (ms < units[i].from_ms) i++;
    snprintf(out, WAIT_BYTES, "%" PRId64 " %s", (ms + units[i].ms - 1) / units[i].ms, units[i].unit);
}

/** What the request takes of the limit at least; 0 where nobody has counted its tokens, or the limit is one of requests. */
static int64_t needed(const struct chat *chat, const struct limits_admission *admission, enum limits_kind kind,
                      int64_t output) {
    const struct limits_usage usage = {.input = chat->choices[0].prompt_tokens, .output = output};
    if (admission->peek || usage.input == 0) return 0;
    switch (kind) {
    case LIMITS_INPUT_PER_MINUTE:
        return usage.input;
    case LIMITS_OUTPUT_PER_MINUTE:
        return usage.output;
    case LIMITS_TOKENS_PER_MINUTE:
    case LIMITS_TOKENS_PER_DAY:
    case LIMITS_TOKENS_PER_MONTH:
        return usage.input + usage.output;
    case LIMITS_SPEND_PER_MONTH:
        return limits_cost(&admission->price, &usage);
    default:
        return 0;
    }
}

/** Whose use its role may see (services/keys/limit_methods.c): a service's its own, a member's its workspace's. */
static bool may_see(const struct key_info *key, const struct limits_scope *scope) {
    if (scope->name[0] == 'k' || key_info_is_admin(key)) return true;
    return scope->name[0] == 'w' && strcmp(key->role, "member") == 0;
}

/** "; 12 are left, this request asks for 40". What is left is known of the scope with the least; requests that were denied have none. */
static void say_left(const struct limits_result *result, int64_t asked, char out[PHRASE_BYTES]) {
    const enum limits_kind kind = result->denied_by;
    const struct limits_room *room = &result->room[kind];
    char left[AMOUNT_BYTES], need[AMOUNT_BYTES];
    bool counts = kind != LIMITS_REQUESTS_PER_SECOND && kind != LIMITS_REQUESTS_PER_MINUTE && kind != LIMITS_STREAMS;
    out[0] = 0;
    if (!counts || room->limit != result->denied_limit) return;
    format_amount(kind, room->remaining > 0 ? room->remaining : 0, left);
    format_amount(kind, asked, need);
    bool one = room->remaining == 1 || kind == LIMITS_SPEND_PER_MONTH;
    if (asked > 0)
        snprintf(out, PHRASE_BYTES, "; %s %s left, this request asks for %s", left, one ? "is" : "are", need);
    else
        snprintf(out, PHRASE_BYTES, "; %s %s left", left, one ? "is" : "are");
}

static void say_denied(const struct chat *chat, const struct limits_admission *admission,
                       const struct limits_result *result, int64_t output, char *out, size_t size) {
    const enum limits_kind kind = result->denied_by;
    const struct limits_scope *scope = &admission->scopes[result->denied_scope];
    const char *model = scope->of_model ? " with this model" : "";
    char limit[AMOUNT_BYTES], left[PHRASE_BYTES], wait[WAIT_BYTES];
    format_amount(kind, result->denied_limit, limit);
    left[0] = 0;
    if (may_see(chat->request->key, scope)) say_left(result, needed(chat, admission, kind, output), left);
    format_wait(result->retry_after_ms, wait);
    snprintf(out, size, "Rate limit exceeded: %s has %s%s%s %s%s%s; %s%s", owner_of(scope),
             kind == LIMITS_SPEND_PER_MONTH ? "a limit of " : "", limit,
             kind == LIMITS_SPEND_PER_MONTH ? " on its" : "",
             result->denied_limit == 1 ? kinds[kind].one : kinds[kind].several, model, left,
             kind == LIMITS_STREAMS ? "as many are under way" : "try again in ", kind == LIMITS_STREAMS ? "" : wait);
}

static void say_never_spent(const struct chat *chat, const struct limits_admission *admission,
                            const struct limits_result *result, int64_t output, char *out, size_t size) {
    const struct limits_scope *scope = &admission->scopes[result->denied_scope];
    int64_t cost = needed(chat, admission, LIMITS_SPEND_PER_MONTH, output);
    char limit[AMOUNT_BYTES], most[AMOUNT_BYTES], phrase[PHRASE_BYTES] = "more than";
    format_amount(LIMITS_SPEND_PER_MONTH, result->denied_limit, limit);
    format_amount(LIMITS_SPEND_PER_MONTH, cost, most);
    if (cost > 0) snprintf(phrase, sizeof phrase, "%s, more than", most);
    snprintf(out, size, "Rate limit exceeded: this request may cost %s the limit of %s on spend per month of %s%s",
             phrase, limit, owner_of(scope), scope->of_model ? " with this model" : "");
}

static void say_never(const struct chat *chat, const struct limits_admission *admission,
                      const struct limits_result *result, int64_t output, char *out, size_t size) {
    const struct limits_scope *scope = &admission->scopes[result->denied_scope];
    const char *owner = owner_of(scope), *model = scope->of_model ? " with this model" : "";
    if (result->denied_limit == 0) {
        snprintf(out, size, "Rate limit exceeded: %s %s%s", owner, kinds[result->denied_by].none, model);
        return;
    }
    if (result->denied_by == LIMITS_SPEND_PER_MONTH) {
        say_never_spent(chat, admission, result, output, out, size);
        return;
    }
    int64_t input = chat->choices[0].prompt_tokens;
    int64_t fixed = result->denied_by == LIMITS_OUTPUT_PER_MINUTE ? 0 : input; /* whatever max_tokens is */
    int64_t tokens = result->denied_by == LIMITS_INPUT_PER_MINUTE ? input : fixed + output;
    bool given = chat->plan.max_tokens_given && fixed + chat->choice_count <= result->denied_limit;
    if (!given && result->denied_by != LIMITS_INPUT_PER_MINUTE) tokens = fixed + chat->choice_count;
    snprintf(out, size, "Rate limit exceeded: this request %s %" PRId64 " tokens, but %s has %" PRId64 " %s%s%s",
             given ? "may use up to" : "uses at least", tokens, owner, result->denied_limit,
             result->denied_limit == 1 ? kinds[result->denied_by].one : kinds[result->denied_by].several, model,
             given ? "; lower max_tokens" : "");
}

/** For programs: which limit it was, of whom; and to the public clients, which retry a 429 by themselves, whether that can help. */
static void name_denial(struct request *request, const struct limits_scope *scope, enum limits_kind kind, bool never) {
    static const char *const names[LIMITS_KINDS] = {
        [LIMITS_REQUESTS_PER_SECOND] = "requests_per_second",  [LIMITS_REQUESTS_PER_MINUTE] = "requests_per_minute",
        [LIMITS_INPUT_PER_MINUTE] = "input_tokens_per_minute", [LIMITS_OUTPUT_PER_MINUTE] = "output_tokens_per_minute",
        [LIMITS_TOKENS_PER_MINUTE] = "tokens_per_minute",      [LIMITS_TOKENS_PER_DAY] = "tokens_per_day",
        [LIMITS_TOKENS_PER_MONTH] = "tokens_per_month",        [LIMITS_STREAMS] = "concurrent_streams",
        [LIMITS_SPEND_PER_MONTH] = "spend_per_month",
    };
    char text[96];
    const char *owner = scope->name[0] == 'o' ? "organization" : scope->name[0] == 'w' ? "workspace" : "key";
    snprintf(text, sizeof text, "%s%s %s", owner, scope->of_model ? ", model" : "", names[kind]);
    request->front->header(request, "x-ratelimit-denied-by", text);
    if (never) request->front->header(request, "x-should-retry", "false");
}

/** What is left of the day and the month, which is not told of every answer: who is denied may look for it. */
static void add_calendar_headers(struct request *request, const struct limits_admission *admission,
                                 const struct limits_result *result) {
    static const struct {
        enum limits_kind kind;
        const char *limit, *remaining;
    } headers[] = {
        {LIMITS_TOKENS_PER_DAY, "x-ratelimit-limit-tokens-day", "x-ratelimit-remaining-tokens-day"},
        {LIMITS_TOKENS_PER_MONTH, "x-ratelimit-limit-tokens-month", "x-ratelimit-remaining-tokens-month"},
    };
    char text[TEXT_I64_BYTES];
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        const struct limits_room *room = &result->room[headers[i].kind];
        bool shown = room->limit != LIMITS_ABSENT;
        for (int j = 0; j < admission->scope_count; j++) { /* nobody knows whose room it is */
            bool counts = admission->scopes[j].bounds.of[headers[i].kind] != LIMITS_ABSENT;
            shown = shown && !(counts && !may_see(request->key, &admission->scopes[j]));
        }
        if (!shown) continue;
        text_from_i64(room->limit, text);
        request->front->header(request, headers[i].limit, text);
        text_from_i64(room->remaining > 0 ? room->remaining : 0, text);
        request->front->header(request, headers[i].remaining, text);
    }
}

struct api_error chat_denied_error(const struct chat *chat, const struct limits_admission *admission,
                                   const struct limits_result *result, int64_t output) {
    struct api_error error =
        api_error_make(429, STATUS_RESOURCE_EXHAUSTED, "rate_limited", "1300", "Rate limit exceeded");
    bool never = result->outcome == LIMITS_NEVER_FITS;
    error.retry_after_ms = never ? NEVER_RETRY_MS : result->retry_after_ms;
    if (chat->phase != CHAT_DONE) {
        name_denial(chat->request, &admission->scopes[result->denied_scope], result->denied_by, never);
        add_calendar_headers(chat->request, admission, result);
    }
    if (never)
        say_never(chat, admission, result, output, error.message, sizeof error.message);
    else if (!chat->plan.strict)
        say_denied(chat, admission, result, output, error.message, sizeof error.message);
    return error;
}
