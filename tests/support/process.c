/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { POLL_MS = 2 };

static void give_up(const char *what) {
    fprintf(stderr, "process: %s: %s\n", what, strerror(errno));
    abort();
}

static void nap(void) {
    nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
}

void test_process_start(struct test_process *process, const char *const *arguments) {
    snprintf(process->output, sizeof process->output, "/tmp/bora-test-output-XXXXXX");
    int fd = mkostemp(process->output, O_CLOEXEC | O_APPEND);
    if (fd < 0) give_up("mkostemp");
    process->pid = fork();
    if (process->pid < 0) give_up("fork");
    if (process->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
        execv(arguments[0], (char *const *)arguments);
        fprintf(stderr, "cannot run %s: %s\n", arguments[0], strerror(errno));
        _exit(127);
    }
    close(fd);
}

char *test_process_output(const struct test_process *process) {
    int fd = open(process->output, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0) give_up("output");
    char *text = calloc(1, (size_t)info.st_size + 1);
    if (text == NULL || read(fd, text, (size_t)info.st_size) != info.st_size) give_up("output");
    close(fd);
    return text;
}

static bool find_line(const char *output, const char *text, char *out_line, size_t line_bytes) {
    const char *found = strstr(output, text);
    const char *end = found != NULL ? strchr(found, '\n') : NULL;
    if (end == NULL) return false;
    const char *begin = found;
    while (begin > output && begin[-1] != '\n') begin--;
    if (out_line != NULL) snprintf(out_line, line_bytes, "%.*s", (int)(end - begin), begin);
    return true;
}

/** True when it has ended; then its exit status is known. */
static bool reap(struct test_process *process, int *out_exit) {
    int status = 0;
    if (waitpid(process->pid, &status, WNOHANG) != process->pid) return false;
    process->pid = 0;
    *out_exit = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return true;
}

bool test_process_wait_for(struct test_process *process, const char *text, int seconds, char *out_line,
                           size_t line_bytes) {
    for (int i = 0; i < seconds * 1000 / POLL_MS; i++) {
        siginfo_t info = {0};
        bool ended = process->pid == 0 ||
                     (waitid(P_PID, (id_t)process->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0);
        char *output = test_process_output(process);
        bool found = find_line(output, text, out_line, line_bytes);
        if (!found && ended) fprintf(stderr, "process: ended without \"%s\":\n%s", text, output);
        free(output);
        if (found || ended) return found;
        nap();
    }
    return false;
}

int test_process_wait(struct test_process *process, int seconds) {
    int status = -1;
    for (int i = 0; i < seconds * 1000 / POLL_MS; i++) {
        if (reap(process, &status)) return status;
        nap();
    }
    return -1;
}

int test_process_stop(struct test_process *process, int signal_number, int seconds) {
    int status = -1;
    if (process->pid > 0) {
        kill(process->pid, signal_number);
        status = test_process_wait(process, seconds);
    }
    if (process->pid > 0) {
        kill(process->pid, SIGKILL);
        waitpid(process->pid, NULL, 0);
        process->pid = 0;
    }
    unlink(process->output);
    return status;
}
