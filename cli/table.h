/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Messages as an aligned table for people, or as `name  value` lines for one of them. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <protobuf-c/protobuf-c.h>
#include <stdio.h>

enum cell_form {
    CELL_TEXT,   /* strings as they are, true and false as yes and no, lists with commas */
    CELL_COUNT,  /* 1,234,567, right-aligned */
    CELL_MONEY,  /* right-aligned */
    CELL_TIME,   /* RFC 3339 or Unix seconds -> 2026-11-23 12:09, local */
    CELL_AGO,    /* the same -> 5 min ago */
    CELL_LIMITS, /* a message bora.v1.Limits in words */
    CELL_BOUNDS, /* all that bounds the row itself, short; its path is "limits" */
    CELL_STATUS, /* a word with a colour: active, disabled, revoked, ... */
};
struct table_column {
    const char *title; /* "CREATED" */
    const char *path;  /* of the field: "api_key.id" */
    enum cell_form form;
    int width_max; /* longer text is cut with an ellipsis; 0: all of it, up to TABLE_CELL_BYTES */
    int spare;     /* not 0: left out where the terminal is too narrow, the largest first */
};
enum { TABLE_CELL_BYTES = 512, TABLE_COLUMNS_MAX = 16 };

/** One cell as text; "-" for what is absent or empty. Control characters become '?', line ends too. */
void table_cell(const ProtobufCMessage *message, const struct table_column *column, char out[TABLE_CELL_BYTES]);
/** A line of titles and a line for each message, columns as wide as they have to be; what a terminal has no room for is left out or, of the last one, cut. */
void table_print(FILE *file, const struct table_column *columns, int count, ProtobufCMessage *const *rows,
                 size_t row_count);
/** A line for each column: "created   2026-11-23 12:09"; absent ones are left out. */
void table_print_one(FILE *file, const struct table_column *columns, int count, const ProtobufCMessage *message);

#endif
