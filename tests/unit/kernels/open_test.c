/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Opening a device and making weights: what is chosen, and what is refused with which sentence. */
#include "tests/unit/kernels/fixture.h"

#include <string.h>

static const struct kernels_options SMALL = {
    .threads = 1, .spin_ns = -1, .rows_max = 4, .columns_max = 64, .context_max = 64, .heads_max = 2};

/** Open with `options` and expect `status` and a sentence that contains `part`. */
static void expect_refused(const char *device, struct kernels_options options, enum status status, const char *part) {
    struct kernels *kernels = NULL;
    struct error err = {0};
    assert_int_equal(kernels_open(device, &options, &kernels, &err), status);
    assert_null(kernels);
    if (strstr(err.message, part) == NULL) fail_msg("'%s' does not say '%s'", err.message, part);
}

static void test_auto_is_the_best_variant(void **state) {
    (void)state;
    const char *const names[] = {NULL, "auto", kernels_cpu_variants()[0]};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct kernels_options options = SMALL;
        options.variant = names[i];
        struct kernels *kernels = NULL;
        assert_int_equal(kernels_open("cpu", &options, &kernels, NULL), STATUS_OK);
        assert_string_equal(kernels->variant, kernels_cpu_variants()[0]);
        assert_string_equal(kernels->device, "cpu");
        assert_int_equal(kernels->threads, 1);
        kernels_close(kernels);
    }
}

static void test_plain_runs_everywhere(void **state) {
    (void)state;
    const char *last = NULL;
    for_each_variant(name) last = name;
    assert_string_equal(last, "plain");
}

static void test_zero_threads_is_at_least_one(void **state) {
    (void)state;
    struct kernels_options options = SMALL;
    options.threads = 0;
    struct kernels *kernels = NULL;
    assert_int_equal(kernels_open("cpu", &options, &kernels, NULL), STATUS_OK);
    assert_true(kernels->threads >= 1);
    kernels_close(kernels);
}

static void test_unknown_device_is_not_found(void **state) {
    (void)state;
    expect_refused("npu:0", SMALL, STATUS_NOT_FOUND, "npu:0");
}

static void test_unknown_variant_is_not_found_and_names_the_known(void **state) {
    (void)state;
    struct kernels_options options = SMALL;
    options.variant = "sse2";
    expect_refused("cpu", options, STATUS_NOT_FOUND, "plain, avx2, avx512");
}

/** A variant that exists and that this machine lacks; none to ask for on a machine that has all. */
static void test_lacking_variant_is_unimplemented(void **state) {
    (void)state;
    static const char *const all[] = {"avx2", "avx512"};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        bool here = false;
        for_each_variant(name) here = here || strcmp(name, all[i]) == 0;
        struct kernels_options options = SMALL;
        options.variant = all[i];
        if (!here) expect_refused("cpu", options, STATUS_UNIMPLEMENTED, all[i]);
    }
}

static void test_impossible_sizes_are_refused(void **state) {
    (void)state;
    struct kernels_options options = SMALL;
    options.rows_max = 0;
    expect_refused("cpu", options, STATUS_INVALID_ARGUMENT, "at least 1");
    options = SMALL;
    options.columns_max = -1;
    expect_refused("cpu", options, STATUS_INVALID_ARGUMENT, "at least 1");
    options = SMALL;
    options.heads_max = 0;
    expect_refused("cpu", options, STATUS_INVALID_ARGUMENT, "at least 1");
    options = SMALL;
    options.context_max = 0;
    expect_refused("cpu", options, STATUS_INVALID_ARGUMENT, "at least 1");
    options = SMALL;
    options.rows_max = options.columns_max = INT64_MAX;
    expect_refused("cpu", options, STATUS_INVALID_ARGUMENT, "do not fit");
    options = SMALL;
    options.threads = 100000;
    expect_refused("cpu", options, STATUS_INVALID_ARGUMENT, "100000 threads");
}

static void expect_weights_refused(struct tensor_view view, enum status status, const char *part) {
    for_each_variant(name) {
        struct kernels_options options = SMALL;
        options.variant = name;
        struct kernels *kernels = NULL;
        struct weights *weights = NULL;
        struct error err = {0};
        assert_int_equal(kernels_open("cpu", &options, &kernels, &err), STATUS_OK);
        assert_int_equal(kernels->operations->weights_create(kernels, &view, &weights, &err), status);
        assert_null(weights);
        if (strstr(err.message, part) == NULL) fail_msg("'%s' does not say '%s'", err.message, part);
        kernels_close(kernels);
    }
}

static void test_unknown_type_is_unimplemented(void **state) {
    (void)state;
    char data[64] = {0};
    struct tensor_view view = {.data = data, .type = (enum tensor_type)99, .rows = 1, .columns = 32};
    expect_weights_refused(view, STATUS_UNIMPLEMENTED, "type 99");
    for_each_variant(name) {
        struct kernels *kernels = fixture_open(name, 1);
        assert_false(kernels->operations->supports(kernels, (enum tensor_type)99));
        assert_false(kernels->operations->supports(kernels, (enum tensor_type)4)); /* a hole in GGUF's numbers */
        assert_true(kernels->operations->supports(kernels, TENSOR_Q4_1));
        kernels_close(kernels);
    }
}

static void test_columns_not_whole_blocks_are_refused(void **state) {
    (void)state;
    char data[64] = {0};
    expect_weights_refused((struct tensor_view){.data = data, .type = TENSOR_Q4_1, .rows = 1, .columns = 33},
                           STATUS_INVALID_ARGUMENT, "blocks of 32 (Q4_1)");
    expect_weights_refused((struct tensor_view){.data = data, .type = TENSOR_Q8_0, .rows = 1, .columns = 31},
                           STATUS_INVALID_ARGUMENT, "blocks of 32 (Q8_0)");
    expect_weights_refused((struct tensor_view){.data = data, .type = TENSOR_F32, .rows = 0, .columns = 8},
                           STATUS_INVALID_ARGUMENT, "0 x 8");
    expect_weights_refused((struct tensor_view){.data = data, .type = TENSOR_F32, .rows = 1, .columns = 0},
                           STATUS_INVALID_ARGUMENT, "1 x 0");
}

static void test_columns_beyond_the_scratch_are_refused(void **state) {
    (void)state;
    float data[96] = {0};
    expect_weights_refused((struct tensor_view){.data = data, .type = TENSOR_F32, .rows = 1, .columns = 65},
                           STATUS_INVALID_ARGUMENT, "65 columns");
}

static void test_destroy_of_nothing_is_harmless(void **state) {
    (void)state;
    kernels_close(NULL);
    struct kernels *kernels = fixture_open("plain", 1);
    kernels->operations->weights_destroy(kernels, NULL);
    kernels_close(kernels);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_auto_is_the_best_variant),
        cmocka_unit_test(test_plain_runs_everywhere),
        cmocka_unit_test(test_zero_threads_is_at_least_one),
        cmocka_unit_test(test_unknown_device_is_not_found),
        cmocka_unit_test(test_unknown_variant_is_not_found_and_names_the_known),
        cmocka_unit_test(test_lacking_variant_is_unimplemented),
        cmocka_unit_test(test_impossible_sizes_are_refused),
        cmocka_unit_test(test_unknown_type_is_unimplemented),
        cmocka_unit_test(test_columns_not_whole_blocks_are_refused),
        cmocka_unit_test(test_columns_beyond_the_scratch_are_refused),
        cmocka_unit_test(test_destroy_of_nothing_is_harmless),
    };
    return cmocka_run_group_tests(tests, fixture_announce, NULL);
}
