/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** What only a terminal is given: colours, bars, and notes beside the result. */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum style { STYLE_PLAIN, STYLE_BOLD, STYLE_DIM, STYLE_GOOD, STYLE_DOUBTFUL, STYLE_BAD };

/** `file` is a terminal that knows colours, and neither NO_COLOR nor TERM=dumb is set. */
bool terminal_colours(FILE *file);
/** The escape that begins a style, and the one that ends all; "" where there are no colours. */
const char *terminal_style(FILE *file, enum style style);
const char *terminal_plain(FILE *file);
/** Columns of the terminal behind `file`; 0 when it is none. */
int terminal_width(FILE *file);

/** A sentence beside the result, on stderr; nothing with --quiet. */
void terminal_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/** --quiet */
void terminal_set_quiet(bool quiet);
bool terminal_is_quiet(void);

/** "######......", `width` long, full at `share` >= 1. */
void terminal_bar(double share, int width, char *out);

/** Progress of long work on stderr, drawn again in place; only where stderr is a terminal and --quiet was not given. */
struct progress {
    bool shown, drawn;
    int percent;
    int64_t drawn_ns;
};
void progress_init(struct progress *progress);
/** `share` from 0 to 1, or below 0 when it is not known; `what` is told behind the bar. */
void progress_show(struct progress *progress, double share, const char *what);
/** Wipe it out. */
void progress_end(struct progress *progress);

#endif
