/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/limits.h"
#include "base/threads.h"
#include "tests/support/check.h"

#include <ftw.h>
#include <sched.h>
#include <sys/stat.h>

/** A made-up /sys/fs/cgroup. */
static char root[64];

static int make_root(void **state) {
    (void)state;
    strcpy(root, "/tmp/bora-cgroup-XXXXXX");
    return mkdtemp(root) != NULL ? 0 : -1;
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk) {
    (void)status, (void)kind, (void)walk;
    return remove(path);
}

static int remove_root(void **state) {
    (void)state;
    return nftw(root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

/** Write `text` into `name` below the root, making its folders. */
static void put(const char *name, const char *text) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = 0;
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int quota(void) {
    char process_file[128];
    snprintf(process_file, sizeof process_file, "%s/self", root);
    return threads_cgroup_quota(root, process_file);
}

static void test_version_2_quota_rounds_up(void **state) {
    (void)state;
    put("self", "0::/\n");
    put("cpu.max", "150000 100000\n");
    assert_int_equal(quota(), 2);
    put("cpu.max", "200000 100000\n");
    assert_int_equal(quota(), 2);
    put("cpu.max", "200001 100000\n");
    assert_int_equal(quota(), 3);
    put("cpu.max", "1000 100000\n");
    assert_int_equal(quota(), 1);
}

static void test_no_quota_is_0(void **state) {
    (void)state;
    assert_int_equal(quota(), 0); /* no files at all */
    put("self", "0::/\n");
    assert_int_equal(quota(), 0);
    put("cpu.max", "max 100000\n");
    assert_int_equal(quota(), 0);
}

static void test_nonsense_is_no_quota(void **state) {
    (void)state;
    put("self", "0::/\n");
    static const char *const texts[] = {"", "x", "100000", "100000 0", "-5 100000", "0 0"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        put("cpu.max", texts[i]);
        assert_int_equal(quota(), 0);
    }
    put("cpu.max", "9223372036854775807 1");
    assert_int_equal(quota(), LIMIT_THREADS);
    put("self", "nonsense\n:\n::\n\n");
    assert_int_equal(quota(), LIMIT_THREADS); /* "::" is version 2 at the mount itself */
}

static void test_tightest_of_nested_groups_counts(void **state) {
    (void)state;
    put("self", "0::/outer/inner\n");
    put("outer/inner/cpu.max", "max 100000\n");
    put("outer/cpu.max", "300000 100000\n");
    assert_int_equal(quota(), 3);
    put("outer/inner/cpu.max", "200000 100000\n");
    assert_int_equal(quota(), 2);
    put("outer/inner/cpu.max", "800000 100000\n");
    assert_int_equal(quota(), 3);
}

static void test_group_of_another_process_does_not_count(void **state) {
    (void)state;
    put("self", "0::/mine\n");
    put("mine/cpu.max", "400000 100000\n");
    put("theirs/cpu.max", "100000 100000\n");
    assert_int_equal(quota(), 4);
}

static void test_path_of_the_host_falls_back_to_the_mount(void **state) {
    (void)state;
    put("self", "0::/docker/0123456789\n"); /* not there, seen from the container */
    put("cpu.max", "200000 100000\n");
    assert_int_equal(quota(), 2);
}

static void test_version_1_quota(void **state) {
    (void)state;
    put("self", "9:memory:/a\n4:cpu,cpuacct:/a\n0::/\n");
    put("cpu,cpuacct/a/cpu.cfs_quota_us", "250000\n");
    put("cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
    put("memory/a/cpu.max", "100000 100000\n"); /* of another controller */
    assert_int_equal(quota(), 3);
    put("cpu,cpuacct/a/cpu.cfs_quota_us", "-1\n");
    assert_int_equal(quota(), 0);
}

static void test_cpuset_is_not_cpu(void **state) {
    (void)state;
    put("self", "3:cpuset:/\n2:cpuacct:/\n");
    put("cpuset/cpu.max", "100000 100000\n");
    put("cpuacct/cpu.max", "100000 100000\n");
    assert_int_equal(quota(), 0);
}

static void test_very_long_path_is_harmless(void **state) {
    (void)state;
    char line[3000] = "0::/";
    memset(line + 4, 'a', sizeof line - 5);
    put("self", line);
    put("cpu.max", "200000 100000\n");
    assert_int_equal(quota(), 2);
}

static void test_available_is_within_affinity(void **state) {
    (void)state;
    cpu_set_t before, one;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    int available = threads_available();
    assert_true(available >= 1 && available <= CPU_COUNT(&before) && available <= LIMIT_THREADS);
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++) {
        if (CPU_ISSET(i, &before)) CPU_SET(i, &one);
    }
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    int with_one = threads_available();
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    assert_int_equal(with_one, 1);
}

#define ROOT_TEST(test) cmocka_unit_test_setup_teardown(test, make_root, remove_root)

int main(void) {
    const struct CMUnitTest tests[] = {
        ROOT_TEST(test_version_2_quota_rounds_up),
        ROOT_TEST(test_no_quota_is_0),
        ROOT_TEST(test_nonsense_is_no_quota),
        ROOT_TEST(test_tightest_of_nested_groups_counts),
        ROOT_TEST(test_group_of_another_process_does_not_count),
        ROOT_TEST(test_path_of_the_host_falls_back_to_the_mount),
        ROOT_TEST(test_version_1_quota),
        ROOT_TEST(test_cpuset_is_not_cpu),
        ROOT_TEST(test_very_long_path_is_harmless),
        cmocka_unit_test(test_available_is_within_affinity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
