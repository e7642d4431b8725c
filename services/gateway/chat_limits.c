/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* What a chat may use and what it has used: admission, headers, refusals, charging, settlement. */
#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "base/text.h"
#include "services/gateway/ahead.h"
#include "services/gateway/chat.h"
#include "services/gateway/outage.h"
#include "store/settlements.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whoever was denied, or has used up a limit, is looked at before a worker is asked, for so long. */
static const int64_t DENIED_NS = NS_PER_S;
/* Where more than a quarter of a limit is used, tokens are counted before the limits are asked, for so long. */
static const int64_t COUNTED_NS = NS_PER_S;

/* ---- headers ------------------------------------------------------------------------------------------------------- */

static void add_room(struct request *request, const char *limit_name, const char *remaining_name,
                     const char *limit_name_openai, const char *remaining_name_openai, struct limits_room room) {
    char text[TEXT_I64_BYTES];
    if (room.limit == LIMITS_ABSENT) return;
    text_from_i64(room.limit, text);
    request->front->header(request, limit_name, text);
    request->front->header(request, limit_name_openai, text);
    text_from_i64(room.remaining > 0 ? room.remaining : 0, text);
    request->front->header(request, remaining_name, text);
    request->front->header(request, remaining_name_openai, text);
}

/** `cost`: tokens; 0: not known yet. */
static void add_limit_headers(struct chat *chat, struct limits_room requests, struct limits_room tokens, int64_t cost) {
    char text[TEXT_I64_BYTES];
    add_room(chat->request, "x-ratelimit-limit-req-minute", "x-ratelimit-remaining-req-minute",
             "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", requests);
    add_room(chat->request, "x-ratelimit-limit-tokens-minute", "x-ratelimit-remaining-tokens-minute",
             "x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", tokens);
    if (cost == 0) return;
    text_from_i64(cost, text);
    chat->request->front->header(chat->request, "x-ratelimit-tokens-query-cost", text);
}

/* ---- what is asked for --------------------------------------------------------------------------------------------- */

/** All answers together. */
static int64_t output_most_locked(const struct chat *chat) {
    int64_t total = 0;
    for (int i = 0; i < chat->choice_count; i++) total += chat->choices[i].max_tokens;
    return total;
}

/** Who does not say how much may be generated takes what there is, if that is a token for each answer. */
static int64_t output_least_locked(const struct chat *chat) {
    int64_t most = output_most_locked(chat);
    return chat->plan.max_tokens_given || most < chat->choice_count ? most : chat->choice_count;
}

static struct limits_admission admission_of(struct chat *chat, struct limits_scope scopes[LIMITS_SCOPES_MAX]) {
    const struct key_info *key = chat->request->key;
    const model_description *model = chat->worker->announcement->model;
    return (struct limits_admission){.subject = {.organization = key->organization,
                                                 .workspace = key->workspace,
                                                 .key = key->prefix,
                                                 .model = model->name,
                                                 .request_id = chat->request->id,
                                                 .endpoint = "chat"},
                                     .lease = chat->lease,
                                     .price = key_info_price(key, model),
                                     .gate = key->gate,
                                     .scope_count = key_info_scopes(key, model, scopes),
                                     .scopes = scopes,
                                     .answers = chat->plan.streams};
}

/** Share out what the limits gave. The answers' bound where that is less than the worker named, else 0. */
static int64_t share_locked(struct chat *chat, int64_t held) {
    int64_t each = held / chat->choice_count, bound = 0;
    for (int i = 0; i < chat->choice_count; i++) {
        if (each < chat->choices[i].max_tokens) chat->choices[i].max_tokens = bound = each;
    }
    return bound;
}

/* ---- admission ----------------------------------------------------------------------------------------------------- */

/** An admission on its way. */
struct admitting {
    struct chat *chat;
    struct limits_scope scopes[LIMITS_SCOPES_MAX];
    struct limits_admission admission;
};

static void note_denied(const struct chat *chat) {
    atomic_store(&chat->request->key->denied_until_ns, clock_monotonic_ns(clock_system()) + DENIED_NS);
}

/** Nothing is left of some limit: whoever comes next is probably denied. */
static void note_room(const struct chat *chat, const struct limits_result *result) {
    for (int kind = 0; kind < LIMITS_KINDS; kind++) {
        if (result->room[kind].limit == LIMITS_ABSENT || result->room[kind].remaining > 0) continue;
        note_denied(chat);
        return;
    }
}

/** Redis did not say: the configured choice. True when the chat may go on all the same. */
static bool passes_outage_locked(struct chat *chat, struct limits_admission *admission, enum status status,
                                 const char *message, struct limits_result *out) {
    log_warn("the limits cannot be checked", LOG_S("request_id", chat->request->id),
             LOG_S("status", status_name(status)), LOG_S("error", message));
    if (status != STATUS_UNAVAILABLE && status != STATUS_DEADLINE_EXCEEDED)
        return false; /* a mistake of ours is no outage */
    if (!outage_admit(chat->gateway->outage, admission, &out->output_held)) return false;
    out->outcome = LIMITS_ADMITTED;
    chat->admitted_without_redis = true;
    for (int kind = 0; kind < LIMITS_KINDS; kind++)
        out->room[kind] = (struct limits_room){LIMITS_ABSENT, LIMITS_ABSENT};
    return true;
}

/** Do the limits let the chat go on? If not, it was failed. `result` NULL: nobody knows. */
static bool passes_locked(struct chat *chat, const struct limits_admission *admission,
                          const struct limits_result *result) {
    struct api_error error;
    if (result == NULL) {
        error = api_error_unavailable("The limits of this key cannot be checked right now.");
    } else if (result->outcome == LIMITS_ADMITTED) {
        chat->request->key_stands = true;
        note_room(chat, result);
        return true;
    } else if (result->outcome == LIMITS_KEY_CLOSED) {
        authenticate_forget(chat->gateway, chat->request->key->prefix);
        error = api_error_unauthorized();
    } else {
        chat->request->key_stands = true;
        note_denied(chat);
        if (chat->phase != CHAT_DONE)
            add_limit_headers(chat, result->room[LIMITS_REQUESTS_PER_MINUTE], result->room[LIMITS_TOKENS_PER_MINUTE],
                              admission->peek ? 0 : admission->input + output_least_locked(chat));
        error = chat_denied_error(chat, admission, result, output_least_locked(chat));
    }
    chat_fail_locked(chat, &error);
    return false;
}

void chat_leave_estimates_locked(struct chat *chat) {
    if (!chat->estimated) return;
    *(chat->previous_estimate != NULL ? &chat->previous_estimate->next_estimate : &chat->gateway->estimates) =
        chat->next_estimate;
    if (chat->next_estimate != NULL) chat->next_estimate->previous_estimate = chat->previous_estimate;
    chat->previous_estimate = chat->next_estimate = NULL;
    chat->estimated = false;
}

/** What is held too much keeps others out where there is little room: the limits hear what the organisation's estimates (NULL: all) came to, of which that is
 *  known by now. How many. */
static int correct_estimates(struct gateway *gateway, const char *organization) {
    int count = 0;
    pthread_mutex_lock(&gateway->chats_mutex);
    for (struct chat *chat = gateway->estimates, *next; chat != NULL; chat = next) {
        const char *its = chat->request->key->organization;
        next = chat->next_estimate;
        if (organization != NULL && strcmp(its, organization) != 0) continue;
        if (pthread_mutex_trylock(&chat->mutex) != 0) continue; /* another time */
        if (chat->phase == CHAT_GENERATING) {
            struct limits_usage usage = chat_usage_locked(chat);
            settlements_charge(gateway->settlements, its, chat->lease, &usage);
            chat_leave_estimates_locked(chat);
            count++;
        }
        pthread_mutex_unlock(&chat->mutex);
    }
    pthread_mutex_unlock(&gateway->chats_mutex);
    return count;
}

static bool is_in(const struct chat *chat, const struct chat *other, char place) {
    const struct key_info *key = chat->request->key, *its = other->request->key;
    if (place == 'k') return strcmp(key->prefix, its->prefix) == 0;
    return strcmp(place == 'w' ? key->workspace : key->organization,
                  place == 'w' ? its->workspace : its->organization) == 0;
}

enum second_look { NO_LOOK, LOOK_NOW, LOOK_LATER };

/** Denied where something is held for requests that may never come: it goes back first. Once, as others ask for more. */
static enum second_look free_ahead(struct chat *chat, const struct limits_scope *scope) {
    struct ahead *ahead = chat->gateway->ahead;
    const struct key_info *key = chat->request->key;
    int asked = 0, count = 0;
    if (chat->freed_ahead) return NO_LOOK;
    chat->freed_ahead = true;
    if (scope->name[0] == 'k')
        count = ahead_yield(ahead, KEY_CHANGE_KEY, key->prefix, &asked);
    else if (scope->name[0] == 'w')
        count = ahead_yield(ahead, KEY_CHANGE_WORKSPACE, key->workspace, &asked);
    else
        count = ahead_yield(ahead, KEY_CHANGE_ORGANIZATION, key->organization, &asked);
    return asked > 0 ? LOOK_LATER : count > 0 ? LOOK_NOW : NO_LOOK;
}

/** Denied by a limit to which corrections give something back. Were there some, what it asks next finds it; where others hold too much there of which
 *  nobody knows yet how much, it is known a little later. */
static enum second_look is_worth_another_look(struct chat *chat, const struct limits_admission *admission,
                                              enum status status, const struct limits_result *result) {
    if (status != STATUS_OK || result->outcome != LIMITS_DENIED) return NO_LOOK;
    enum second_look look = free_ahead(chat, &admission->scopes[result->denied_scope]);
    if (look != NO_LOOK) return look;
    if (result->denied_by < LIMITS_INPUT_PER_MINUTE || result->denied_by == LIMITS_STREAMS) return NO_LOOK;
    if (correct_estimates(chat->gateway, chat->request->key->organization) > 0) return LOOK_NOW;
    bool held = false;
    pthread_mutex_lock(&chat->gateway->chats_mutex);
    for (const struct chat *other = chat->gateway->estimates; other != NULL && !held; other = other->next_estimate)
        held = is_in(chat, other, admission->scopes[result->denied_scope].name[0]);
    pthread_mutex_unlock(&chat->gateway->chats_mutex);
    return held ? LOOK_LATER : NO_LOOK;
}

/** Until the next tick. The caller's references are its. */
static void park(struct chat *chat) {
    struct gateway *gateway = chat->gateway;
    pthread_mutex_lock(&gateway->chats_mutex);
    chat->next_parked = gateway->parked;
    gateway->parked = chat;
    pthread_mutex_unlock(&gateway->chats_mutex);
}

/** From the first denial on, a tick's length and a little more. */
static bool may_wait_locked(struct chat *chat) {
    int64_t now_ns = clock_monotonic_ns(clock_system());
    if (chat->parked_ns == 0) chat->parked_ns = now_ns;
    return now_ns - chat->parked_ns < 250 * (int64_t)NS_PER_MS;
}

static void look_again(struct gateway *gateway) {
    pthread_mutex_lock(&gateway->chats_mutex);
    struct chat *parked = gateway->parked;
    gateway->parked = NULL;
    pthread_mutex_unlock(&gateway->chats_mutex);
    for (struct chat *next; parked != NULL; parked = next) {
        next = parked->next_parked;
        chat_admit(parked);
        chat_let_go(parked);
    }
}

static void on_peeked(void *context, enum status status, const struct limits_result *result, const char *message) {
    struct admitting *admitting = context;
    struct chat *chat = admitting->chat;
    /* The admission decides where nobody knows. */
    bool unknown = status != STATUS_OK || is_worth_another_look(chat, &admitting->admission, status, result) != NO_LOOK;
    pthread_mutex_lock(&chat->mutex);
    if (status != STATUS_OK)
        log_warn("the limits cannot be looked at", LOG_S("request_id", chat->request->id), LOG_S("error", message));
    if ((unknown || passes_locked(chat, &admitting->admission, result)) && chat->phase == CHAT_PEEKING)
        chat_open_streams_locked(chat);
    pthread_mutex_unlock(&chat->mutex);
    chat_let_go(chat);
    free(admitting);
}

static void on_admitted(void *context, enum status status, const struct limits_result *result, const char *message) {
    struct admitting *admitting = context;
    struct chat *chat = admitting->chat;
    struct limits_result local = {0};
    enum second_look look = is_worth_another_look(chat, &admitting->admission, status, result);
    pthread_mutex_lock(&chat->mutex);
    if (chat->phase == CHAT_ADMITTING && (look == LOOK_NOW || (look == LOOK_LATER && may_wait_locked(chat)))) {
        chat->admitting = false;
        pthread_mutex_unlock(&chat->mutex);
        free(admitting);
        if (look == LOOK_LATER) {
            park(chat);
            return;
        }
        chat_admit(chat);
        chat_let_go(chat);
        return;
    }
    if (status != STATUS_OK)
        result = passes_outage_locked(chat, &admitting->admission, status, message, &local) ? &local : NULL;
    chat->admitting = false;
    /* An answer that was lost may have left a lease: it is given back like one that was denied work. */
    chat->leased = result == NULL || result->outcome == LIMITS_ADMITTED;
    chat->gathers = result != NULL && limits_leaves_plenty(&admitting->admission, result);
    if (!passes_locked(chat, &admitting->admission, result) || chat->phase != CHAT_ADMITTING) {
        /* It was failed, or the client has left. */
    } else if (chat->refusal != NULL) {
        chat_fail_locked(chat, chat->refusal);
    } else {
        add_limit_headers(chat, result->room[LIMITS_REQUESTS_PER_MINUTE], result->room[LIMITS_TOKENS_PER_MINUTE],
                          chat->choices[0].prompt_tokens + result->output_held);
        chat_proceed_locked(chat, share_locked(chat, result->output_held));
    }
    chat_settle_locked(chat); /* where the client left meanwhile, or nobody may go on */
    pthread_mutex_unlock(&chat->mutex);
    chat_let_go(chat);
    free(admitting);
}

static struct admitting *admitting_create(struct chat *chat) {
    struct admitting *admitting = calloc(1, sizeof *admitting);
    if (admitting == NULL) return NULL;
    admitting->chat = chat;
    admitting->admission = admission_of(chat, admitting->scopes);
    chat_ref(chat);
    request_ref(chat->request);
    return admitting;
}

static void fail_for_memory(struct chat *chat) {
    struct api_error error = api_error_unavailable("Out of memory.");
    pthread_mutex_lock(&chat->mutex);
    chat_fail_locked(chat, &error);
    pthread_mutex_unlock(&chat->mutex);
}

bool chat_looks_denied(const struct chat *chat) {
    struct limits_scope scopes[LIMITS_SCOPES_MAX];
    if (atomic_load(&chat->request->key->denied_until_ns) > clock_monotonic_ns(clock_system())) return true;
    int count = key_info_scopes(chat->request->key, chat->worker->announcement->model, scopes);
    for (int i = 0; i < count * LIMITS_KINDS; i++) {
        if (scopes[i / LIMITS_KINDS].bounds.of[i % LIMITS_KINDS] == 0) return true;
    }
    return false;
}

void chat_peek(struct chat *chat) {
    struct admitting *admitting = admitting_create(chat);
    if (admitting == NULL) {
        fail_for_memory(chat);
        return;
    }
    bool none = chat->plan.max_tokens_given && chat->plan.start->max_tokens == 0;
    admitting->admission.peek = true;
    admitting->admission.input = 1; /* a prompt has a token at least */
    admitting->admission.output = none ? 0 : chat->choice_count;
    settlements_admit(chat->gateway->settlements, &admitting->admission, on_peeked, admitting);
}

void chat_admit(struct chat *chat) {
    struct admitting *admitting = admitting_create(chat);
    if (admitting == NULL) {
        fail_for_memory(chat);
        return;
    }
    pthread_mutex_lock(&chat->mutex);
    bool wanted = chat->phase == CHAT_ADMITTING;
    if (wanted) chat->admitting = true;
    if (wanted && chat->refusal == NULL) { /* a refused one is counted, without tokens */
        admitting->admission.input = chat->choices[0].prompt_tokens;
        admitting->admission.output = output_most_locked(chat);
        admitting->admission.output_optional = admitting->admission.output - output_least_locked(chat);
    }
    pthread_mutex_unlock(&chat->mutex);
    if (wanted) {
        settlements_admit(chat->gateway->settlements, &admitting->admission, on_admitted, admitting);
        return;
    }
    chat_let_go(chat);
    free(admitting);
}

/* ---- charging and settlement --------------------------------------------------------------------------------------- */

struct limits_usage chat_usage_locked(const struct chat *chat) {
    struct limits_usage usage = {0};
    if (chat->proceeded_ns == 0) return usage;
    for (int i = 0; i < chat->choice_count; i++) usage.output += chat->choices[i].completion_tokens;
    /* A refusal costs nothing, but for what other answers were given until they heard of it. */
    if (chat->refused && usage.output == 0) return usage;
    usage.input = chat->choices[0].prompt_tokens; /* counted once, however many answers */
    usage.cached_input = chat->choices[0].cached_tokens;
    return usage;
}

/** Redis was away: it hears of the request, and what it has cost, when it is back. */
static void record(struct chat *chat, const struct limits_usage *usage) {
    struct limits_scope scopes[LIMITS_SCOPES_MAX];
    struct limits_admission admission = admission_of(chat, scopes);
    settlements_record(chat->gateway->settlements, &admission, usage);
}

/** The limits know what its input came to, or need not. */
static void forget_estimate(struct chat *chat) {
    pthread_mutex_lock(&chat->gateway->chats_mutex);
    chat_leave_estimates_locked(chat);
    pthread_mutex_unlock(&chat->gateway->chats_mutex);
}

/** What was known of the room when a long answer began says nothing about its end; and of long ones there are not many. */
static bool may_gather_locked(const struct chat *chat) {
    bool is_short =
        chat->proceeded_ns == 0 || clock_monotonic_ns(clock_system()) - chat->proceeded_ns < (int64_t)NS_PER_S;
    return chat->gathers && is_short;
}

/** When all is over: nothing is under way at a worker or at the limits any more. */
void chat_settle_locked(struct chat *chat) {
    if (chat->phase != CHAT_DONE || chat->admitting || chat->settled) return;
    for (int i = 0; i < chat->choice_count; i++) {
        if (chat->choices[i].generation != NULL) return;
    }
    chat->settled = true;
    struct limits_usage usage = chat_usage_locked(chat);
    if (usage.input > 0) {
        metric_add(chat->gateway->tokens, (double)usage.input, chat->request->model, "prompt");
        metric_add(chat->gateway->tokens, (double)usage.output, chat->request->model, "completion");
    }
    usage.provisional = chat->provisional;
    usage.unused = chat->estimate.input > 0 && !chat->estimate.counts;
    if (chat->estimate.input > 0) forget_estimate(chat);
    if (chat->admitted_without_redis)
        record(chat, &usage);
    else if (chat->leased && may_gather_locked(chat))
        settlements_settle(chat->gateway->settlements, chat->request->key->organization, chat->lease, &usage);
    else if (chat->leased)
        settlements_settle_now(chat->gateway->settlements, chat->request->key->organization, chat->lease, &usage);
}

/** Three quarters of it to all of it, by the lease: what began together does not stay in step. */
static int64_t spread(const struct chat *chat, int64_t ns) {
    unsigned digits = 0;
    (void)sscanf(chat->lease, "%2x", &digits);
    return ns - ns / 4 * digits / 256;
}

/** Is it time to charge what was generated, or to say that the lease lives? Then `usage` is what to charge. */
static bool is_charged_locked(struct chat *chat, int64_t now_ns, struct limits_usage *usage) {
    static const int64_t charge_ns = 2 * NS_PER_S, renew_ns = INT64_C(1) * LIMITS_LEASE_MS * NS_PER_MS / 3;
    if (!chat->leased || chat->admitted_without_redis || chat->settled || chat->proceeded_ns == 0) return false;
    if (chat->charged_ns == 0) chat->charged_ns = chat->proceeded_ns;
    *usage = chat_usage_locked(chat);
    int64_t since_ns = now_ns - chat->charged_ns;
    if (since_ns < charge_ns / 4 * 3) return false; /* spread gives no less: most end here, at each tick */
    if (since_ns < spread(chat, charge_ns) ||
        (usage->output == chat->charged_output && since_ns < spread(chat, renew_ns)))
        return false;
    chat->charged_ns = now_ns;
    chat->charged_output = usage->output;
    return true;
}

void chats_charge(struct gateway *gateway) {
    int64_t now_ns = clock_monotonic_ns(clock_system());
    (void)correct_estimates(gateway, NULL);
    look_again(gateway);
    pthread_mutex_lock(&gateway->chats_mutex);
    for (struct chat *chat = gateway->chats; chat != NULL; chat = chat->next) {
        struct limits_usage usage;
        /* Whoever holds it may be about to take the list's; it is charged the next time. A chat that is being freed is settled. */
        if (pthread_mutex_trylock(&chat->mutex) != 0) continue;
        if (is_charged_locked(chat, now_ns, &usage))
            settlements_charge(gateway->settlements, chat->request->key->organization, chat->lease, &usage);
        pthread_mutex_unlock(&chat->mutex);
    }
    pthread_mutex_unlock(&gateway->chats_mutex);
}

/* ---- admission by upper bounds -------------------------------------------------------------------------------------- */

static void join_estimates(struct chat *chat) {
    struct gateway *gateway = chat->gateway;
    pthread_mutex_lock(&gateway->chats_mutex);
    chat->estimated = true;
    chat->next_estimate = gateway->estimates;
    if (chat->next_estimate != NULL) chat->next_estimate->previous_estimate = chat;
    gateway->estimates = chat;
    pthread_mutex_unlock(&gateway->chats_mutex);
}

/** Tokens of this key's requests are counted first for a while. False: they are already. */
static bool count_from_now(struct key_info *key) {
    int64_t now_ns = clock_monotonic_ns(clock_system());
    return atomic_exchange(&key->counted_until_ns, now_ns + COUNTED_NS) <= now_ns;
}

/** Its answer was lost, and there may be a lease. What becomes of the chat is decided when its tokens have been counted. */
static void lose_estimate_locked(struct chat *chat, const char *message) {
    const struct limits_usage nothing = {.unused = true};
    log_warn("the limits cannot be asked ahead", LOG_S("request_id", chat->request->id), LOG_S("error", message));
    settlements_settle(chat->gateway->settlements, chat->request->key->organization, chat->lease, &nothing);
}

static void on_estimated(void *context, enum status status, const struct limits_result *result, const char *message) {
    struct admitting *admitting = context;
    struct chat *chat = admitting->chat;
    bool scarce = false, first = false;
    pthread_mutex_lock(&chat->mutex);
    chat->admitting = false;
    if (status != STATUS_OK || result->outcome == LIMITS_SCARCE) {
        scarce = true;
        first = count_from_now(chat->request->key);
        if (status != STATUS_OK) lose_estimate_locked(chat, message);
        chat->estimate.input = 0;
        if (chat->phase == CHAT_ESTIMATING) chat_open_streams_locked(chat);
    } else {
        chat->leased = result->outcome == LIMITS_ADMITTED;
        chat->gathers = limits_leaves_plenty(&admitting->admission, result);
        if (passes_locked(chat, &admitting->admission, result) && chat->phase == CHAT_ESTIMATING) {
            chat->estimate.requests = result->room[LIMITS_REQUESTS_PER_MINUTE];
            chat->estimate.tokens = result->room[LIMITS_TOKENS_PER_MINUTE];
            join_estimates(chat);
            chat_open_streams_locked(chat);
        }
    }
    chat_settle_locked(chat);
    pthread_mutex_unlock(&chat->mutex);
    if (first)
        (void)correct_estimates(chat->gateway, chat->request->key->organization);
    else if (!scarce)
        settlements_pass_on(chat->gateway->settlements, chat->request->key->organization);
    chat_let_go(chat);
    free(admitting);
}

/** It was admitted before it came. False: it was not. */
static bool use_ahead(struct chat *chat, const struct chat_estimate *estimate) {
    struct ahead_lease ahead;
    struct request *request = chat->request;
    bool used = false;
    if (!ahead_take(chat->gateway->ahead, request->key, request->model, estimate->input, estimate->output, &ahead))
        return false;
    pthread_mutex_lock(&chat->mutex);
    if (chat->phase == CHAT_PEEKING && request_rename(request, ahead.request_id)) {
        memcpy(chat->lease, ahead.lease, sizeof chat->lease);
        chat->leased = true;
        chat->gathers = ahead.plenty;
        chat->estimate = (struct chat_estimate){.input = ahead.input,
                                                .output = ahead.output,
                                                .needs_input = estimate->input,
                                                .needs_output = estimate->output,
                                                .requests = ahead.requests,
                                                .tokens = ahead.tokens};
        chat->phase = CHAT_ESTIMATING;
        ahead_use(chat->gateway->ahead);
        join_estimates(chat);
        chat_open_streams_locked(chat);
        chat_settle_locked(chat);
        used = true;
    } else { /* its client has left */
        ahead_return(chat->gateway->ahead, request->key, &ahead);
    }
    pthread_mutex_unlock(&chat->mutex);
    return used;
}

/** By asking Redis now. */
static void ask_for_estimate(struct chat *chat, const struct chat_estimate *estimate) {
    struct admitting *admitting = admitting_create(chat);
    if (admitting == NULL) {
        fail_for_memory(chat);
        return;
    }
    admitting->admission.estimate = true;
    admitting->admission.input = estimate->input;
    admitting->admission.output = estimate->output;
    pthread_mutex_lock(&chat->mutex);
    bool wanted = chat->phase == CHAT_PEEKING;
    if (wanted) {
        chat->phase = CHAT_ESTIMATING;
        chat->estimate = *estimate;
        chat->admitting = true;
        random_hex_id(chat->lease, LIMITS_LEASE_ID_BYTES);
    }
    pthread_mutex_unlock(&chat->mutex);
    if (wanted) {
        settlements_admit(chat->gateway->settlements, &admitting->admission, on_estimated, admitting);
        return;
    }
    chat_let_go(chat);
    free(admitting);
}

void chat_admit_estimate(struct chat *chat, const struct chat_estimate *estimate) {
    if (!use_ahead(chat, estimate)) ask_for_estimate(chat, estimate);
}

bool chat_confirm_estimate_locked(struct chat *chat) {
    struct chat_estimate *estimate = &chat->estimate;
    struct chat_choice *choice = &chat->choices[0];
    if (choice->prompt_tokens > estimate->input || choice->max_tokens > estimate->output) {
        log_error("a worker counts more tokens than it has said there can be", LOG_S("request_id", chat->request->id),
                  LOG_S("model", chat->request->model), LOG_I("tokens", choice->prompt_tokens),
                  LOG_I("bound", estimate->input));
        struct api_error error =
            api_error_make(500, STATUS_INTERNAL, "server_error", NULL, "The model failed to answer.");
        chat_fail_locked(chat, &error);
        return false;
    }
    estimate->counts = true;
    if (estimate->tokens.limit != LIMITS_ABSENT)
        estimate->tokens.remaining += estimate->input - choice->prompt_tokens + estimate->output - choice->max_tokens;
    add_limit_headers(chat, estimate->requests, estimate->tokens, choice->prompt_tokens + choice->max_tokens);
    /* Not earlier: Redis would want a processor just when its worker does. */
    ahead_note(chat->gateway->ahead, chat->request->key, chat->worker->announcement->model, estimate->needs_input,
               estimate->needs_output);
    return true;
}

void chat_drop_estimate_locked(struct chat *chat) {
    const struct limits_usage nothing = {.unused = true};
    if (chat->estimate.input == 0) return;
    forget_estimate(chat);
    settlements_settle_now(chat->gateway->settlements, chat->request->key->organization, chat->lease, &nothing);
    chat->estimate.input = chat->proceeded_ns = 0;
    chat->leased = chat->provisional = false;
}
