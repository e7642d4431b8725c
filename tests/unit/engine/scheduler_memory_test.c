/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Memory: what is shared, who waits for whom, who gives up its blocks, and books that are mended. */
#include "tests/unit/engine/scheduler_fixture.h"

#include "base/random.h"
#include "engine/scheduler/scheduler_internal.h"

/** A client whose prompt is `common` tokens that all of `salt` share, then `own` of its own. */
static struct client *submit_sharing(struct fixture *fixture, uint64_t salt, int64_t common, int64_t own,
                                     int64_t max_tokens) {
    struct client *client = client_new(fixture, common + own, max_tokens, salt);
    for (int64_t i = 0; i < common; i++) client->tokens[i] = (int32_t)(random_philox(99, (uint64_t)i, 0) % V);
    for (int64_t i = common; i < common + own; i++)
        client->tokens[i] = (int32_t)(random_philox(client->salt, (uint64_t)i, 0) % V);
    client->salt = salt;
    submit_client(fixture, client);
    return client;
}

static struct scheduler_stats stats_of(const struct fixture *fixture) {
    struct scheduler_stats stats;
    scheduler_stats(fixture->scheduler, &stats);
    return stats;
}

/* ---- sharing ------------------------------------------------------------------------------------------------------- */

static void test_second_prompt_computes_only_what_differs(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 4, 256, 4, 32);
    submit_sharing(&fixture, 5, 100, 3, 4);
    run_until_idle(&fixture);
    assert_int_equal(stats_of(&fixture).prompt_tokens, 103);
    struct client *second = submit_sharing(&fixture, 5, 100, 7, 4);
    run_until_idle(&fixture);
    assert_int_equal(stats_of(&fixture).prompt_tokens, 103 + 7); /* 100 is no multiple of a block */
    assert_int_equal(second->sequence.cached_tokens, 100);
    assert_int_equal(stats_of(&fixture).cached_tokens, 100);
    check_tokens(second);
    teardown(&fixture);
}

static void test_same_prompt_computes_its_last_token_again(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 4, 256, 4, 32);
    struct client *clients[2];
    for (int i = 0; i < 2; i++) {
        clients[i] = submit_sharing(&fixture, 5, 64, 0, 4);
        run_until_idle(&fixture);
        check_tokens(clients[i]);
    }
    assert_int_equal(clients[1]->sequence.cached_tokens, 63);
    teardown(&fixture);
}

static void test_answer_is_found_when_the_conversation_goes_on(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 4, 256, 4, 32);
    struct client *first = submit_sharing(&fixture, 5, 40, 0, 30);
    run_until_idle(&fixture);
    struct client *second = client_new(&fixture, 80, 4, 5);
    memcpy(second->tokens, first->tokens, 70 * sizeof(int32_t)); /* its question and its answer */
    second->salt = 5;
    submit_client(&fixture, second);
    run_until_idle(&fixture);
    assert_int_equal(second->sequence.cached_tokens, 69); /* the last sampled token was never computed */
    check_tokens(second);
    teardown(&fixture);
}

static void test_other_salt_shares_nothing(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 4, 256, 4, 32);
    submit_sharing(&fixture, 5, 100, 0, 4);
    run_until_idle(&fixture);
    struct client *other = submit_sharing(&fixture, 6, 100, 0, 4);
    run_until_idle(&fixture);
    assert_int_equal(other->sequence.cached_tokens, 0);
    teardown(&fixture);
}

/** 16 prompts with one long beginning, at once: one computes it, the others wait and take it over. */
static void test_common_beginning_of_a_burst_is_computed_once(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 16, 32, 16, 200);
    struct client *clients[16];
    for (int i = 0; i < 16; i++) clients[i] = submit_sharing(&fixture, 5, 150, 4, 5);
    run_until_idle(&fixture);
    assert_int_equal(stats_of(&fixture).prompt_tokens, 154 + 15 * 4);
    for (int i = 0; i < 16; i++) {
        assert_int_equal(clients[i]->finish, FINISH_LENGTH);
        check_tokens(clients[i]);
    }
    teardown(&fixture);
}

static void test_who_is_held_back_does_not_hold_back_others(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 4, 16, 16, 64);
    submit_sharing(&fixture, 5, 200, 0, 2);
    struct client *held = submit_sharing(&fixture, 5, 200, 1, 2), *other = client_new(&fixture, 10, 2, 5);
    submit_client(&fixture, other);
    scheduler_step(fixture.scheduler);
    assert_int_equal(held->sequence.slot, -1);
    assert_true(other->sequence.slot >= 0);
    run_until_idle(&fixture);
    assert_int_equal(held->finish, FINISH_LENGTH);
    assert_int_equal(held->sequence.cached_tokens, 200);
    teardown(&fixture);
}

static void test_held_goes_on_when_its_leader_is_cancelled_or_paused(void **state) {
    (void)state;
    for (int pause = 0; pause < 2; pause++) {
        struct fixture fixture;
        setup(&fixture, 4, 16, 16, 64);
        struct client *leader = submit_sharing(&fixture, 5, 200, 0, 2), *held = submit_sharing(&fixture, 5, 200, 1, 2);
        scheduler_step(fixture.scheduler);
        scheduler_step(fixture.scheduler);
        assert_int_equal(held->sequence.slot, -1);
        if (pause)
            scheduler_pause(fixture.scheduler, &leader->sequence);
        else
            scheduler_cancel(fixture.scheduler, &leader->sequence);
        run_until_idle(&fixture);
        assert_int_equal(held->finish, FINISH_LENGTH);
        assert_int_equal(held->sequence.cached_tokens, 32); /* what the leader left */
        check_tokens(held);
        scheduler_cancel_all(fixture.scheduler);
        teardown(&fixture);
    }
}

/* ---- preemption ---------------------------------------------------------------------------------------------------- */

static void test_growth_beyond_the_pool_preempts_and_everybody_ends(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 8, 64, 16, 8); /* one context of memory */
    struct client *clients[8];
    for (int i = 0; i < 8; i++) clients[i] = submit(&fixture, 20, 80, (uint64_t)(i % 2)); /* 4 blocks each in the end */
    run_until_idle(&fixture);
    assert_true(stats_of(&fixture).preemptions > 0);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(clients[i]->finish, FINISH_LENGTH);
        assert_int_equal(clients[i]->accepted, 80);
        check_tokens(clients[i]);
    }
    assert_int_equal(kv_cache_used(fixture.cache), 0);
    teardown(&fixture);
}

static void test_paused_gives_up_its_memory_first(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 2, 64, 16, 8);
    struct client *paused = submit(&fixture, 100, 10, 1), *runs = submit(&fixture, 60, 150, 2);
    scheduler_step(fixture.scheduler);
    scheduler_step(fixture.scheduler);
    assert_true(paused->sequence.slot >= 0 && runs->sequence.slot >= 0);
    scheduler_pause(fixture.scheduler, &paused->sequence);
    run_until_idle(&fixture);
    assert_int_equal(runs->finish, FINISH_LENGTH);
    assert_int_equal(stats_of(&fixture).preemptions, 1);
    scheduler_resume(fixture.scheduler, &paused->sequence);
    run_until_idle(&fixture);
    assert_int_equal(paused->finish, FINISH_LENGTH);
    check_tokens(paused);
    teardown(&fixture);
}

/** Slow readers hold slots (or memory) that somebody else wants: they give way, whoever's they are, and go on when they are resumed. */
static void test_paused_do_not_keep_others_out(void **state) {
    (void)state;
    for (int memory = 0; memory < 2; memory++) {
        struct fixture fixture;
        setup(&fixture, memory ? 4 : 2, 64, 16, 8);
        struct client *paused[2];
        for (int i = 0; i < 2; i++) paused[i] = submit(&fixture, 60, 40, 1);
        for (int i = 0; i < 4; i++) scheduler_step(fixture.scheduler);
        for (int i = 0; i < 2; i++) {
            assert_true(paused[i]->accepted > 0);
            scheduler_pause(fixture.scheduler, &paused[i]->sequence);
        }
        struct client *other = submit(&fixture, memory ? 200 : 20, 20, (uint64_t)(1 + memory));
        run_until_idle(&fixture);
        assert_int_equal(other->finish, FINISH_LENGTH);
        assert_int_equal(stats_of(&fixture).waiting, memory ? 2 : 1);
        submit(&fixture, 20, 20, 3);
        run_until_idle(&fixture);
        assert_int_equal(stats_of(&fixture).waiting,
                         memory ? 2 : 1); /* nobody wanted more room; and who waits for its reader stays out */
        for (int i = 0; i < 2; i++) scheduler_resume(fixture.scheduler, &paused[i]->sequence);
        run_until_idle(&fixture);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(paused[i]->finish, FINISH_LENGTH);
            check_tokens(paused[i]);
        }
        teardown(&fixture);
    }
}

/** However many of a tenant wait for their readers, its next question is found behind them. */
static void test_many_paused_do_not_hide_the_next(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 2, 64, 100, 16);
    for (int i = 0; i < 80; i++) scheduler_pause(fixture.scheduler, &submit(&fixture, 10, 10, 1)->sequence);
    struct client *next = submit(&fixture, 10, 10, 1);
    run_until_idle(&fixture);
    assert_int_equal(next->finish, FINISH_LENGTH);
    scheduler_cancel_all(fixture.scheduler);
    teardown(&fixture);
}

/** Several prompts that fill the pool half-way: one of them gets through, then the others. */
static void test_prompts_do_not_lock_each_other_out(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 4, 32, 16, 8);
    struct client *clients[4];
    for (int i = 0; i < 4; i++) clients[i] = submit(&fixture, 120, 100, (uint64_t)i);
    run_until_idle(&fixture);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(clients[i]->finish, FINISH_LENGTH);
        check_tokens(clients[i]);
    }
    teardown(&fixture);
}

static void test_tenant_above_its_share_gives_up_a_slot(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 4, 64, 16, 64);
    for (int i = 0; i < 8; i++) submit(&fixture, 10, 100, 1);
    for (int i = 0; i < 3; i++) scheduler_step(fixture.scheduler);
    struct client *other = submit(&fixture, 10, 5, 2);
    scheduler_step(fixture.scheduler);
    assert_true(other->sequence.slot >= 0);
    assert_int_equal(other->accepted, 1);
    run_until_idle(&fixture);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(fixture.clients[i]->finish, FINISH_LENGTH);
        check_tokens(fixture.clients[i]);
    }
    teardown(&fixture);
}

static void test_tenant_above_its_share_gives_up_memory(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 8, 64, 16, 16);
    for (int i = 0; i < 4; i++) submit(&fixture, 70, 100, 1);
    for (int i = 0; i < 20; i++) scheduler_step(fixture.scheduler);
    struct client *other = submit(&fixture, 120, 5, 2);
    for (int i = 0; i < 6; i++) scheduler_step(fixture.scheduler);
    assert_true(other->accepted > 0);
    run_until_idle(&fixture);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(fixture.clients[i]->finish, FINISH_LENGTH);
        check_tokens(fixture.clients[i]);
    }
    teardown(&fixture);
}

/** One has no room: small ones of another tenant get in meanwhile, but not for ever. */
static void test_who_has_no_room_is_overtaken_a_few_times(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 4, 64, 100, 8);
    submit(&fixture, 150, 100, 1);
    for (int i = 0; i < 8; i++) scheduler_step(fixture.scheduler);
    struct client *large = submit(&fixture, 120, 20, 2), *small = submit(&fixture, 3, 3, 3);
    for (int i = 0; i < 30; i++) submit(&fixture, 3, 100, 3);
    for (int i = 0; i < 6; i++) scheduler_step(fixture.scheduler);
    assert_int_equal(small->finish, FINISH_LENGTH);
    assert_int_equal(large->accepted, 0);
    run_until_idle(&fixture);
    assert_true(large->order > small->order);
    assert_in_range(large->order, 2, 2 + 8);
    check_tokens(large);
    teardown(&fixture);
}

/** A prompt that shares its blocks with one that runs needs no memory for them. */
static void test_what_is_shared_needs_no_room(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 4, 256, 16, 9);
    struct client *first = submit_sharing(&fixture, 5, 192, 2, 40);
    scheduler_step(fixture.scheduler);
    assert_int_equal(first->accepted, 1);
    struct client *second = submit_sharing(&fixture, 5, 192, 3, 4);
    scheduler_step(fixture.scheduler);
    assert_int_equal(second->accepted, 1);
    run_until_idle(&fixture);
    check_tokens(first);
    check_tokens(second);
    teardown(&fixture);
}

/* ---- books --------------------------------------------------------------------------------------------------------- */

static void test_books_that_do_not_add_up_are_found_and_mended(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, 4, 64, 16, 32);
    struct client *client = submit(&fixture, 70, 20, 1);
    scheduler_step(fixture.scheduler);
    scheduler_step(fixture.scheduler);
    kv_cache_ref(fixture.cache, client->sequence.blocks[1]); /* a reference that nobody will drop */
    int32_t lost = kv_cache_take(fixture.cache);
    check_fails(scheduler_check(fixture.scheduler, &check_error), STATUS_INTERNAL, "references");
    scheduler_repair(fixture.scheduler);
    check_ok(scheduler_check(fixture.scheduler, &check_error));
    assert_int_equal(kv_cache_references(fixture.cache, lost), 0);
    run_until_idle(&fixture);
    assert_int_equal(client->finish, FINISH_LENGTH);
    check_tokens(client);
    assert_int_equal(kv_cache_used(fixture.cache), 0);
    teardown(&fixture);
}

enum fault {
    FAULT_TENANT_BLOCKS,
    FAULT_TENANT_SLOTS,
    FAULT_TENANT_ALIVE,
    FAULT_ALIVE,
    FAULT_WAITING,
    FAULT_TENANTS,
    FAULT_QUEUE_LINK,
    FAULT_QUEUE_ORDER,
    FAULT_SLOT_LOST,
    FAULT_SLOT_TWICE,
    FAULT_SEQUENCE, /* from here on only giving up helps */
    FAULT_BLOCK,
    FAULTS
};

static void damage(struct scheduler *scheduler, enum fault fault, struct sequence *runs, struct sequence *waits) {
    switch (fault) {
    case FAULT_TENANT_BLOCKS:
        runs->tenant->blocks++;
        break;
    case FAULT_TENANT_SLOTS:
        runs->tenant->running--;
        break;
    case FAULT_TENANT_ALIVE:
        runs->tenant->alive++;
        break;
    case FAULT_ALIVE:
        scheduler->alive--;
        break;
    case FAULT_WAITING:
        scheduler->queue.waiting += 2;
        break;
    case FAULT_TENANTS:
        scheduler->queue.tenants++;
        break;
    case FAULT_QUEUE_LINK:
        waits->tenant->last->previous = NULL;
        break;
    case FAULT_QUEUE_ORDER:
        waits->tenant->last->priority = 3;
        break;
    case FAULT_SLOT_LOST:
        scheduler->free_slot_count--;
        break;
    case FAULT_SLOT_TWICE:
        scheduler->free_slots[0] = runs->slot;
        break;
    case FAULT_SEQUENCE:
        runs->computed = runs->token_count;
        break;
    case FAULT_BLOCK:
        runs->blocks[1] = 1 << 20;
        break;
    case FAULTS:
        break;
    }
}

/** Whatever is wrong is found; what can be counted anew is mended and everybody goes on; else what runs ends, and what waits goes on. */
static void test_every_fault_is_found_and_mended(void **state) {
    (void)state;
    for (int fault = 0; fault < FAULTS; fault++) {
        struct fixture fixture;
        setup(&fixture, 6, 64, 16, 8);
        struct client *runs = submit(&fixture, 180, 40, 1);
        for (int i = 0; i < 6; i++) scheduler_step(fixture.scheduler);
        struct client *waits[2];
        for (int i = 0; i < 2; i++) waits[i] = submit(&fixture, 100 + i, 5, 2);
        scheduler_step(fixture.scheduler);
        check_ok(scheduler_check(fixture.scheduler, &check_error));
        assert_true(waits[1]->sequence.slot < 0);
        damage(fixture.scheduler, (enum fault)fault, &runs->sequence, &waits[1]->sequence);
        assert_int_equal(scheduler_check(fixture.scheduler, &check_error), STATUS_INTERNAL);
        scheduler_repair(fixture.scheduler);
        check_ok(scheduler_check(fixture.scheduler, &check_error));
        if (fault < FAULT_SEQUENCE) {
            assert_int_equal(runs->finish, FINISH_NONE);
        } else {
            assert_int_equal(runs->finish, FINISH_ERROR);
            assert_int_equal(kv_cache_used(fixture.cache), 0);
        }
        run_until_idle(&fixture);
        assert_true(runs->finish != FINISH_NONE);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(waits[i]->finish, FINISH_LENGTH);
            check_tokens(waits[i]);
        }
        teardown(&fixture);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_second_prompt_computes_only_what_differs),
        cmocka_unit_test(test_same_prompt_computes_its_last_token_again),
        cmocka_unit_test(test_answer_is_found_when_the_conversation_goes_on),
        cmocka_unit_test(test_other_salt_shares_nothing),
        cmocka_unit_test(test_common_beginning_of_a_burst_is_computed_once),
        cmocka_unit_test(test_who_is_held_back_does_not_hold_back_others),
        cmocka_unit_test(test_held_goes_on_when_its_leader_is_cancelled_or_paused),
        cmocka_unit_test(test_growth_beyond_the_pool_preempts_and_everybody_ends),
        cmocka_unit_test(test_paused_gives_up_its_memory_first),
        cmocka_unit_test(test_paused_do_not_keep_others_out),
        cmocka_unit_test(test_many_paused_do_not_hide_the_next),
        cmocka_unit_test(test_prompts_do_not_lock_each_other_out),
        cmocka_unit_test(test_tenant_above_its_share_gives_up_a_slot),
        cmocka_unit_test(test_tenant_above_its_share_gives_up_memory),
        cmocka_unit_test(test_who_has_no_room_is_overtaken_a_few_times),
        cmocka_unit_test(test_what_is_shared_needs_no_room),
        cmocka_unit_test(test_books_that_do_not_add_up_are_found_and_mended),
        cmocka_unit_test(test_every_fault_is_found_and_mended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
