/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Beam search, against a plain one over whole token lists that knows nothing of slots, blocks and batches. */
#include "tests/unit/engine/scheduler_fixture.h"

#include "base/random.h"

#include <math.h>

enum { LENGTH_MAX = 128 };

/* ---- the definition ------------------------------------------------------------------------------------------------ */

struct text {
    int32_t tokens[LENGTH_MAX];
    int64_t count;
    double logprob, score;
};

static void log_softmax(const struct text *text, double *out) {
    float logits[V];
    double sum = 0;
    rich_logits(hash_of(text->tokens, text->count), logits);
    for (int v = 0; v < V; v++) sum += exp((double)logits[v]);
    for (int v = 0; v < V; v++) out[v] = (double)logits[v] - log(sum);
}

static int by_logprob(const void *a, const void *b) {
    double x = ((const struct text *)a)->logprob, y = ((const struct text *)b)->logprob;
    return x < y ? 1 : x > y ? -1 : 0;
}

static int by_score(const void *a, const void *b) {
    double x = ((const struct text *)a)->score, y = ((const struct text *)b)->score;
    return x < y ? 1 : x > y ? -1 : 0;
}

static bool ends(const struct text *text, int64_t answered) {
    const int32_t *last = text->tokens + text->count - 1;
    return *last < current->end_tokens || (current->stops && answered > 1 && ends_by_pair(last[-1], *last));
}

/** The `width` best texts, best first. Returns how many. */
static int search(const struct text *prompt, int64_t max_tokens, const struct beam_settings *options,
                  struct text *best) {
    static struct text live[BEAM_WIDTH_MAX], all[BEAM_WIDTH_MAX * V], done[4096];
    int live_count = 1, done_count = 0;
    live[0] = *prompt;
    for (int64_t step = 1; step <= max_tokens && live_count > 0; step++) {
        int count = 0, next = 0;
        for (int b = 0; b < live_count; b++) {
            double logprobs[V];
            log_softmax(&live[b], logprobs);
            for (int32_t v = 0; v < V; v++) {
                all[count] = live[b];
                all[count].tokens[all[count].count++] = v;
                all[count++].logprob += logprobs[v];
            }
        }
        qsort(all, (size_t)count, sizeof *all, by_logprob);
        for (int i = 0; i < 2 * options->width && i < count && next < options->width; i++) {
            if (!ends(&all[i], step) && step < max_tokens) {
                live[next++] = all[i];
                continue;
            }
            done[done_count] = all[i];
            done[done_count++].score = all[i].logprob / pow((double)step, options->length_penalty);
        }
        live_count = next;
        qsort(done, (size_t)done_count, sizeof *done, by_score);
        if (done_count < options->width || live_count == 0) continue;
        double attainable = live[0].logprob / pow((double)step, options->length_penalty);
        if (options->early_stopping || attainable <= done[options->width - 1].score) break;
    }
    if (done_count > options->width) done_count = options->width;
    memcpy(best, done, (size_t)done_count * sizeof *done);
    return done_count;
}

static struct text prompt_of(const struct client *client, int64_t count) {
    struct text text = {.count = count};
    memcpy(text.tokens, client->tokens, (size_t)count * sizeof *text.tokens);
    return text;
}

static void assert_found(const struct client *client, const struct text *expected, int count) {
    const struct beam_search *beams = client->sequence.beams;
    assert_int_equal(beams->finished_count, count);
    for (int i = 0; i < count; i++) {
        const struct hypothesis *found = &beams->finished[i];
        assert_int_equal(found->count, expected[i].count);
        assert_memory_equal(found->tokens, expected[i].tokens, (size_t)found->count * sizeof(int32_t));
        assert_true(fabs(found->score - expected[i].score) < 1e-5 * (1 + fabs(found->score)));
    }
}

/* ---- tests --------------------------------------------------------------------------------------------------------- */

static void test_search_finds_what_the_definition_finds(void **state) {
    (void)state;
    static const int widths[] = {1, 2, 3, 5, 8, 16};
    static const double penalties[] = {0, 1, -1, 2};
    int stopped = 0; /* by the pair */
    for (size_t w = 0; w < sizeof widths / sizeof widths[0]; w++) {
        for (int variant = 0; variant < 32; variant++) {
            struct fixture fixture;
            setup(&fixture, 20, 64, 8, 200);
            fixture.rich = true;
            fixture.end_tokens = variant % 4;
            fixture.stops = variant >= 16;
            struct beam_settings options = {
                .width = widths[w], .length_penalty = penalties[variant / 4 % 4], .early_stopping = variant % 2 == 1};
            int64_t prompt = 5 + 9 * variant % 70, max_tokens = 40;
            struct client *client = submit_search(&fixture, prompt, max_tokens, &options);
            struct text start = prompt_of(client, prompt), best[BEAM_WIDTH_MAX];
            int count = search(&start, max_tokens, &options, best);
            run_until_idle(&fixture);
            assert_int_equal(client->reports, 1);
            assert_int_equal(client->finish, ends(&best[0], best[0].count - prompt) ? FINISH_STOP : FINISH_LENGTH);
            assert_found(client, best, count);
            stopped += fixture.end_tokens == 0 && fixture.stops && client->finish == FINISH_STOP;
            assert_int_equal(kv_cache_used(fixture.cache), 0);
            teardown(&fixture);
        }
    }
    assert_true(stopped > 0);
}

/** As wide as the vocabulary and two tokens long: nothing is missed, so the first is the likeliest of all 256 texts. */
static void test_wide_search_finds_the_likeliest_text(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 16, 64, 0, 64);
    fixture.rich = true;
    struct client *client = submit_search(&fixture, 10, 2, &(struct beam_settings){.width = 16});
    struct text best = {.logprob = -1e9}, start = prompt_of(client, 10);
    for (int32_t a = 0; a < V; a++) {
        double first[V], second[V];
        log_softmax(&start, first);
        struct text text = start;
        text.tokens[text.count++] = a;
        log_softmax(&text, second);
        for (int32_t b = 0; b < V; b++) {
            if (first[a] + second[b] <= best.logprob) continue;
            best = text;
            best.logprob = first[a] + second[b];
            best.tokens[best.count++] = b;
        }
    }
    run_until_idle(&fixture);
    const struct hypothesis *found = &client->sequence.beams->finished[0];
    assert_int_equal(found->count, 12);
    assert_memory_equal(found->tokens, best.tokens, 12 * sizeof(int32_t));
    teardown(&fixture);
}

static void test_width_one_is_greedy(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 32; seed++) {
        struct fixture fixture;
        setup(&fixture, 4, 64, 8, 64);
        fixture.rich = true;
        int64_t prompt = 1 + (int64_t)(random_philox(seed, 0, 0) % 120),
                max_tokens = 1 + (int64_t)(random_philox(seed, 0, 1) % 90);
        struct client *clients[3];
        for (int i = 0; i < 3; i++) {
            clients[i] = client_new(&fixture, prompt, max_tokens, 1);
            for (int64_t t = 0; t < prompt; t++)
                clients[i]->tokens[t] = (int32_t)(random_philox(seed, (uint64_t)t, 2) % V);
            if (i > 0)
                make_search(clients[i],
                            &(struct beam_settings){.width = 1, .length_penalty = 1, .early_stopping = i == 2});
            submit_client(&fixture, clients[i]);
        }
        run_until_idle(&fixture);
        for (int i = 1; i < 3; i++) {
            const struct hypothesis *found = &clients[i]->sequence.beams->finished[0];
            assert_int_equal(found->count, clients[0]->sequence.token_count);
            assert_memory_equal(found->tokens, clients[0]->tokens, (size_t)found->count * sizeof(int32_t));
        }
        teardown(&fixture);
    }
}

/** Logits that differ by less than their log-probabilities can: greedy sees it, and so does a search. */
static void test_width_one_is_greedy_at_float_ties(void **state) {
    (void)state;
    float logits[V];
    for (int v = 0; v < V; v++) logits[v] = 0.1f;
    logits[3] = 0.3f;
    logits[9] = 0.30000004f;
    struct fixture fixture;
    setup(&fixture, 4, 64, 8, 64);
    fixture.fixed = logits;
    struct client *greedy = submit(&fixture, 10, 5, 1),
                  *search = submit_search(&fixture, 10, 5, &(struct beam_settings){.width = 1, .length_penalty = 1});
    run_until_idle(&fixture);
    const struct hypothesis *found = &search->sequence.beams->finished[0];
    assert_int_equal(found->count, 15);
    for (int i = 10; i < 15; i++) assert_int_equal(greedy->tokens[i], 9);
    assert_memory_equal(found->tokens, greedy->tokens, 15 * sizeof(int32_t));
    teardown(&fixture);
}

/** Beside others, in chunks, and in so little memory that everybody starts over now and then: the same answers. */
static void test_search_is_the_same_in_company_and_in_need(void **state) {
    (void)state;
    static const int64_t blocks[] = {200, 14};
    for (int need = 0; need < 2; need++) {
        struct fixture fixture;
        setup(&fixture, 10, 20, 32, blocks[need]);
        fixture.rich = true;
        fixture.end_tokens = 1;
        fixture.stops = true;
        struct beam_settings options = {.width = 4, .length_penalty = 1};
        struct client *clients[3];
        struct text best[3][BEAM_WIDTH_MAX];
        int counts[3];
        for (int i = 0; i < 8; i++) submit(&fixture, 30 + 5 * i, 60, (uint64_t)i % 3);
        for (int i = 0; i < 3; i++) {
            clients[i] = submit_search(&fixture, 40 + 10 * i, 50, &options);
            struct text start = prompt_of(clients[i], 40 + 10 * i);
            counts[i] = search(&start, 50, &options, best[i]);
        }
        run_until_idle(&fixture);
        for (int i = 0; i < 3; i++) assert_found(clients[i], best[i], counts[i]);
        struct scheduler_stats stats;
        scheduler_stats(fixture.scheduler, &stats);
        if (need) assert_true(stats.preemptions > 0);
        assert_int_equal(kv_cache_used(fixture.cache), 0);
        teardown(&fixture);
    }
}

static void test_cancelled_search_frees_everything(void **state) {
    (void)state;
    for (int steps = 0; steps < 12; steps++) {
        struct fixture fixture;
        setup(&fixture, 8, 16, 8, 64);
        fixture.rich = true;
        struct client *client = submit_search(&fixture, 60, 50, &(struct beam_settings){.width = 6});
        for (int i = 0; i < steps; i++) scheduler_step(fixture.scheduler);
        scheduler_cancel(fixture.scheduler, &client->sequence);
        assert_int_equal(scheduler_step(fixture.scheduler), 0);
        assert_int_equal(client->finish, FINISH_CANCELLED);
        assert_int_equal(kv_cache_used(fixture.cache), 0);
        teardown(&fixture);
    }
}

static void test_paused_search_takes_no_part(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 8, 64, 8, 64);
    fixture.rich = true;
    struct client *client = submit_search(&fixture, 20, 10, &(struct beam_settings){.width = 4});
    for (int i = 0; i < 4; i++) scheduler_step(fixture.scheduler);
    scheduler_pause(fixture.scheduler, &client->sequence);
    assert_int_equal(scheduler_step(fixture.scheduler), 0);
    scheduler_resume(fixture.scheduler, &client->sequence);
    run_until_idle(&fixture);
    assert_int_equal(client->finish, FINISH_LENGTH);
    teardown(&fixture);
}

static void test_failed_step_ends_the_search_once(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 8, 64, 8, 64);
    fixture.rich = true;
    struct client *search = submit_search(&fixture, 20, 10, &(struct beam_settings){.width = 4}),
                  *other = submit(&fixture, 20, 10, 1);
    for (int i = 0; i < 4; i++) scheduler_step(fixture.scheduler);
    fixture.forward_fails = true;
    scheduler_step(fixture.scheduler);
    assert_int_equal(search->finish, FINISH_ERROR);
    assert_int_equal(other->finish, FINISH_ERROR);
    assert_int_equal(kv_cache_used(fixture.cache), 0);
    teardown(&fixture);
}

static void test_text_that_cannot_be_kept_is_an_error(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 8, 64, 8, 64);
    fixture.rich = true;
    struct client *client = submit_search(&fixture, 20, 10, &(struct beam_settings){.width = 4});
    for (int i = 0; i < 4; i++) scheduler_step(fixture.scheduler);
    fixture.extend_fails = true;
    run_until_idle(&fixture);
    assert_int_equal(client->reports, 1);
    assert_int_equal(client->finish, FINISH_ERROR);
    assert_non_null(strstr(client->error, "text"));
    assert_int_equal(kv_cache_used(fixture.cache), 0);
    teardown(&fixture);
}

static void test_unusable_logits_are_an_error(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 8, 64, 8, 64);
    fixture.nan_logits = true;
    struct client *client = submit_search(&fixture, 20, 10, &(struct beam_settings){.width = 4});
    run_until_idle(&fixture);
    assert_int_equal(client->finish, FINISH_ERROR);
    teardown(&fixture);
}

static void test_search_wider_than_the_step_is_refused(void **state) {
    (void)state;
    for (int rows = 0; rows < 2; rows++) {
        struct fixture fixture;
        setup(&fixture, rows ? 8 : 3, rows ? 3 : 64, 8, 64);
        struct client *client = client_new(&fixture, 10, 5, 1);
        struct beam_settings options = {.width = 4};
        client->beam_memory = malloc(beam_search_bytes(&options, 15, CONTEXT));
        beam_search_init(client->beam_memory, &options, &client->sequence, CONTEXT);
        check_fails(scheduler_submit(fixture.scheduler, &client->sequence, &check_error), STATUS_OUT_OF_RANGE, "width");
        teardown(&fixture);
    }
}

/** As wide as a step has rows, beside streams and prompts that never end: it goes on, and so do they. */
static void test_wide_search_gets_its_turn(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 24, 8, 60, 200);
    fixture.rich = true;
    for (int i = 0; i < 10; i++) submit(&fixture, 1, 250, 2);
    for (int i = 0; i < 4; i++) scheduler_step(fixture.scheduler);
    struct client *search = submit_search(&fixture, 10, 20, &(struct beam_settings){.width = 8}), *prompt = NULL;
    int prompts = 0, before = fixture.clients[0]->accepted;
    for (int i = 0; i < 120 && search->finish == FINISH_NONE; i++) {
        if (prompt == NULL || prompt->finish != FINISH_NONE) {
            prompts += prompt != NULL;
            prompt = submit(&fixture, 12, 1, 3);
        }
        scheduler_step(fixture.scheduler);
    }
    assert_int_equal(search->finish, FINISH_LENGTH);
    assert_true(prompts >= 3);
    assert_true(fixture.clients[0]->accepted - before >= 10);
    scheduler_cancel_all(fixture.scheduler);
    teardown(&fixture);
}

/** Branches that part need more blocks than there are, and nobody else is there to give up any. */
static void test_search_that_outgrows_the_pool_is_an_error(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 8, 64, 8, 8);
    fixture.rich = true;
    struct client *search = submit_search(&fixture, 60, 190, &(struct beam_settings){.width = 8}),
                  *other = submit(&fixture, 20, 10, 2);
    run_until_idle(&fixture);
    assert_int_equal(search->finish, FINISH_ERROR);
    assert_non_null(strstr(search->error, "memory"));
    assert_int_equal(other->finish, FINISH_LENGTH);
    assert_int_equal(kv_cache_used(fixture.cache), 0);
    teardown(&fixture);
}

static void test_search_counts_as_one_in_the_queue(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 8, 64, 1, 64);
    fixture.rich = true;
    submit_search(&fixture, 20, 30, &(struct beam_settings){.width = 6});
    for (int i = 0; i < 4; i++) scheduler_step(fixture.scheduler);
    for (int i = 0; i < 8; i++) submit(&fixture, 10, 10, 1);
    struct scheduler_stats stats;
    scheduler_stats(fixture.scheduler, &stats);
    assert_int_equal(stats.running, 1);
    assert_int_equal(stats.waiting, 8);
    struct client *client = client_new(&fixture, 4, 2, 1);
    check_fails(scheduler_submit(fixture.scheduler, &client->sequence, &check_error), STATUS_RESOURCE_EXHAUSTED,
                "queue");
    run_until_idle(&fixture);
    for (int i = 0; i < 9; i++) assert_int_equal(fixture.clients[i]->finish, FINISH_LENGTH);
    teardown(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_search_finds_what_the_definition_finds),
        cmocka_unit_test(test_wide_search_finds_the_likeliest_text),
        cmocka_unit_test(test_width_one_is_greedy),
        cmocka_unit_test(test_width_one_is_greedy_at_float_ties),
        cmocka_unit_test(test_search_is_the_same_in_company_and_in_need),
        cmocka_unit_test(test_cancelled_search_frees_everything),
        cmocka_unit_test(test_paused_search_takes_no_part),
        cmocka_unit_test(test_failed_step_ends_the_search_once),
        cmocka_unit_test(test_text_that_cannot_be_kept_is_an_error),
        cmocka_unit_test(test_unusable_logits_are_an_error),
        cmocka_unit_test(test_search_that_outgrows_the_pool_is_an_error),
        cmocka_unit_test(test_search_counts_as_one_in_the_queue),
        cmocka_unit_test(test_wide_search_gets_its_turn),
        cmocka_unit_test(test_search_wider_than_the_step_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
