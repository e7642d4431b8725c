/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "rpc/http_parse.h"

#include "base/limits.h"

#include <stdlib.h>
#include <string.h>

/* ---- the head ------------------------------------------------------------------------------------------------------ */

size_t http_head_length(struct bytes_view text, size_t seen) {
    static const char end[] = "\r\n\r\n";
    size_t from = seen > 3 ? seen - 3 : 0;
    if (text.length < from + 4) return 0;
    const uint8_t *found = memmem(text.data + from, text.length - from, end, 4);
    return found != NULL ? (size_t)(found - text.data) + 4 : 0;
}

static int hex_digit(char digit) {
    if (digit >= '0' && digit <= '9') return digit - '0';
    if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
    return -1;
}

/** In place; what is no code stays as it is. `plus`: a plus sign is a blank, as in queries. */
static void decode(char *text, bool plus) {
    char *out = text;
    for (const char *at = text; *at != 0; at++) {
        int high = *at == '%' ? hex_digit(at[1]) : -1, low = high >= 0 ? hex_digit(at[2]) : -1;
        if (low >= 0) {
            *out++ = (char)(high * 16 + low);
            at += 2;
        } else {
            *out++ = plus && *at == '+' ? ' ' : *at;
        }
    }
    *out = 0;
}

struct parser {
    char *rest; /* of the text, NUL-terminated */
    struct http_field *free, *fields_end;
};

/** The next line, cut from the rest. */
static char *take_line(struct parser *parser) {
    char *line = parser->rest, *end = strstr(line, "\r\n");
    if (end == NULL) return NULL;
    *end = 0;
    parser->rest = end + 2;
    return line;
}

static struct http_field *new_field(struct parser *parser, const char *name, const char *value) {
    if (parser->free == parser->fields_end) return NULL;
    *parser->free = (struct http_field){.name = name, .value = value};
    return parser->free++;
}

/** "HTTP/1.1" and "HTTP/1.0". */
static int parse_version(const char *text, int *out_minor) {
    bool formed = strncmp(text, "HTTP/", 5) == 0 && text[5] >= '0' && text[5] <= '9' && text[6] == '.' &&
                  text[7] >= '0' && text[7] <= '9' && text[8] == 0;
    if (!formed) return 400;
    if (text[5] != '1') return 505;
    *out_minor = text[7] == '0' ? 0 : 1;
    return 0;
}

/** The path of a target that may name its server too ("http://host/path"). */
static char *path_of(char *target) {
    size_t scheme = strncmp(target, "http://", 7) == 0 ? 7 : strncmp(target, "https://", 8) == 0 ? 8 : 0;
    if (scheme == 0) return target;
    char *slash = strchr(target + scheme, '/');
    return slash != NULL ? slash : target + strlen(target);
}

static bool parse_queries(struct parser *parser, char *text, struct http_head *head) {
    struct http_field **tail = &head->queries;
    for (char *piece; text != NULL && (piece = strsep(&text, "&")) != NULL;) {
        char *value = piece, *name = strsep(&value, "=");
        if (*name == 0) continue;
        decode(name, true);
        if (value != NULL) decode(value, true);
        *tail = new_field(parser, name, value != NULL ? value : "");
        if (*tail == NULL) return false;
        tail = &(*tail)->next;
    }
    return true;
}

static int parse_request_line(struct parser *parser, struct http_head *head, const char **out_reason) {
    char *line = take_line(parser), *target = line != NULL ? strchr(line, ' ') : NULL,
         *version = target != NULL ? strrchr(line, ' ') : NULL;
    *out_reason = "malformed request line";
    if (version == NULL || version == target || target == line) return 400;
    *target++ = 0;
    *version++ = 0;
    int refused = parse_version(version, &head->minor_version);
    if (refused == 505) *out_reason = "HTTP version not supported";
    if (refused != 0) return refused;
    *out_reason = "malformed request target";
    if (!http_framing_target_valid(target)) return 400;
    head->method = line;
    char *path = path_of(target), *query = strchr(path, '?');
    if (query != NULL) *query++ = 0;
    decode(path, false);
    head->path = path;
    *out_reason = "too many query parameters";
    return parse_queries(parser, query, head) ? 0 : 431;
}

static int parse_headers(struct parser *parser, struct http_head *head, const char **out_reason) {
    struct http_field **tail = &head->headers;
    for (char *line; (line = take_line(parser)) != NULL && *line != 0;) {
        char *colon = strchr(line, ':');
        *out_reason = "malformed header field";
        if (colon == NULL || *line == ' ' || *line == '\t') return 400; /* folded lines, too */
        *colon = 0;
        char *value = colon + 1 + strspn(colon + 1, " \t");
        size_t length = strlen(value);
        while (length > 0 && (value[length - 1] == ' ' || value[length - 1] == '\t')) length--;
        value[length] = 0;
        *out_reason = "request headers too large";
        *tail = new_field(parser, line, value);
        if (*tail == NULL) return 431;
        tail = &(*tail)->next;
    }
    return 0;
}

/** No more fields than this has lines and parameters. */
static size_t count_fields(struct bytes_view text) {
    size_t count = 2;
    for (size_t i = 0; i < text.length && count < HTTP_FIELDS_MAX; i++)
        count += text.data[i] == '\n' || text.data[i] == '&';
    return count;
}

int http_head_parse(struct bytes_view text, struct http_head *out, const char **out_reason) {
    size_t fields = count_fields(text);
    struct http_field *memory = malloc(fields * sizeof *memory + text.length + 1);
    *out = (struct http_head){.method = "", .path = "", .memory = memory};
    *out_reason = "out of memory";
    if (memory == NULL) return 503;
    struct parser parser = {.rest = (char *)(memory + fields), .free = memory, .fields_end = memory + fields};
    memcpy(parser.rest, text.data, text.length);
    parser.rest[text.length] = 0;
    int refused = 0;
    if (memchr(text.data, 0, text.length) != NULL) {
        *out_reason = "malformed header field";
        refused = 400;
    }
    if (refused == 0) refused = parse_request_line(&parser, out, out_reason);
    if (refused == 0) refused = parse_headers(&parser, out, out_reason);
    if (refused != 0) http_head_deinit(out);
    return refused;
}

void http_head_deinit(struct http_head *head) {
    free(head->memory);
    *head = (struct http_head){.method = "", .path = ""};
}

/* ---- chunks -------------------------------------------------------------------------------------------------------- */

enum { SIZE, BLANKS, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER_START, TRAILER, TRAILER_LF, END_LF, ENDED };
enum { SIZE_DIGITS_MAX = 15, EXTENSION_BYTES_MAX = 1024 };

/** Behind the digits: blanks, then an extension or the line's end. */
static enum http_chunks_state end_size(struct http_chunks *chunks, char byte) {
    if (byte == '\r')
        chunks->phase = SIZE_LF;
    else if (byte == ';')
        chunks->phase = EXTENSION;
    else if (byte != ' ' && byte != '\t')
        return HTTP_CHUNKS_MALFORMED;
    else if (++chunks->line_bytes > EXTENSION_BYTES_MAX)
        return HTTP_CHUNKS_TOO_LARGE;
    else
        chunks->phase = BLANKS;
    return HTTP_CHUNKS_MORE;
}

static enum http_chunks_state take_size_digit(struct http_chunks *chunks, char byte) {
    int digit = hex_digit(byte);
    if (digit >= 0) {
        if (++chunks->digits > SIZE_DIGITS_MAX) return HTTP_CHUNKS_TOO_LARGE;
        chunks->left = chunks->left * 16 + (uint64_t)digit;
        return HTTP_CHUNKS_MORE;
    }
    if (chunks->digits == 0) return HTTP_CHUNKS_MALFORMED;
    return end_size(chunks, byte);
}

/** Of an extension or a trailer: to the end of its line, at which `next` comes. */
static enum http_chunks_state skip_line(struct http_chunks *chunks, char byte, size_t most, int next) {
    if (byte == '\r')
        chunks->phase = next;
    else if (++chunks->line_bytes > most)
        return HTTP_CHUNKS_TOO_LARGE;
    else if (byte == '\n' || byte == 0)
        return HTTP_CHUNKS_MALFORMED;
    return HTTP_CHUNKS_MORE;
}

static enum http_chunks_state expect(struct http_chunks *chunks, char byte, char expected, int next) {
    if (byte != expected) return HTTP_CHUNKS_MALFORMED;
    chunks->phase = next;
    return HTTP_CHUNKS_MORE;
}

/** A byte that is no data. */
static enum http_chunks_state take_byte(struct http_chunks *chunks, char byte) {
    switch (chunks->phase) {
    case SIZE:
        return take_size_digit(chunks, byte);
    case BLANKS:
        return end_size(chunks, byte);
    case EXTENSION:
        return skip_line(chunks, byte, EXTENSION_BYTES_MAX, SIZE_LF);
    case SIZE_LF:
        chunks->line_bytes = 0;
        chunks->digits = 0;
        return expect(chunks, byte, '\n', chunks->left > 0 ? DATA : TRAILER_START);
    case DATA_CR:
        return expect(chunks, byte, '\r', DATA_LF);
    case DATA_LF:
        return expect(chunks, byte, '\n', SIZE);
    case TRAILER_START:
        if (byte == '\r') return expect(chunks, byte, '\r', END_LF);
        chunks->phase = TRAILER;
        return skip_line(chunks, byte, LIMIT_HEADER_BYTES, TRAILER_LF);
    case TRAILER:
        return skip_line(chunks, byte, LIMIT_HEADER_BYTES, TRAILER_LF);
    case TRAILER_LF:
        return expect(chunks, byte, '\n', TRAILER_START);
    default:
        return expect(chunks, byte, '\n', ENDED);
    }
}

enum http_chunks_state http_chunks_next(struct http_chunks *chunks, struct bytes_view *data,
                                        struct bytes_view *out_piece) {
    *out_piece = (struct bytes_view){0};
    while (data->length > 0 && chunks->phase != ENDED) {
        if (chunks->phase == DATA) {
            size_t taken = data->length < chunks->left ? data->length : (size_t)chunks->left;
            *out_piece = bytes_view_of(data->data, taken);
            *data = bytes_view_of(data->data + taken, data->length - taken);
            chunks->left -= taken;
            if (chunks->left == 0) chunks->phase = DATA_CR;
            return HTTP_CHUNKS_MORE;
        }
        enum http_chunks_state state = take_byte(chunks, (char)*data->data);
        *data = bytes_view_of(data->data + 1, data->length - 1);
        if (state != HTTP_CHUNKS_MORE) return state;
    }
    return chunks->phase == ENDED ? HTTP_CHUNKS_END : HTTP_CHUNKS_MORE;
}
