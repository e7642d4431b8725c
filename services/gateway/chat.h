/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * One chat completion on its way: worker, limits, stream, settlement.
 *
 *     chat_start ─> choose a worker
 *         ESTIMATING   where there is plenty of room (chat_estimate): the limits take the request by an upper bound of its tokens, and
 *                      the worker goes on by itself behind PREPARING. Else:
 *         PEEKING      whoever was denied a moment ago: a look whether a token is left, before a worker counts for nothing
 *         PREPARING    a generation for each choice says how many tokens its prompt has and how many it may generate
 *         ADMITTING    one function call takes the request and the worst case of tokens; without max_tokens, what there is of it
 *         GENERATING   Proceed; deltas go to the front as they come, no faster than it takes them
 *         DONE         what was reserved and not used goes back
 *
 * With best_of there are more choices than answers: the whole answer has the best of them. A beam search is one stream whose events say
 * which of the choices they belong to.
 *
 * chat_cancel (the client left) ends it from any phase: the worker frees the slot within one step. A worker that dies while a single
 * stream is PREPARING is replaced once by another one of the same model, if there is one; later, its death is a 503 or a terminal event.
 */
#ifndef SERVICES_GATEWAY_CHAT_H
#define SERVICES_GATEWAY_CHAT_H

#include "bora/internal/v1/worker.pb-c.h"
#include "bora/v1/chat.pb-c.h"
#include "services/gateway/generation.h"
#include "services/gateway/request.h"
#include "services/gateway/workers.h"
#include "store/limits.h"

#include <string.h>

enum chat_phase { CHAT_PEEKING, CHAT_ESTIMATING, CHAT_PREPARING, CHAT_ADMITTING, CHAT_GENERATING, CHAT_DONE };

/** What the checks find out about a request, besides that it is sound. */
struct chat_plan {
    const Bora__V1__ChatCompletionRequest *request;
    bool stream;
    bool usage_chunk; /* OpenAI's stream_options.include_usage: usage in a chunk of its own */
    int answers;      /* n */
    int choices;      /* candidates: best_of where that is more */
    int streams;      /* generations: one for each choice, but a beam search's answers all come on one */
    bool max_tokens_given;
    uint64_t seed;
    const char *prefix; /* the assistant text that the answer continues, or NULL */
    bool logprobs;
    bool strict;
    /* The worker's Start without model, seed and tenant, which are filled per stream. NULL, like the request and the prefix, once a stream is
     * under way on every choice. */
    Bora__Internal__V1__Start *start;
    const char *costly_param; /* then: chat_format_costly_param */
};

/** A 400 that names the field: false, and the error. */
static inline bool chat_refuse(struct api_error *error, const char *param, const char *sentence) {
    *error = api_error_bad_request("invalid_request_error", NULL, param, "%s", sentence);
    return false;
}
/** Of a field that may be absent, which is protobuf-c's empty string. */
static inline bool chat_is_word(const char *word, const char *wanted) {
    return word != NULL && strcmp(word, wanted) == 0;
}

/** Check the conversation and translate it. False: `error` says why. `plan` lends from the request and its arena. */
bool chat_check(struct request *request, const Bora__V1__ChatCompletionRequest *message, bool stream,
                struct chat_plan *plan, struct api_error *error);

/** The same for what depends on the worker that was chosen: token ids inside its vocabulary, no more streams than it ever takes. */
bool chat_check_model(struct request *request, const Bora__V1__ChatCompletionRequest *message,
                      const Bora__Internal__V1__WorkerAnnouncement *worker, int streams, struct api_error *error);

/* chat_format.c */
/** response_format becomes the Start's grammar. */
bool chat_convert_format(struct request *request, struct chat_plan *plan, struct api_error *error);
/** A grammar that the worker declined, as the client sees it. */
struct api_error chat_format_error(const struct chat_plan *plan, const Bora__Internal__V1__GrammarProblem *problem);
/** What of the request is at fault when ... */
const char *chat_format_costly_param(const struct chat_plan *plan);
/** ... its grammar cost too much while the answer was made. */
struct api_error chat_format_costly(const struct chat_plan *plan, const char *reason);

/* chat_tools.c */
/** tools and tool_choice become the Start's; behind sampling. */
bool chat_convert_tools(struct request *request, struct chat_plan *plan, struct api_error *error);
/** May the answer hold calls? */
bool chat_may_call(const Bora__Internal__V1__Start *start);
/** The calls of an assistant message, number `index` of the conversation. */
bool chat_convert_calls(const Bora__V1__AssistantMessage *message, size_t index, bool strict, struct arena *arena,
                        Bora__Internal__V1__ConversationMessage *out, struct api_error *error);
/** Every result answers a call of the assistant message before, and every call has one. `messages`: as converted, in the request's order. */
bool chat_pair_results(const Bora__V1__ChatCompletionRequest *message,
                       Bora__Internal__V1__ConversationMessage *messages, struct arena *arena, struct api_error *error);
/** A tool that the worker declined, as the client sees it: 422. */
struct api_error chat_tool_error(const struct chat_plan *plan, int32_t tool,
                                 const Bora__Internal__V1__GrammarProblem *problem, struct arena *arena);

struct chat_choice {
    struct chat *chat;
    int index;
    struct generation *generation; /* NULL before it starts and after it ended */
    bool prepared, finished, role_sent, held;
    int64_t prompt_tokens, max_tokens, completion_tokens, cached_tokens;
    int64_t dropped_messages, dropped_tokens; /* by truncation */
    Bora__Internal__V1__Finished__Reason reason;
    double logprob_sum; /* best_of: of the tokens so far */
    int64_t logprob_tokens;
    bool failed;          /* a piece of the answer did not fit */
    struct bytes text;    /* not streaming: the answer so far */
    struct bytes thought; /* likewise */
    size_t call_count, call_capacity;
    Bora__V1__ToolCall **calls; /* not streaming: collected */
    size_t logprob_count;       /* not streaming: collected */
    Bora__V1__TokenLogprob **logprobs;
    size_t logprob_capacity;
};

/** What the limits have let pass before a worker has counted. */
struct chat_estimate {
    int64_t input, output; /* upper bounds; input 0: there is none, the limits are asked with exact numbers */
    int64_t needs_input, needs_output; /* of which so much are its own */
    bool counts; /* as a request: a worker has taken it, or its client has left. Else nothing was made of it */
    struct limits_room requests, tokens; /* a minute's, for the headers */
};

struct chat {
    struct gateway *gateway;
    struct request *request; /* referenced */
    atomic_int references;
    struct chat *previous, *next;                   /* in the gateway's list; its mutex */
    struct chat *previous_estimate, *next_estimate; /* in its other one, while `estimated`; likewise */
    bool estimated;
    struct chat *next_parked; /* denied, and to be asked for once more; likewise */
    bool ended;               /* chats_end has been there; likewise */
    uint64_t change_seen;     /* the last pass of chats_end_of that has been there; likewise */
    int64_t expires_at;       /* its key's end, in Unix seconds, as far as is known; 0: never; likewise */
    bool expiry_unsure;       /* the key has changed, and what became of its end was not heard yet; likewise */
    struct chat_plan plan;
    struct worker *worker;
    int64_t created;
    pthread_mutex_t mutex; /* guards what follows */
    enum chat_phase phase;
    int attempts;
    bool sent;    /* something of the answer has gone to the client */
    bool refused; /* by the worker, before any of the answers had begun */
    struct api_error *
        refusal; /* why the worker does not take it, in the request's arena: the client's answer once the limits have counted it */
    char lease[LIMITS_LEASE_ID_BYTES + 1];
    int64_t parked_ns;           /* first; 0: never */
    bool freed_ahead;            /* denied, and what was held there for others to come was given back, once */
    bool admitting;              /* the limits are being asked */
    bool leased;                 /* there may be a lease, which has to be settled */
    bool admitted_without_redis; /* by the configured choice: the lease was never made */
    bool provisional; /* a link broke while something was generated: the worker knows better what it has cost */
    bool gathers;     /* its settlement may wait for others: there is plenty of room */
    bool settled;
    int64_t charged_ns, charged_output;
    int64_t proceeded_ns;
    struct chat_estimate estimate;
    struct arena scratch; /* of one event */
    struct arena answer;  /* log-probabilities kept until the end */
    int choice_count;     /* plan.choices */
    struct chat_choice choices[];
};

void chat_start(struct request *request, const struct chat_plan *plan);
void chat_ref(struct chat *chat);
void chat_unref(struct chat *chat);
void chat_cancel(struct chat *chat);
void chat_writable(struct chat *chat);
/** The gateway's time is over: every chat that runs ends now, with an error event or 503. */
void chats_end(struct gateway *gateway);
/** End those of keys that have expired; several times a second. */
void chats_end_expired(struct gateway *gateway);
/** End those of the keys that a change is about, if their gates are shut; else learn when they expire now. */
void chats_end_of(struct gateway *gateway, enum key_change change, const char *id);
/** Charge what was generated since the last time, and keep leases alive; several times a second. */
void chats_charge(struct gateway *gateway);
/** How many there are. */
int chats_count(struct gateway *gateway);

/* chat.c, for chat_limits.c; the chat's mutex is held, but for the last */
void chat_fail_locked(struct chat *chat, const struct api_error *error);
void chat_open_streams_locked(struct chat *chat);
void chat_proceed_locked(struct chat *chat, int64_t max_tokens);
void chat_let_go(struct chat *chat);

/* chat_denied.c */
/** 429: which limit it was, what is left of it, and when another try may pass; also in headers. `output`: the least that the request has to be given. The
 *  chat's mutex is held. */
struct api_error chat_denied_error(const struct chat *chat, const struct limits_admission *admission,
                                   const struct limits_result *result, int64_t output);

/* chat_limits.c */
/** By limits: it was a moment ago, or nothing is left, or nothing may pass at all. */
bool chat_looks_denied(const struct chat *chat);
/** Only a look; then the streams are opened. Called without the mutex, as the answer may come before this returns; likewise chat_admit. */
void chat_peek(struct chat *chat);
void chat_admit(struct chat *chat);
/** By upper bounds, before a worker is asked: before it came, if it was, else now. */
void chat_admit_estimate(struct chat *chat, const struct chat_estimate *estimate);
/** The worker of one that was admitted so has counted. False: more than the bound; it was failed. */
bool chat_confirm_estimate_locked(struct chat *chat);
/** Another worker is asked, with a lease of its own: nothing has come of this one. Should its worker have begun all the same, it reports that itself. */
void chat_drop_estimate_locked(struct chat *chat);
/** So far. */
struct limits_usage chat_usage_locked(const struct chat *chat);
/** Whoever ends something calls it; the last one settles. */
void chat_settle_locked(struct chat *chat);
/** The mutex of the gateway's lists is held. */
void chat_leave_estimates_locked(struct chat *chat);

/* chat_estimate.c */
/** May it be admitted by upper bounds? A plain chat, on a worker with places left that says how many tokens a prompt has at most, of a key whose
 *  limits had plenty of room the last time. With max_tokens: without them an answer may have whatever the limits have left. */
bool chat_estimate(const struct chat *chat, struct chat_estimate *out);

/* chat_answer.c; the chat's mutex is held */
void chat_send_delta(struct chat *chat, struct chat_choice *choice, const Bora__Internal__V1__Delta *delta);
void chat_send_finish(struct chat *chat, struct chat_choice *choice, bool last);
/** Not streaming: the whole answer. */
void chat_send_answer(struct chat *chat);
/** Streaming, after something was sent: a terminal chunk with finish_reason "error". */
void chat_send_broken(struct chat *chat, const struct api_error *error);

#endif
