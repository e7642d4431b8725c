/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* How many processors: the affinity mask, and the CPU quota of the cgroups that hold this process. */
#include "base/limits.h"
#include "base/threads.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { CGROUP_PATH_BYTES = 1024, CGROUP_FILE_PATH_BYTES = CGROUP_PATH_BYTES + 32 };

/** The number a file begins with, and the one behind it; what is missing (or reads "max") stays as it is. */
static void read_numbers(const char *folder, const char *file_name, long long *first, long long *second) {
    char path[CGROUP_FILE_PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", folder, file_name);
    FILE *file = fopen(path, "re");
    if (file == NULL) return;
    long long a, b;
    int count = fscanf(file, "%lld %lld", &a, &b);
    if (count >= 1) *first = a;
    if (count == 2) *second = b;
    fclose(file);
}

/** CPUs that the quota of one cgroup gives, rounded up; 0 without a quota. */
static int folder_quota(const char *folder) {
    long long quota = 0, period = 0, ignored;
    read_numbers(folder, "cpu.max", &quota, &period); /* version 2: "max 100000" or "150000 100000" */
    if (quota == 0) {                                 /* version 1: a quota of -1 is none */
        read_numbers(folder, "cpu.cfs_quota_us", &quota, &ignored);
        read_numbers(folder, "cpu.cfs_period_us", &period, &ignored);
    }
    if (quota <= 0 || period <= 0) return 0;
    long long cpus = (quota - 1) / period + 1;
    return cpus < LIMIT_THREADS ? (int)cpus : LIMIT_THREADS;
}

/** The smaller of two quotas, of which 0 is none. */
static int tighter(int a, int b) {
    return a == 0 || (b != 0 && b < a) ? b : a;
}

/** The tightest quota of `mount` + `path` and of the folders above it, up to `mount` itself. */
static int path_quota(const char *mount, const char *path) {
    char folder[CGROUP_PATH_BYTES];
    size_t mount_length = strlen(mount);
    if (snprintf(folder, sizeof folder, "%s%s", mount, path) >= (int)sizeof folder) return folder_quota(mount);
    int quota = folder_quota(folder);
    for (char *slash; (slash = strrchr(folder + mount_length, '/')) != NULL;) {
        *slash = 0;
        quota = tighter(quota, folder_quota(folder));
    }
    return quota;
}

static bool has_word(const char *list, const char *word) {
    size_t length = strlen(word);
    for (const char *at = list; *at != 0;) {
        size_t here = strcspn(at, ",");
        if (here == length && memcmp(at, word, length) == 0) return true;
        at += here + (at[here] == ',');
    }
    return false;
}

int threads_cgroup_quota(const char *root, const char *process_file) {
    FILE *file = fopen(process_file, "re");
    if (file == NULL) return folder_quota(root);
    char line[CGROUP_PATH_BYTES];
    int quota = 0;
    /* "0::/path" is version 2; "4:cpu,cpuacct:/path" is version 1, mounted at root/cpu,cpuacct. In a container the path may
     * be the host's, of which only the end is mounted here: then the folders above it, at last the mount itself, speak. */
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':'), *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (path == NULL) continue;
        *controllers++ = *path++ = 0;
        bool version_1 = has_word(controllers, "cpu");
        if (!version_1 && *controllers != 0) continue;
        char mount[CGROUP_PATH_BYTES];
        int length = snprintf(mount, sizeof mount, "%s%s%s", root, version_1 ? "/" : "", controllers);
        if (length < (int)sizeof mount) quota = tighter(quota, path_quota(mount, path));
    }
    fclose(file);
    return quota;
}

int threads_available(void) {
    cpu_set_t set;
    int cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    int quota = threads_cgroup_quota("/sys/fs/cgroup", "/proc/self/cgroup");
    if (quota > 0 && quota < cpus) cpus = quota;
    return cpus < 1 ? 1 : cpus > LIMIT_THREADS ? LIMIT_THREADS : cpus;
}
