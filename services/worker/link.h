/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * A gateway's link: one Link call with any number of generations on it (proto/bora/internal/v1/worker.proto).
 *
 *     commands ─> link.c: whose?  ─> answering.c: from Start to the last event ─> link.c: events wait, and go in batches
 *
 * Three parties touch a generation: the completion-queue thread (commands, the end of the stream), a tokenizing thread (between Start and
 * Prepared) and the engine's step thread (events). Its own mutex orders them; each holds a reference while it may still come.
 *
 *     TOKENIZING ─> AWAIT_PROCEED ─Proceed→ GENERATING ─last event→ DONE
 *         └──────────────┴── Stop, an error, or the end of the stream → DONE
 *
 * Lock order: a generation's mutex, then the link's. Neither is held while the other's functions below are called, but for those that say so.
 */
#ifndef SERVICES_WORKER_LINK_H
#define SERVICES_WORKER_LINK_H

#include "base/arena.h"
#include "base/id_table.h"
#include "bora/internal/v1/worker.pb-c.h"
#include "services/worker/reports.h"
#include "services/worker/worker.h"

enum answering_phase { TOKENIZING, AWAIT_PROCEED, GENERATING, DONE };

/** One generation of a link. */
struct answering {
    /* The link's mutex guards these. */
    struct id_entry entry; /* first: in the link's table; `entry.id` is the generation's number */
    size_t waiting_bytes;  /* of what the link has not sent yet; `waiting_round` says since when */
    uint64_t waiting_round;
    bool listed; /* among the link's choked ones */
    struct answering *next_choked;

    atomic_int references; /* the table's, and those of whoever may still come */
    struct link *link;     /* referenced */
    pthread_mutex_t mutex; /* guards what follows */
    enum answering_phase phase;
    bool abandoned;   /* the gateway listens no more: what it costs is reported */
    bool held;        /* the reader is slow: Hold */
    bool choked;      /* too much of it waits in the link */
    bool paused;      /* for one of both: the engine skips this generation */
    bool first_event; /* the first token was timed */
    int answers;
    int64_t deadline_ns, proceeded_ns;
    struct arena start_arena; /* Start and what is lent from it, until the engine has it */
    const Bora__Internal__V1__Start *start;
    struct token_list prompt;  /* likewise */
    struct chat_window window; /* what was dropped of the conversation */
    int64_t max_tokens;
    struct kept_grammar *grammar;  /* NULL: anything may be said, or ... */
    struct grammar *calls;         /* ... what this says: text and calls of tools */
    struct bytes_view begun;       /* of what is continued, the text that the grammar counts in */
    struct tools_problem declined; /* with a reason: why the grammar or a tool was declined */
    struct generation *generation;
    struct report report; /* what it has cost so far */
};

/* answering.c */
/** `*start_arena` (moved) holds the Start. The first reference is the caller's. NULL without memory. */
struct answering *answering_create(struct link *link, struct arena *start_arena,
                                   const Bora__Internal__V1__Start *start);
void answering_ref(struct answering *answering);
void answering_unref(struct answering *answering);
/** Count its tokens; it is in the link's table. */
void answering_start(struct answering *answering);
void answering_proceed(struct answering *answering, int64_t max_tokens);
/** `abandoned`: as in Stop. */
void answering_stop(struct answering *answering, bool abandoned);
void answering_hold(struct answering *answering, bool hold);
/** The link has sent what waited. */
void answering_unchoke(struct answering *answering);
/** A command came out of turn: end it so. */
void answering_refuse(struct answering *answering, enum status status, const char *message);
/** The stream has ended: nobody hears of it any more. */
void answering_abandon(struct answering *answering);

/* link.c */
void link_ref(struct link *link);
void link_unref(struct link *link);
struct worker *link_worker(struct link *link);
enum link_sent { LINK_SENT, LINK_CHOKED, LINK_FULL };
/** Queue an event of `answering`, whose number is filled in. CHOKED: too much waits, answering_unchoke comes when it has gone. FULL: nothing was
 *  queued; the last event of a generation has room all the same. Its mutex is held. */
enum link_sent link_send(struct answering *answering, Bora__Internal__V1__LinkEvent *event, bool last);
/** What a generation has cost at its end. Kept for as long as the gateway may not have settled it, and sent when the link breaks; at once where it was
 *  abandoned. Its mutex is held. */
void link_account(struct answering *answering);
/** Its last event was queued. Drops the table's reference, which is not the last one. Its mutex is held. */
void link_remove(struct answering *answering);

#endif
