/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Files: whole small files, and the `[section]` + `name = value` form. */
#include "base/settings.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SECTION_BYTES = 256 };

enum status settings_read_file(const char *path, size_t max_bytes, char **out_text, size_t *out_length,
                               struct error *err) {
    FILE *file = fopen(path, "rbe");
    if (file == NULL)
        return error_set_errno(err, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_INVALID_ARGUMENT, errno,
                               "cannot open %s", path);
    enum status status = STATUS_OK;
    char *text = malloc(max_bytes + 2);
    if (text == NULL) {
        fclose(file);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory for %s", path);
    }
    errno = 0;
    size_t length = fread(text, 1, max_bytes + 1, file);
    if (ferror(file))
        status = error_set_errno(err, STATUS_INVALID_ARGUMENT, errno, "cannot read %s", path);
    else if (length > max_bytes)
        status = error_set(err, STATUS_INVALID_ARGUMENT, "%s is larger than %zu bytes", path, max_bytes);
    fclose(file);
    if (status != STATUS_OK) {
        free(text);
        return status;
    }
    text[length] = 0;
    *out_text = text;
    *out_length = length;
    return STATUS_OK;
}

enum status settings_read_secret(const char *path, char **out, struct error *err) {
    enum { SECRET_BYTES_MAX = 4096 };
    size_t length = 0;
    *out = NULL;
    if (path == NULL) return STATUS_OK;
    TRY(settings_read_file(path, SECRET_BYTES_MAX, out, &length, err));
    (*out)[strcspn(*out, "\r\n")] = 0;
    return STATUS_OK;
}

/** Cut a comment, which starts the line or follows white space. */
static void cut_comment(char *line) {
    for (char *c = line; *c != 0; c++) {
        if ((*c == '#' || *c == ';') && (c == line || isspace((unsigned char)c[-1]))) {
            *c = 0;
            return;
        }
    }
}

/** Cut white space at both ends. */
static char *trim(char *text) {
    while (isspace((unsigned char)*text)) text++;
    char *end = text + strlen(text);
    while (end > text && isspace((unsigned char)end[-1])) *--end = 0;
    return text;
}

/** `line` is "[section]", behind its white space. */
static enum status read_section(const char *path, int number, char *line, char section[SECTION_BYTES],
                                struct error *err) {
    size_t last = strlen(line) - 1;
    if (line[last] != ']')
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s:%d: '%.64s' is not a [section]", path, number, line);
    line[last] = 0;
    char *name = trim(line + 1);
    if (*name == 0 || strlen(name) >= SECTION_BYTES || strpbrk(name, "[]") != NULL)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s:%d: '[%.64s]' does not name a section in 1..%d bytes", path,
                         number, name, SECTION_BYTES - 1);
    strcpy(section, name);
    return STATUS_OK;
}

static enum status read_line(const char *path, int number, char *line, char section[SECTION_BYTES],
                             settings_entry_fn *on_entry, void *context, struct error *err) {
    cut_comment(line);
    line = trim(line);
    if (*line == 0) return STATUS_OK;
    if (*line == '[') return read_section(path, number, line, section, err);
    char *equals = strchr(line, '=');
    if (equals == NULL || equals == line)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s:%d: '%.64s' is not `name = value`", path, number, line);
    *equals = 0;
    return on_entry(context, section, trim(line), trim(equals + 1), number, err);
}

enum status settings_read_ini(const char *path, size_t max_bytes, settings_entry_fn *on_entry, void *context,
                              struct error *err) {
    static const char byte_order_mark[] = "\xEF\xBB\xBF";
    char *text = NULL, section[SECTION_BYTES] = "";
    size_t length = 0;
    TRY(settings_read_file(path, max_bytes, &text, &length, err));
    enum status status = STATUS_OK;
    if (memchr(text, 0, length) != NULL)
        status = error_set(err, STATUS_INVALID_ARGUMENT, "%s is not a text file", path);
    char *line = strncmp(text, byte_order_mark, 3) == 0 ? text + 3 : text;
    for (int number = 1; status == STATUS_OK && line < text + length; number++) {
        char *end = strchrnul(line, '\n');
        *end = 0;
        status = read_line(path, number, line, section, on_entry, context, err);
        line = end + 1;
    }
    free(text);
    return status;
}
