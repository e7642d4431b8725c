/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/terminal.h"

#include "base/clock.h"
#include "cli/print.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { NOTE_BYTES = 8192 };

static bool quiet;

bool terminal_colours(FILE *file) {
    const char *no_colour = getenv("NO_COLOR"), *terminal = getenv("TERM");
    if (no_colour != NULL && no_colour[0] != 0) return false;
    return isatty(fileno(file)) && terminal != NULL && strcmp(terminal, "dumb") != 0;
}

const char *terminal_style(FILE *file, enum style style) {
    static const char *const escapes[] = {
        [STYLE_PLAIN] = "",        [STYLE_BOLD] = "\033[1m",      [STYLE_DIM] = "\033[2m",
        [STYLE_GOOD] = "\033[32m", [STYLE_DOUBTFUL] = "\033[33m", [STYLE_BAD] = "\033[31m"};
    return terminal_colours(file) ? escapes[style] : "";
}

const char *terminal_plain(FILE *file) {
    return terminal_colours(file) ? "\033[0m" : "";
}

int terminal_width(FILE *file) {
    struct winsize size;
    if (!isatty(fileno(file)) || ioctl(fileno(file), TIOCGWINSZ, &size) != 0) return 0;
    return size.ws_col;
}

void terminal_set_quiet(bool value) {
    quiet = value;
}

bool terminal_is_quiet(void) {
    return quiet;
}

void terminal_note(const char *format, ...) {
    if (quiet) return;
    fflush(stdout); /* the result first */
    char note[NOTE_BYTES];
    va_list values;
    va_start(values, format);
    vsnprintf(note, sizeof note, format, values);
    va_end(values);
    print_clean(stderr, note);
}

void terminal_bar(double share, int width, char *out) {
    int full = share >= 1 ? width : share > 0 ? (int)(share * width) : 0;
    memset(out, '#', (size_t)full);
    memset(out + full, '.', (size_t)(width - full));
    out[width] = 0;
}

void progress_init(struct progress *progress) {
    *progress = (struct progress){.shown = isatty(STDERR_FILENO) != 0 && !quiet, .percent = -1};
}

void progress_show(struct progress *progress, double share, const char *what) {
    enum { WIDTH = 30, REDRAW_NS = 100 * NS_PER_MS };
    int64_t now = clock_monotonic_ns(clock_system());
    int percent = share >= 1 ? 100 : share > 0 ? (int)(100 * share) : 0;
    bool soon = progress->drawn && now - progress->drawn_ns < REDRAW_NS;
    if (!progress->shown || (soon && percent == progress->percent)) return;
    char bar[WIDTH + 1];
    terminal_bar(share, WIDTH, bar);
    if (share >= 0)
        fprintf(stderr, "\r\033[K[%s] %3d %%  %s", bar, percent, what);
    else
        fprintf(stderr, "\r\033[K%s", what);
    fflush(stderr);
    progress->percent = percent;
    progress->drawn_ns = now;
    progress->drawn = true;
}

void progress_end(struct progress *progress) {
    if (progress->drawn) fprintf(stderr, "\r\033[K");
    progress->drawn = false;
}
