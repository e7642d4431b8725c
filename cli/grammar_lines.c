/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/grammar_lines.h"

#include "base/clock.h"
#include "cli/grammar_documents.h"
#include "cli/print.h"
#include "engine/weights/file_map.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- opening ------------------------------------------------------------------------------------------------------- */

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

/** How JSON may be written. One option by one goes before what --as-served says. */
static int read_writing(struct grammar_run *run, const struct command_usage *usage,
                        const struct grammar_arguments *arguments) {
    const bool served = arguments->as_served;
    const char *space = arguments->space != NULL ? arguments->space : served ? "model" : "free";
    const char *order = arguments->order != NULL ? arguments->order : served ? "schema" : "any";
    const char *spelling = arguments->spelling != NULL ? arguments->spelling : served ? "plain" : "any";
    const char *properties = arguments->properties != NULL ? arguments->properties : served ? "listed" : "any";
    run->options.space = strcmp(space, "model") == 0     ? GRAMMAR_SPACE_MODEL
                         : strcmp(space, "compact") == 0 ? GRAMMAR_SPACE_COMPACT
                                                         : GRAMMAR_SPACE_FREE;
    if (run->options.space == GRAMMAR_SPACE_FREE && strcmp(space, "free") != 0)
        return usage_error(usage, "--space: '%.64s' is neither free, model nor compact", space);
    run->options.order = strcmp(order, "schema") == 0 ? GRAMMAR_ORDER_SCHEMA : GRAMMAR_ORDER_ANY;
    if (run->options.order == GRAMMAR_ORDER_ANY && strcmp(order, "any") != 0)
        return usage_error(usage, "--order: '%.64s' is neither any nor schema", order);
    run->options.spelling = strcmp(spelling, "plain") == 0 ? GRAMMAR_SPELLING_PLAIN : GRAMMAR_SPELLING_ANY;
    if (run->options.spelling == GRAMMAR_SPELLING_ANY && strcmp(spelling, "any") != 0)
        return usage_error(usage, "--spelling: '%.64s' is neither any nor plain", spelling);
    run->options.any_properties = strcmp(properties, "listed") != 0;
    if (run->options.any_properties && strcmp(properties, "any") != 0)
        return usage_error(usage, "--properties: '%.64s' is neither any nor listed", properties);
    return GO_ON;
}

static int read_choices(struct grammar_run *run, const struct command_usage *usage,
                        const struct grammar_arguments *arguments) {
    const char *dialect = arguments->dialect;
    if (arguments->tokenizer == NULL) return usage_error(usage, "--tokenizer is missing");
    if (arguments->regex != NULL && arguments->grammar != NULL)
        return usage_error(usage, "--regex and --grammar exclude each other");
    if (arguments->threads.given && arguments->threads.value != 1) return usage_error(usage, "--threads: only 1");
    if (arguments->fuel.given && arguments->fuel.value < 1) return usage_error(usage, "--limit-fuel: from 1 on");
    run->options.fuel = arguments->fuel.value;
    int result = read_writing(run, usage, arguments);
    if (result != GO_ON) return result;
    if (arguments->grammar == NULL) return dialect == NULL ? GO_ON : usage_error(usage, "--dialect is of --grammar");
    if (dialect == NULL) dialect = ends_with(arguments->grammar, ".lark") ? "lark" : "gbnf";
    if (strcmp(dialect, "gbnf") != 0 && strcmp(dialect, "lark") != 0)
        return usage_error(usage, "--dialect: '%.64s' is neither gbnf nor lark", dialect);
    run->dialect = dialect[0] == 'l' ? GRAMMAR_LARK : GRAMMAR_GBNF;
    return GO_ON;
}

/** What stands beside a tokenizer.json and names the tokens that end a text. */
static enum status read_configs(struct tokenizer *tokenizer, const char *path, struct error *err) {
    static const char *const names[] = {"tokenizer_config.json", "generation_config.json"};
    const char *slash = strrchr(path, '/');
    int folder_length = slash != NULL ? (int)(slash - path + 1) : 0;
    struct bytes_view configs[2] = {{0}, {0}};
    for (int i = 0; i < 2; i++) {
        char beside[PATH_MAX];
        snprintf(beside, sizeof beside, "%.*s%s", folder_length, path, names[i]);
        if (file_map_open(beside, GRAMMAR_FILE_BYTES_MAX, &configs[i], NULL) != STATUS_OK)
            configs[i] = (struct bytes_view){0};
    }
    enum status status = tokenizer_read_configs(tokenizer, configs[0], configs[1], err);
    for (int i = 0; i < 2; i++)
        if (configs[i].data != NULL) file_map_close(configs[i]);
    return status;
}

/** As tokenizer_load_path; a folder may have a tokenizer.json and no model, and a tokenizer.json the configs of its folder. */
static enum status load_tokenizer(const char *path, struct tokenizer **out, struct error *err) {
    char inside[PATH_MAX];
    struct error first = {0};
    snprintf(inside, sizeof inside, "%s/tokenizer.json", path);
    enum status status = tokenizer_load_path(path, out, &first);
    if (status != STATUS_OK && access(inside, R_OK) == 0) {
        path = inside;
        first.message[0] = 0;
        status = tokenizer_load_path(path, out, &first);
    }
    if (status != STATUS_OK) return error_set(err, status, "%s", first.message);
    return ends_with(path, "tokenizer.json") ? read_configs(*out, path, err) : STATUS_OK;
}

/** One mask of nothing in particular, so that the first line's times are not those of a program that is being read. */
static void warm_up(const struct grammar_run *run) {
    struct grammar *grammar = NULL;
    struct grammar_session *session = NULL;
    struct grammar_state at;
    struct grammar_problem problem;
    struct error ignored = {0};
    if (grammar_compile_rules(run->vocabulary, bytes_view_string("root ::= [a-z]+ \" \" root | \"1\""), GRAMMAR_GBNF,
                              NULL, &grammar, &problem) != STATUS_OK)
        return;
    if (grammar_session_create(grammar, &session, &ignored) == STATUS_OK &&
        grammar_start(session, &at, &ignored) == STATUS_OK)
        (void)!grammar_mask(session, &at, SIZE_MAX, run->mask, &ignored);
    grammar_session_destroy(session);
    grammar_unref(grammar);
}

static enum status load_vocabulary(struct grammar_run *run, const char *path, struct error *err) {
    TRY(load_tokenizer(path, &run->tokenizer, err));
    TRY(grammar_vocabulary_create(run->tokenizer, &run->vocabulary, err));
    int32_t count = tokenizer_vocabulary(run->tokenizer);
    run->mask_words = grammar_mask_words(run->vocabulary);
    run->mask = calloc(run->mask_words, sizeof *run->mask);
    run->ends = calloc((size_t)count, sizeof *run->ends);
    if (run->mask == NULL || run->ends == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    for (int32_t id = 0; id < count; id++)
        if (tokenizer_is_end(run->tokenizer, id)) run->ends[run->end_count++] = id;
    warm_up(run);
    return STATUS_OK;
}

static enum status load(struct grammar_run *run, const struct grammar_arguments *arguments, struct error *err) {
    if (arguments->regex != NULL) run->regex = bytes_view_string(arguments->regex);
    if (arguments->grammar != NULL) {
        TRY(file_map_open(arguments->grammar, GRAMMAR_FILE_BYTES_MAX, &run->rules_file, err));
        run->rules = run->rules_file.data != NULL ? run->rules_file : bytes_view_of("", 0);
    }
    TRY(grammar_documents_load(run, &arguments->documents, err));
    return load_vocabulary(run, arguments->tokenizer, err);
}

int grammar_run_open(struct grammar_run *run, const struct command_usage *usage,
                     const struct grammar_arguments *arguments) {
    *run = (struct grammar_run){0};
    arena_init(&run->documents, SIZE_MAX / 2);
    int result = read_choices(run, usage, arguments);
    if (result != GO_ON) return result;
    struct error err = {0};
    if (load(run, arguments, &err) == STATUS_OK) return GO_ON;
    print_failure("%s", err.message);
    return EXIT_FAILED;
}

void grammar_run_close(struct grammar_run *run) {
    if (run->vocabulary != NULL) grammar_vocabulary_destroy(run->vocabulary);
    if (run->tokenizer != NULL) tokenizer_destroy(run->tokenizer);
    if (run->rules_file.data != NULL) file_map_close(run->rules_file);
    for (size_t i = 0; i < run->document_count; i++) file_map_close(run->document_files[i]);
    arena_deinit(&run->documents);
    free(run->mask);
    free(run->ends);
}

bool grammar_run_may_end(const struct grammar_run *run, bool complete) {
    for (size_t i = 0; i < run->end_count; i++)
        if (grammar_run_bit(run, run->ends[i])) return true;
    return run->end_count == 0 && complete;
}

/* ---- lines in ------------------------------------------------------------------------------------------------------ */

/** Lines of standard input, of which only as much is held as may be one. */
struct line_reader {
    struct bytes held;
    size_t begin, searched; /* of the line that comes next; up to where no newline is */
    bool ended;
};

enum line_result { LINE_READ, LINE_TOO_LONG, LINE_NONE };

static bool read_more(struct line_reader *reader) {
    enum { PIECE = 1 << 16 };
    if (reader->begin > 0) {
        bytes_consume(&reader->held, reader->begin);
        reader->searched -= reader->begin;
        reader->begin = 0;
    }
    if (reader->ended || bytes_reserve(&reader->held, PIECE) != STATUS_OK) return false;
    ssize_t got;
    do got = read(STDIN_FILENO, reader->held.data + reader->held.length, PIECE);
    while (got < 0 && errno == EINTR);
    if (got <= 0) reader->ended = true;
    if (got > 0) reader->held.length += (size_t)got;
    return got > 0;
}

/** The next line without its end. One that is too long is skipped. */
static enum line_result read_line(struct line_reader *reader, struct bytes_view *out) {
    bool too_long = false;
    for (;;) {
        const uint8_t *from = reader->held.data + reader->searched;
        size_t left = reader->held.length - reader->searched;
        const uint8_t *end = left > 0 ? memchr(from, '\n', left) : NULL;
        bool last = end == NULL && reader->ended;
        if (end != NULL || (last && reader->held.length > reader->begin)) {
            size_t stop = last ? reader->held.length : (size_t)(end - reader->held.data);
            *out = bytes_view_of(reader->held.data + reader->begin, stop - reader->begin);
            reader->begin = reader->searched = last ? stop : stop + 1;
            return too_long || out->length > GRAMMAR_LINE_BYTES_MAX ? LINE_TOO_LONG : LINE_READ;
        }
        if (last) return too_long ? LINE_TOO_LONG : LINE_NONE;
        reader->searched = reader->held.length;
        if (reader->held.length - reader->begin > GRAMMAR_LINE_BYTES_MAX) {
            too_long = true;
            reader->begin = reader->searched;
        }
        (void)read_more(reader);
    }
}

/* ---- lines out ----------------------------------------------------------------------------------------------------- */

static void append_problem(struct bytes *out, const char *keyword, const char *pointer, const char *reason) {
    const char *values[] = {keyword, pointer, reason}, *names[] = {"keyword", "pointer", "reason"};
    for (int i = 0; i < 3; i++) {
        (void)bytes_printf(out, "%s\"%s\": ", i == 0 ? "{" : ", ", names[i]);
        (void)json_append_string(out, bytes_view_string(values[i]));
    }
    (void)bytes_append_byte(out, '}');
}

/** `{"id": 7`; the id is written as it came. */
static void append_id(struct bytes *out, const struct json_value *line) {
    const struct json_value *id = json_member(line, "id");
    (void)bytes_append_string(out, "{\"id\": ");
    if (id != NULL)
        (void)json_append_compact(out, id->text, GRAMMAR_LINE_BYTES_MAX);
    else
        (void)bytes_append_string(out, "null");
}

/** What a malformed line is answered by; "declined" too, for who looks only there. */
static void append_error(struct bytes *out, const struct json_value *line, const char *message) {
    bytes_reset(out);
    append_id(out, line);
    (void)bytes_append_string(out, ", \"error\": ");
    (void)json_append_string(out, bytes_view_string(message));
    (void)bytes_append_string(out, ", \"declined\": ");
    append_problem(out, "", "", message);
    (void)bytes_append_byte(out, '}');
}

static enum status compile(struct grammar_run *run, const struct json_value *schema, struct grammar **out,
                           struct grammar_problem *problem) {
    if (run->regex.data != NULL) return grammar_compile_regex(run->vocabulary, run->regex, &run->options, out, problem);
    if (run->rules.data != NULL)
        return grammar_compile_rules(run->vocabulary, run->rules, run->dialect, &run->options, out, problem);
    return grammar_compile_schema(run->vocabulary, schema, &run->options, out, problem);
}

static bool answer_line(struct grammar_run *run, const struct json_value *value, struct arena *arena, struct bytes *out,
                        grammar_line_answer answer, void *context) {
    const struct json_value *schema = json_member(value, "schema");
    bool given = run->regex.data != NULL || run->rules.data != NULL;
    struct error err = {0};
    if (schema == NULL && !given) {
        append_error(out, value, "there is no \"schema\"");
        return false;
    }
    struct grammar_line line = {.value = value, .arena = arena};
    struct grammar_problem problem = {0};
    int64_t begin = clock_monotonic_ns(clock_system());
    enum status status = compile(run, schema, &line.grammar, &problem);
    line.compile_ns = clock_monotonic_ns(clock_system()) - begin;
    append_id(out, value);
    (void)bytes_append_string(out, ", \"declined\": ");
    if (problem.reason[0] == 0) snprintf(problem.reason, sizeof problem.reason, "%s", status_name(status));
    if (status != STATUS_OK) line.grammar = NULL;
    line.nothing = status == STATUS_FAILED_PRECONDITION;
    if (status == STATUS_OK || line.nothing)
        (void)bytes_append_string(out, "null");
    else
        append_problem(out, problem.keyword, problem.pointer, problem.reason);
    bool good = answer(run, &line, out, &err, context);
    if (good && line.nothing) {
        (void)bytes_append_string(out, ", \"unsatisfiable\": ");
        append_problem(out, problem.keyword, problem.pointer, problem.reason);
    }
    if (good)
        (void)bytes_append_byte(out, '}');
    else
        append_error(out, value, err.message);
    if (line.grammar != NULL) grammar_unref(line.grammar);
    return good;
}

/** Blank lines are passed over. */
static bool is_blank(struct bytes_view line) {
    for (size_t i = 0; i < line.length; i++)
        if (strchr(" \t\r", line.data[i]) == NULL || line.data[i] == 0) return false;
    return true;
}

static bool handle(struct grammar_run *run, enum line_result result, struct bytes_view text, struct arena *arena,
                   struct bytes *out, grammar_line_answer answer, void *context) {
    struct json_value *value = NULL;
    struct json_problem problem = {0};
    char message[128];
    if (result == LINE_TOO_LONG) {
        snprintf(message, sizeof message, "the line has more than %d bytes", GRAMMAR_LINE_BYTES_MAX);
    } else if (json_read_python(text, GRAMMAR_LINE_DEPTH_MAX, GRAMMAR_LINE_BYTES_MAX, arena, &value, &problem) !=
               STATUS_OK) {
        value = NULL;
        snprintf(message, sizeof message, "the line is no JSON: %s (byte %zu)",
                 problem.reason != NULL ? problem.reason : "it takes too much memory", problem.offset);
    } else if (value->kind != JSON_KIND_OBJECT) {
        value = NULL;
        snprintf(message, sizeof message, "the line is no JSON object");
    } else {
        return answer_line(run, value, arena, out, answer, context);
    }
    append_error(out, value, message);
    return false;
}

int grammar_run_lines(struct grammar_run *run, grammar_line_answer answer, void *context) {
    struct line_reader reader = {0};
    struct bytes_view text;
    struct bytes out;
    struct arena arena;
    enum line_result result;
    bool good = true, written = true;
    bytes_init(&reader.held, 2 * (size_t)GRAMMAR_LINE_BYTES_MAX);
    bytes_init(&out, SIZE_MAX / 2);
    arena_init(&arena, SIZE_MAX / 2);
    while (written && (result = read_line(&reader, &text)) != LINE_NONE) {
        if (result == LINE_READ && is_blank(text)) continue;
        arena_reset(&arena);
        bytes_reset(&out);
        good = handle(run, result, text, &arena, &out, answer, context) && good;
        (void)bytes_append_byte(&out, '\n');
        written = fwrite(out.data, 1, out.length, stdout) == out.length && fflush(stdout) == 0;
    }
    bytes_deinit(&reader.held);
    bytes_deinit(&out);
    arena_deinit(&arena);
    return good && written ? EXIT_OK : EXIT_FAILED;
}
