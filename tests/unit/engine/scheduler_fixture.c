/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/engine/scheduler_fixture.h"

#include "base/random.h"

#include <math.h>

struct fixture *current;
static uint64_t first_tokens;

/** A decode's guesses that were right. */
static void count_guesses(struct client *client) {
    if (!client->decodes) return;
    client->given += 2 * (client->sequence.computed - client->counted);
    client->counted = client->sequence.computed;
}

static enum verdict accept(struct sequence *sequence, int32_t id, const struct logprob_entry *logprobs) {
    struct client *client = (struct client *)sequence;
    (void)logprobs;
    assert_int_equal(sequence->tokens[sequence->token_count - 1], id);
    assert_int_equal(client->finish, FINISH_NONE);
    count_guesses(client);
    if (client->accepted++ == 0) {
        client->order = ++first_tokens;
        client->first_ns = current->clock.now_ns;
    }
    if (client->fail) return VERDICT_ERROR;
    return client->accepted == client->stop_after ? VERDICT_STOP : VERDICT_GO_ON;
}

static void report(struct sequence *sequence, enum finish_reason finish, const char *error) {
    struct client *client = (struct client *)sequence;
    assert_int_equal(client->finish, FINISH_NONE); /* nothing after the last */
    if (finish == FINISH_NONE) count_guesses(client);
    client->reports++;
    client->finish = finish;
    client->finish_step = current->steps;
    if (error != NULL) snprintf(client->error, sizeof client->error, "%s", error);
    assert_int_equal(error != NULL, finish == FINISH_ERROR || finish == FINISH_REFUSED);
}

/** What it keeps of a branch is the last token behind the prompt; 0 is as good as none. */
static enum verdict extend(struct sequence *leader, const void *before, int32_t id, void *after) {
    (void)leader;
    const int32_t *last = before;
    bool ends = id < current->end_tokens || (current->stops && ends_by_pair(*last, id));
    *(int32_t *)after = id;
    return current->extend_fails ? VERDICT_ERROR : ends ? VERDICT_STOP : VERDICT_GO_ON;
}

/* ---- the fake model: a position's "keys and values" are a hash of all tokens up to it -------------------------------- */

static uint64_t hash_next(uint64_t hash, int32_t token) {
    return random_philox(hash, (uint64_t)token, 0);
}

static int32_t continuation(uint64_t hash) {
    return (int32_t)(hash % V);
}

uint64_t hash_of(const int32_t *tokens, int64_t count) {
    uint64_t hash = 0;
    for (int64_t i = 0; i < count; i++) hash = hash_next(hash, tokens[i]);
    return hash;
}

void rich_logits(uint64_t hash, float *logits) {
    for (uint32_t v = 0; v < V; v++) logits[v] = (float)(4 * random_uniform(hash, 0, v + 1));
}

int32_t next_token(const struct client *client, const int32_t *tokens, int64_t count) {
    return client->echo > 0 ? tokens[count >= client->echo ? count - client->echo : 0]
                            : continuation(hash_of(tokens, count));
}

/** Behind one token of four, what the model would say: up to 20 tokens. */
static int force(struct sequence *sequence, int most, int32_t *out) {
    const struct client *client = (const struct client *)sequence;
    int32_t tokens[TOKENS_MAX];
    uint64_t drawn = random_philox(hash_of(sequence->tokens, sequence->token_count), 1, 2);
    int wanted = drawn % 4 == 0 ? 1 + (int)(drawn / 4 % 20) : 0, count = 0;
    assert_true(most >= 1 && sequence->token_count + most <= sequence->prompt_count + sequence->max_tokens);
    memcpy(tokens, sequence->tokens, (size_t)sequence->token_count * sizeof *tokens);
    for (; count < most && count < wanted; count++)
        out[count] = tokens[sequence->token_count + count] = next_token(client, tokens, sequence->token_count + count);
    return count;
}

/** All but some. */
static int admit(struct sequence *sequence, const int32_t *guesses, int count) {
    for (int i = 0; i < count; i++)
        if (guesses[i] == (int32_t)(sequence->token_count % V)) return i;
    return count;
}

static const struct sequence_owner owner = {.accept = accept, .report = report, .extend = extend},
                                   forcing_owner = {.accept = accept,
                                                    .report = report,
                                                    .extend = extend,
                                                    .force = force,
                                                    .admit = admit};

/** Where the pool keeps a position's hash. */
static uint64_t *cell(const struct kv_sequence *part, int64_t position) {
    struct kv_layer layer = kv_cache_layer(current->cache, 0);
    char *block = (char *)layer.base + (size_t)part->blocks[position / KV_BLOCK_TOKENS] * layer.block_stride;
    return (uint64_t *)block + position % KV_BLOCK_TOKENS;
}

static int echo_of(const struct sequence *sequence) {
    return ((const struct client *)(sequence->beams != NULL ? sequence->beams->leader : sequence))->echo;
}

static struct sequence *owner_of(const struct kv_sequence *part) {
    for (int i = 0; i < current->client_count; i++) {
        struct sequence *sequence = &current->clients[i]->sequence;
        if (sequence->blocks == part->blocks && sequence->slot >= 0) return sequence;
        for (int b = 0; sequence->beams != NULL && b < sequence->beams->branch_count; b++) {
            struct sequence *branch = sequence->beams->branches[b];
            if (branch->blocks == part->blocks && branch->slot >= 0) return branch;
        }
    }
    fail_msg("a batch names blocks of nobody");
    abort(); /* not reached; gcc does not know that fail_msg() does not return */
}

/** Compute a part's rows in the pool, and the logits of those that are wanted. Returns how many. */
static int64_t compute(struct fixture *fixture, const struct model_batch *batch, const struct kv_sequence *part,
                       int64_t logit) {
    const struct sequence *sequence = owner_of(part);
    int64_t first = part->context - part->row_count, known = part->row_count - sequence->draft_count, given = 0;
    for (int64_t i = 0; i < part->row_count; i++) {
        int64_t row = part->first_row + i, position = first + i;
        assert_int_equal(batch->positions[row], position);
        if (i < known) assert_int_equal(batch->ids[row], sequence->tokens[position]);
        assert_int_equal(kv_cache_references(fixture->cache, part->blocks[position / KV_BLOCK_TOKENS]), 1);
        uint64_t before = position > 0 ? *cell(part, position - 1) : 0, hash = hash_next(before, batch->ids[row]);
        *cell(part, position) = hash;
        if (first + known < sequence->token_count || i + 1 < known) continue;
        assert_int_equal(batch->logit_rows[logit + given], row);
        int32_t token = continuation(hash);
        int echo = echo_of(sequence);
        if (echo > 0) { /* the model repeats what it said `echo` tokens ago */
            int64_t back = position + 1 - echo;
            token = back < 0       ? sequence->tokens[0]
                    : back < first ? sequence->tokens[back]
                                   : batch->ids[part->first_row + back - first];
        }
        float *logits = batch->logits + (logit + given++) * V;
        for (int32_t v = 0; v < V; v++) logits[v] = fixture->nan_logits ? NAN : v == token ? 1 : 0;
        if (fixture->rich) rich_logits(hash, logits);
        if (fixture->fixed != NULL) memcpy(logits, fixture->fixed, V * sizeof *logits);
    }
    return given;
}

static enum status forward(void *context, const struct model_batch *batch, struct error *err) {
    struct fixture *fixture = context;
    int64_t row = 0, logit = 0, positions = 0;
    if (fixture->calibrating) {
        fixture->clock.now_ns += fixture->base_ns + fixture->row_ns * batch->rows;
        return STATUS_OK;
    }
    fixture->steps++;
    fixture->rows_of_step = batch->rows;
    fixture->decodes_of_step = fixture->decode_positions_of_step = 0;
    if (fixture->forward_fails) return error_set(err, STATUS_UNAVAILABLE, "the device is gone");
    if (fixture->in_step != NULL) fixture->in_step(fixture);
    if (batch->abandoned != NULL && batch->abandoned(batch->abandoned_context)) {
        fixture->abandoned_steps++;
        return STATUS_CANCELLED;
    }
    for (int64_t s = 0; s < batch->sequence_count; s++) {
        const struct kv_sequence *part = &batch->sequences[s];
        struct sequence *sequence = owner_of(part);
        assert_int_equal(part->first_row, row);
        assert_true(part->row_count >= 1);
        assert_false(atomic_load(&(sequence->beams != NULL ? sequence->beams->leader : sequence)->paused));
        assert_int_equal(part->context - part->row_count, sequence->computed);
        assert_true(sequence->block_count >= kv_cache_blocks_for(part->context));
        struct client *client = (struct client *)(sequence->beams != NULL ? sequence->beams->leader : sequence);
        int64_t rows = part->row_count - sequence->draft_count;
        client->decodes = sequence->token_count - sequence->computed <= 1 + sequence->forced;
        client->given += client->decodes ? 1 + rows : rows;
        client->counted = sequence->computed + rows;
        for (int64_t i = 0; i < rows && client->decodes; i++) {
            fixture->decodes_of_step++;
            fixture->decode_positions_of_step += sequence->computed + i + 1;
        }
        for (int64_t i = 0; i < part->row_count; i++) positions += part->context - i;
        row += part->row_count;
        logit += compute(fixture, batch, part, logit);
    }
    assert_int_equal(row, batch->rows);
    assert_int_equal(logit, batch->logit_count);
    assert_true(logit <= fixture->logits_max);
    fixture->clock.now_ns += fixture->base_ns + fixture->row_ns * batch->rows + fixture->position_ns * positions;
    return STATUS_OK;
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

void setup_with(struct fixture *fixture, const struct scheduler_options *wanted, int64_t blocks) {
    *fixture =
        (struct fixture){.base_ns = fixture->base_ns, .row_ns = fixture->row_ns, .position_ns = fixture->position_ns};
    current = fixture;
    first_tokens = 0;
    clock_fake_init(&fixture->clock, NS_PER_S);
    struct kv_cache_options cache = {.layers = 1, .kv_heads = 1, .head_dim = 16, .type = KV_F16, .block_count = blocks};
    check_ok(kv_cache_create(&cache, &fixture->cache, &check_error));
    struct scheduler_options options = *wanted;
    options.cache = fixture->cache;
    options.forward = forward;
    options.forward_context = fixture;
    options.vocabulary = V;
    options.context_tokens = CONTEXT;
    options.clock = &fixture->clock.clock;
    fixture->logits_max = scheduler_logits_max(options.sequences_max, options.drafts_max);
    check_ok(scheduler_create(&options, &fixture->scheduler, &check_error));
}

void setup(struct fixture *fixture, int sequences_max, int step_tokens_max, int queue_max, int64_t blocks) {
    *fixture = (struct fixture){0};
    struct scheduler_options options = {
        .sequences_max = sequences_max, .step_tokens_max = step_tokens_max, .queue_max = queue_max};
    setup_with(fixture, &options, blocks);
}

void teardown(struct fixture *fixture) {
    check_ok(scheduler_check(fixture->scheduler, &check_error));
    scheduler_destroy(fixture->scheduler);
    kv_cache_destroy(fixture->cache);
    for (int i = 0; i < fixture->client_count; i++) {
        free(fixture->clients[i]->beam_memory);
        free(fixture->clients[i]);
    }
}

struct client *client_new(struct fixture *fixture, int64_t prompt, int64_t max_tokens, uint64_t tenant) {
    struct client *client = calloc(1, sizeof *client);
    assert_true(fixture->client_count < LIVE_MAX);
    fixture->clients[fixture->client_count++] = client;
    sequence_init(&client->sequence);
    for (int64_t i = 0; i < prompt && i < TOKENS_MAX; i++) client->tokens[i] = (int32_t)((i * 7 + prompt) % V);
    client->salt = ++fixture->salts;
    client->sequence.salt = &client->salt; /* shares with nobody */
    client->sequence.salt_bytes = sizeof client->salt;
    client->sequence.owner = fixture->forces ? &forcing_owner : &owner;
    client->sequence.tokens = client->tokens;
    client->sequence.prompt_count = prompt;
    client->sequence.max_tokens = max_tokens;
    client->sequence.sampling = (struct sampling){.top_p = 1, .top_logprobs = -1};
    client->sequence.tenant_key = tenant;
    client->echo = fixture->echo;
    return client;
}

struct client *submit(struct fixture *fixture, int64_t prompt, int64_t max_tokens, uint64_t tenant) {
    struct client *client = client_new(fixture, prompt, max_tokens, tenant);
    submit_client(fixture, client);
    return client;
}

void make_search(struct client *client, const struct beam_settings *beams) {
    struct beam_settings settings = *beams;
    settings.state_bytes = sizeof(int32_t);
    client->beam_memory =
        malloc(beam_search_bytes(&settings, client->sequence.prompt_count + client->sequence.max_tokens, CONTEXT));
    beam_search_init(client->beam_memory, &settings, &client->sequence, CONTEXT);
}

struct client *submit_search(struct fixture *fixture, int64_t prompt, int64_t max_tokens,
                             const struct beam_settings *beams) {
    struct client *client = client_new(fixture, prompt, max_tokens, 1);
    make_search(client, beams);
    submit_client(fixture, client);
    return client;
}

void submit_client(struct fixture *fixture, struct client *client) {
    check_ok(scheduler_submit(fixture->scheduler, &client->sequence, &check_error));
}

void run_until_idle(struct fixture *fixture) {
    for (int i = 0; scheduler_step(fixture->scheduler) > 0; i++) {
        check_ok(scheduler_check(fixture->scheduler, &check_error));
        assert_true(i < 100000);
    }
}

void check_tokens(const struct client *client) {
    for (int64_t i = client->sequence.prompt_count; i < client->sequence.token_count; i++)
        assert_int_equal(client->tokens[i], next_token(client, client->tokens, i));
}
