/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/table.h"

#include "base/clock.h"
#include "base/text.h"
#include "cli/fields.h"
#include "cli/limits.h"
#include "cli/print.h"
#include "cli/terminal.h"
#include "cli/values.h"

#include <inttypes.h>
#include <string.h>

/* --- cells ------------------------------------------------------------------------------------------------------- */

static void format_moment(const struct field_value *value, enum cell_form form, char out[TABLE_CELL_BYTES]) {
    int64_t seconds = value->integer;
    char text[VALUE_TIME_BYTES];
    if (value->kind == FIELD_TEXT && !value_parse_time(value->text, &seconds)) {
        snprintf(out, TABLE_CELL_BYTES, "%s", value->text[0] != 0 ? value->text : "-");
        return;
    }
    if (form == CELL_AGO)
        value_format_ago(seconds, clock_unix_ns(clock_system()) / NS_PER_S, text);
    else
        value_format_time(seconds, text);
    snprintf(out, TABLE_CELL_BYTES, "%s", text);
}

static void format_list(const struct field_value *value, char out[TABLE_CELL_BYTES]) {
    size_t length = 0;
    for (size_t i = 0; i < value->count && length < TABLE_CELL_BYTES; i++)
        length += (size_t)snprintf(out + length, TABLE_CELL_BYTES - length, "%s%s", i > 0 ? ", " : "",
                                   (const char *)value->items[i]);
}

static void format_value(const struct field_value *value, enum cell_form form, char out[TABLE_CELL_BYTES]) {
    out[0] = 0;
    switch (value->kind) {
    case FIELD_TEXT:
        if (form == CELL_TIME || form == CELL_AGO)
            format_moment(value, form, out);
        else
            snprintf(out, TABLE_CELL_BYTES, "%s", value->text);
        break;
    case FIELD_INTEGER:
        if (form == CELL_TIME || form == CELL_AGO)
            format_moment(value, form, out);
        else if (form == CELL_COUNT)
            value_format_count(value->integer, out);
        else
            snprintf(out, TABLE_CELL_BYTES, "%" PRId64, value->integer);
        break;
    case FIELD_NUMBER:
        if (form == CELL_MONEY)
            value_format_money(value->number, out);
        else
            text_from_double(value->number, out);
        break;
    case FIELD_FLAG:
        snprintf(out, TABLE_CELL_BYTES, "%s", value->flag ? "yes" : "no");
        break;
    case FIELD_LIST:
        format_list(value, out);
        break;
    case FIELD_MESSAGE:
        if (form == CELL_LIMITS) limits_describe((const Bora__V1__Limits *)value->message, out);
        break;
    default:
        break;
    }
}

/** Cut after `width` characters, the last of them an ellipsis. */
static void cut(char *text, int width) {
    const uint8_t *at = (const uint8_t *)text, *last = at, *end = at + strlen(text);
    for (int count = 0; at < end; count++) {
        uint32_t character;
        bool valid;
        if (count == width) {
            memcpy(text + (last - (const uint8_t *)text), "\u2026", sizeof "\u2026");
            return;
        }
        last = at;
        at += text_decode(at, (size_t)(end - at), &character, &valid);
    }
}

void table_cell(const ProtobufCMessage *message, const struct table_column *column, char out[TABLE_CELL_BYTES]) {
    char raw[TABLE_CELL_BYTES];
    const struct field_value value = field_get(message, column->path);
    if (column->form == CELL_BOUNDS)
        limits_summarise(message, raw);
    else
        format_value(&value, column->form, raw);
    raw[text_truncate(raw, strlen(raw), TABLE_CELL_BYTES - 4)] = 0; /* room for an ellipsis */
    print_clean_to(raw, out, TABLE_CELL_BYTES);
    if (column->width_max > 0) cut(out, column->width_max);
    if (out[0] == 0) strcpy(out, "-");
}

static enum style style_of(const char *status) {
    static const struct {
        const char *word;
        enum style style;
    } styles[] = {{"active", STYLE_GOOD},       {"enabled", STYLE_GOOD}, {"serving", STYLE_GOOD}, {"ready", STYLE_GOOD},
                  {"disabled", STYLE_DOUBTFUL}, {"expired", STYLE_BAD},  {"revoked", STYLE_BAD}};
    for (size_t i = 0; i < sizeof styles / sizeof *styles; i++) {
        if (strcmp(status, styles[i].word) == 0) return styles[i].style;
    }
    return STYLE_PLAIN;
}

/* --- tables ------------------------------------------------------------------------------------------------------ */

static bool right_aligned(enum cell_form form) {
    return form == CELL_COUNT || form == CELL_MONEY;
}

/** `text` in a column; the last one of a line is not padded on its right. */
static void print_cell(FILE *file, const char *text, int width, bool right, bool last, enum style style) {
    int room = width - print_width(text);
    if (right) fprintf(file, "%*s", room, "");
    fprintf(file, "%s%s%s", terminal_style(file, style), text, terminal_plain(file));
    if (!last) fprintf(file, "%*s", (right ? 0 : room) + 2, "");
}

enum { LAST_ROOM_MIN = 12, GAP = 2 };

/** Columns of a terminal `width` wide that are left for the last one; below what that needs there are too many others. */
static int last_column_room(int width, const int *widths, int count) {
    for (int i = 0; i + 1 < count; i++) width -= widths[i] + GAP;
    return width;
}

/** Leave out what can be, one by one, until the rest fits. Gives how many are left. */
static int fit_columns(int width, struct table_column *columns, int *widths, int count) {
    for (;;) {
        int least = widths[count - 1] < LAST_ROOM_MIN ? widths[count - 1] : LAST_ROOM_MIN, out = 0;
        for (int i = 1; i < count; i++) out = columns[i].spare > columns[out].spare ? i : out;
        if (last_column_room(width, widths, count) >= least || columns[out].spare == 0) return count;
        count--;
        memmove(columns + out, columns + out + 1, (size_t)(count - out) * sizeof *columns);
        memmove(widths + out, widths + out + 1, (size_t)(count - out) * sizeof *widths);
    }
}

void table_print(FILE *file, const struct table_column *all, int count, ProtobufCMessage *const *rows,
                 size_t row_count) {
    struct table_column columns[TABLE_COLUMNS_MAX];
    int widths[TABLE_COLUMNS_MAX], room = 0, terminal = terminal_width(file);
    char cell[TABLE_CELL_BYTES];
    memcpy(columns, all, (size_t)count * sizeof *columns);
    for (int i = 0; i < count; i++) {
        widths[i] = print_width(columns[i].title);
        for (size_t j = 0; j < row_count; j++) {
            table_cell(rows[j], &columns[i], cell);
            int width = print_width(cell);
            if (width > widths[i]) widths[i] = width;
        }
    }
    if (terminal > 0) {
        count = fit_columns(terminal, columns, widths, count);
        room = last_column_room(terminal, widths, count);
        if (room < LAST_ROOM_MIN) room = LAST_ROOM_MIN;
    }
    for (int i = 0; i < count; i++)
        print_cell(file, columns[i].title, widths[i], right_aligned(columns[i].form), i + 1 == count, STYLE_BOLD);
    fputc('\n', file);
    for (size_t j = 0; j < row_count; j++) {
        for (int i = 0; i < count; i++) {
            table_cell(rows[j], &columns[i], cell);
            if (i + 1 == count && room > 0) cut(cell, room);
            print_cell(file, cell, widths[i], right_aligned(columns[i].form), i + 1 == count,
                       columns[i].form == CELL_STATUS ? style_of(cell) : STYLE_PLAIN);
        }
        fputc('\n', file);
    }
}

void table_print_one(FILE *file, const struct table_column *columns, int count, const ProtobufCMessage *message) {
    int width = 0;
    char cell[TABLE_CELL_BYTES];
    for (int i = 0; i < count; i++) {
        int here = print_width(columns[i].title);
        table_cell(message, &columns[i], cell);
        if (here > width && strcmp(cell, "-") != 0) width = here;
    }
    for (int i = 0; i < count; i++) {
        const struct table_column *column = &columns[i];
        table_cell(message, column, cell);
        if (strcmp(cell, "-") == 0) continue;
        print_cell(file, column->title, width, false, false, STYLE_DIM);
        print_cell(file, cell, 0, false, true, column->form == CELL_STATUS ? style_of(cell) : STYLE_PLAIN);
        fputc('\n', file);
    }
}
