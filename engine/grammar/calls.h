/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Calls of tools as a grammar: from the first byte of a call on, nothing but a whole call of a tool that was offered can be written, with arguments that its
 * schema admits. And the reader that takes what was written apart again.
 *
 *     call_format (once a model)  =  how its layout writes calls (chat_layout_calls), the vocabulary, and the tools compiled so far
 *          |
 *     calls_compile (a request)   =  tools, tool_choice, parallel or not  ->  struct grammar: masks as of any other grammar
 *          |
 *     call_reader (a generation)  =  text and control tokens as they come  ->  content, thoughts, whole calls
 *
 *     auto       content that contains no beginning of a call; then, perhaps, calls. Behind calls nothing follows
 *     none       content that contains no beginning of a call
 *                (where content has a schema: one JSON value of it instead, or calls)
 *     required   calls only (behind a thought, where the model thinks)
 *     named      the same with that tool
 *
 * Constant parts are written as the model was trained to write them; grammar_options say how arguments may be spaced, ordered and spelled.
 * A tool is compiled once and shared by all requests that offer it (by name or not: its schema counts); one that is not enforceable fails alone.
 * docs/design/tools.md has the layouts.
 */
#ifndef ENGINE_GRAMMAR_CALLS_H
#define ENGINE_GRAMMAR_CALLS_H

#include "engine/chat/chat.h"
#include "engine/grammar/grammar.h"

enum { CALL_TOOLS_MAX = 4096, CALL_NAME_BYTES_MAX = 256, CALL_ID_BYTES = 9 };

struct call_format;
/** Borrows the vocabulary. Any number of threads may compile with one format. STATUS_UNIMPLEMENTED: CHAT_CALLS_NONE, or the vocabulary lacks a control token that the
 *  layout needs. */
enum status call_format_create(const struct grammar_vocabulary *vocabulary, enum chat_calls layout,
                               struct call_format **out, struct error *err);
/** After every grammar that was compiled with it. */
void call_format_destroy(struct call_format *format);

/** Does the prompt end inside a thought that it has opened itself? For call_request.thought_open. */
bool call_format_opens_thought(const struct call_format *format, const int32_t *prompt, size_t count);

enum call_choice { CALL_CHOICE_AUTO, CALL_CHOICE_NONE, CALL_CHOICE_REQUIRED, CALL_CHOICE_NAMED };

struct call_tool {
    struct bytes_view name;              /* 1 to CALL_NAME_BYTES_MAX bytes of UTF-8 */
    const struct json_value *parameters; /* a schema of objects; NULL: none was given */
    bool strict; /* without parameters: no arguments at all, else any. With parameters: they hold either way */
};

struct call_request {
    const struct call_tool *tools; /* [tool_count] no two of one name */
    size_t tool_count;
    enum call_choice choice;
    size_t named;                     /* CALL_CHOICE_NAMED: index into tools */
    bool parallel;                    /* more than one call may be written */
    bool thought_open;                /* the prompt ends inside a thought that the answer closes */
    bool continues;                   /* the answer goes on with a text of the prompt: nothing in it is at its start */
    const struct json_value *content; /* a schema that content has to fit; NULL: content is any text */
    const struct grammar_options *options; /* NULL: the defaults */
};

struct call_problem {
    size_t tool; /* whose it is; tool_count: of `content`; SIZE_MAX: of the request */
    struct grammar_problem problem;
};

/** `out` fits into sessions, masks and accepts as every grammar; the format outlives it. Fails as grammar_compile_schema, with `problem` filled. */
enum status calls_compile(struct call_format *format, const struct call_request *request, struct grammar **out,
                          struct call_problem *problem);

/** Of tools that are offered and may not be called: can they be enforced? They cost what those of one request may; `problem` is filled as calls_compile does. */
enum status calls_check(struct call_format *format, const struct call_tool *tools, size_t count,
                        const struct grammar_options *options, struct call_problem *problem);

/* ---- reading ---- */

/** Lent until the reader's output is cleared. */
struct call_made {
    size_t tool; /* index into the request's tools */
    struct bytes_view name;
    struct bytes_view arguments; /* JSON, as it was written */
    char id[CALL_ID_BYTES + 1];  /* letters and digits: as it was written, or made up from the seed */
};

struct call_output {
    struct bytes content, thought; /* new since the last clear; what may still turn out to begin a call is held back */
    struct call_made *calls;       /* whole ones, new since the last clear */
    size_t call_count, call_capacity;
    bool cut; /* the text ended inside a call, which is left out */
};

struct call_reader;
/** Of a generation under `grammar` (of calls_compile), which it keeps. */
enum status call_reader_create(struct grammar *grammar, uint64_t seed, struct call_reader **out, struct error *err);
void call_reader_destroy(struct call_reader *reader);
/**
 * Text as the detokenizer gives it, and control tokens between. Text that is no call after all (which the grammar never lets happen) is content.
 * STATUS_RESOURCE_EXHAUSTED without memory.
 */
enum status call_reader_push(struct call_reader *reader, struct bytes_view text, struct error *err);
enum status call_reader_push_control(struct call_reader *reader, int32_t token, struct error *err);
/** End of text: what was held back is content, or a call that was cut. */
enum status call_reader_finish(struct call_reader *reader, struct error *err);
/** How much of the text so far is not given, and may never be: what is held back, and all of a call that is not whole. 0: the text stands where free text goes on. */
size_t call_reader_held(const struct call_reader *reader);
/** It stands in content that has to fit a schema. */
bool call_reader_in_value(const struct call_reader *reader);
const struct call_output *call_reader_output(const struct call_reader *reader);
void call_reader_clear(struct call_reader *reader);

#endif
