/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Statements of the chat template language; expressions are in template_expression.c. */
#include "engine/chat/template_parser.h"

#include <stdlib.h>
#include <string.h>

enum {
    SOURCE_BYTES_MAX = 1 << 20,
    TREE_BYTES_FACTOR = 256, /* tokens and nodes of a byte of source, at most */
};

/* ---- what expressions use, too -------------------------------------------------------------------------------------- */

const struct template_token *parser_token(const struct parser *parser) {
    return &parser->tokens[parser->at];
}

void parser_next(struct parser *parser) {
    if (parser->tokens[parser->at].kind != TOKEN_END) parser->at++;
}

bool parser_at_operator(const struct parser *parser, const char *text) {
    const struct template_token *token = parser_token(parser);
    return token->kind == TOKEN_OPERATOR && bytes_view_equal_string(token->text, text);
}

bool parser_at_name(const struct parser *parser, const char *text) {
    const struct template_token *token = parser_token(parser);
    return token->kind == TOKEN_NAME && bytes_view_equal_string(token->text, text);
}

bool parser_skip_operator(struct parser *parser, const char *text) {
    bool there = parser_at_operator(parser, text);
    if (there) parser_next(parser);
    return there;
}

bool parser_skip_name(struct parser *parser, const char *text) {
    bool there = parser_at_name(parser, text);
    if (there) parser_next(parser);
    return there;
}

enum status parser_unexpected(const struct parser *parser, const char *wanted) {
    const struct template_token *token = parser_token(parser);
    static const char *const kinds[] = {"text", "{{", "}}", "{%", "%}", "", "a text", "", "", "", "the end"};
    int shown = token->text.length < 32 ? (int)token->text.length : 32;
    const char *kind = kinds[token->kind];
    return error_set(parser->err, STATUS_INVALID_ARGUMENT, "template line %d: %s is expected, not '%.*s%s'",
                     token->line, wanted, token->kind == TOKEN_STRING || token->kind == TOKEN_TEXT ? 0 : shown,
                     (const char *)token->text.data, kind);
}

enum status parser_expect_operator(struct parser *parser, const char *text) {
    char wanted[16];
    snprintf(wanted, sizeof wanted, "'%s'", text);
    return parser_skip_operator(parser, text) ? STATUS_OK : parser_unexpected(parser, wanted);
}

enum status parser_unsupported(const struct parser *parser, int line, const char *what, const char *name) {
    return error_set(parser->err, STATUS_UNIMPLEMENTED, "template line %d: %s '%.48s' is not supported", line, what,
                     name);
}

enum status parser_node(struct parser *parser, enum node_kind kind, struct template_node **out) {
    struct template_node *node = arena_alloc(parser->arena, sizeof *node);
    if (node == NULL) return error_set(parser->err, STATUS_INVALID_ARGUMENT, "the chat template is too large");
    node->kind = kind;
    node->line = parser_token(parser)->line;
    *out = node;
    return STATUS_OK;
}

enum status parser_name(struct parser *parser, const char **out) {
    const struct template_token *token = parser_token(parser);
    if (token->kind != TOKEN_NAME) return parser_unexpected(parser, "a name");
    *out = arena_copy(parser->arena, token->text.data, token->text.length);
    if (*out == NULL) return error_set(parser->err, STATUS_INVALID_ARGUMENT, "the chat template is too large");
    parser_next(parser);
    return STATUS_OK;
}

enum status parser_enter(struct parser *parser) {
    if (++parser->depth <= TEMPLATE_PARSE_DEPTH) return STATUS_OK;
    return error_set(parser->err, STATUS_INVALID_ARGUMENT, "template line %d: nested more than %d deep",
                     parser_token(parser)->line, TEMPLATE_PARSE_DEPTH);
}

/* ---- statements ----------------------------------------------------------------------------------------------------- */

static enum status end_block(struct parser *parser) {
    if (parser_token(parser)->kind != TOKEN_BLOCK_END) return parser_unexpected(parser, "'%}'");
    parser_next(parser);
    return STATUS_OK;
}

/** Is the next thing "{% word" of one of the words? NULL-terminated. */
static bool at_block(const struct parser *parser, const char *const *words) {
    if (parser_token(parser)->kind != TOKEN_BLOCK_BEGIN) return false;
    const struct template_token *token = &parser->tokens[parser->at + 1];
    for (; *words != NULL; words++) {
        if (token->kind == TOKEN_NAME && bytes_view_equal_string(token->text, *words)) return true;
    }
    return false;
}

static enum status parse_statement(struct parser *parser, struct template_node **out);

/** Statements until a block that begins with one of `ends`, which stays. */
static enum status parse_body(struct parser *parser, const char *const *ends, struct template_node **out) {
    struct template_node **tail = out;
    *out = NULL;
    TRY(parser_enter(parser));
    while (!at_block(parser, ends)) {
        const struct template_token *token = parser_token(parser);
        struct template_node *node = NULL;
        if (token->kind == TOKEN_TEXT) {
            TRY(parser_node(parser, NODE_TEXT, &node));
            node->value = template_text(token->text, 0);
            parser_next(parser);
        } else if (token->kind == TOKEN_PRINT_BEGIN) {
            parser_next(parser);
            TRY(parser_node(parser, NODE_PRINT, &node));
            TRY(parser_tuple(parser, true, &node->a));
            if (parser_token(parser)->kind != TOKEN_PRINT_END) return parser_unexpected(parser, "'}}'");
            parser_next(parser);
        } else if (token->kind == TOKEN_BLOCK_BEGIN) {
            parser_next(parser);
            TRY(parse_statement(parser, &node));
        } else if (token->kind == TOKEN_END && *ends == NULL) {
            break;
        } else {
            char wanted[32];
            snprintf(wanted, sizeof wanted, "{%% %s %%}", *ends != NULL ? *ends : "text");
            return parser_unexpected(parser, wanted);
        }
        *tail = node;
        tail = &node->next;
    }
    parser->depth--;
    return STATUS_OK;
}

/** Behind a body: "{% word %}". */
static enum status skip_end(struct parser *parser) {
    parser_next(parser);
    parser_next(parser);
    return end_block(parser);
}

/** What a loop or set assigns to: a name, names in a tuple, or with `members` one of a namespace. */
static enum status parse_target(struct parser *parser, bool members, struct template_node **out) {
    struct template_node *tuple = NULL, **tail = NULL;
    bool parenthesis = parser_skip_operator(parser, "(");
    for (;;) {
        struct template_node *name = NULL;
        TRY(parser_node(parser, NODE_NAME, &name));
        TRY(parser_name(parser, &name->name));
        TRY(parser_defines(parser, name->name));
        if (members && parser_skip_operator(parser, ".")) {
            struct template_node *member = NULL;
            TRY(parser_node(parser, NODE_ATTRIBUTE, &member));
            TRY(parser_name(parser, &member->name));
            member->a = name;
            name = member;
        }
        if (tuple == NULL) {
            *out = name;
        } else {
            *tail = name;
            tail = &name->next;
        }
        if (!parser_skip_operator(parser, ",")) break;
        if (tuple == NULL) {
            TRY(parser_node(parser, NODE_TUPLE, &tuple));
            tuple->list = name;
            tail = &name->next;
            *out = tuple;
        }
        if (parser_token(parser)->kind != TOKEN_NAME || parser_at_name(parser, "in")) break;
    }
    return parenthesis ? parser_expect_operator(parser, ")") : STATUS_OK;
}

static enum status parse_for(struct parser *parser, struct template_node *node) {
    static const char *const ends[] = {"endfor", "else", NULL}, *const last[] = {"endfor", NULL};
    TRY(parse_target(parser, false, &node->a));
    if (!parser_skip_name(parser, "in")) return parser_unexpected(parser, "'in'");
    TRY(parser_tuple(parser, false, &node->b));
    if (parser_skip_name(parser, "if")) TRY(parser_expression(parser, &node->c));
    if (parser_at_name(parser, "recursive"))
        return parser_unsupported(parser, parser_token(parser)->line, "statement", "for … recursive");
    TRY(end_block(parser));
    parser->loops++;
    TRY(parse_body(parser, ends, &node->body));
    parser->loops--;
    if (bytes_view_equal_string(parser->tokens[parser->at + 1].text, "else")) {
        TRY(skip_end(parser));
        TRY(parse_body(parser, last, &node->otherwise));
    }
    return skip_end(parser);
}

static enum status parse_if(struct parser *parser, struct template_node *node) {
    static const char *const ends[] = {"endif", "elif", "else", NULL}, *const last[] = {"endif", NULL};
    for (;;) {
        TRY(parser_tuple(parser, false, &node->a));
        TRY(end_block(parser));
        TRY(parse_body(parser, ends, &node->body));
        if (!bytes_view_equal_string(parser->tokens[parser->at + 1].text, "elif")) break;
        parser_next(parser);
        parser_next(parser);
        TRY(parser_node(parser, NODE_IF, &node->otherwise));
        node->is_elif = true;
        node = node->otherwise;
    }
    if (bytes_view_equal_string(parser->tokens[parser->at + 1].text, "else")) {
        TRY(skip_end(parser));
        TRY(parse_body(parser, last, &node->otherwise));
    }
    return skip_end(parser);
}

static enum status parse_set(struct parser *parser, struct template_node *node) {
    static const char *const ends[] = {"endset", NULL};
    TRY(parse_target(parser, true, &node->a));
    if (parser_skip_operator(parser, "=")) {
        TRY(parser_tuple(parser, true, &node->b));
        return end_block(parser);
    }
    TRY(parser_node(parser, NODE_BODY, &node->c));
    TRY(parser_filters(parser, &node->c));
    TRY(end_block(parser));
    TRY(parse_body(parser, ends, &node->body));
    return skip_end(parser);
}

/** {% filter upper | trim %} … {% endfilter %} */
static enum status parse_filter_block(struct parser *parser, struct template_node *node) {
    static const char *const ends[] = {"endfilter", NULL};
    TRY(parser_node(parser, NODE_BODY, &node->c));
    TRY(parser_filter_chain(parser, &node->c));
    TRY(end_block(parser));
    TRY(parse_body(parser, ends, &node->body));
    return skip_end(parser);
}

static enum status parse_macro(struct parser *parser, struct template_node *node) {
    static const char *const ends[] = {"endmacro", NULL};
    struct template_node **tail = &node->list;
    int loops = parser->loops, count = 0;
    TRY(parser_name(parser, &node->name));
    TRY(parser_defines(parser, node->name));
    TRY(parser_expect_operator(parser, "("));
    while (!parser_at_operator(parser, ")")) {
        struct template_node *parameter = NULL;
        if (node->list != NULL) TRY(parser_expect_operator(parser, ","));
        if (++count > TEMPLATE_ARGUMENTS_MAX)
            return parser_unsupported(parser, node->line, "a macro with so many parameters:", node->name);
        TRY(parser_node(parser, NODE_PARAMETER, &parameter));
        TRY(parser_name(parser, &parameter->name));
        TRY(parser_defines(parser, parameter->name));
        if (parser_skip_operator(parser, "=")) TRY(parser_expression(parser, &parameter->a));
        *tail = parameter;
        tail = &parameter->next;
    }
    parser_next(parser);
    TRY(end_block(parser));
    parser->loops = 0;
    TRY(parse_body(parser, ends, &node->body));
    parser->loops = loops;
    return skip_end(parser);
}

/** transformers marks what the assistant said; for rendering that is its body. */
static enum status parse_generation(struct parser *parser, struct template_node *node) {
    static const char *const ends[] = {"endgeneration", NULL};
    TRY(end_block(parser));
    TRY(parse_body(parser, ends, &node->body));
    return skip_end(parser);
}

static enum status parse_loop_control(struct parser *parser, struct template_node *node) {
    if (parser->loops == 0)
        return error_set(parser->err, STATUS_INVALID_ARGUMENT, "template line %d: break or continue outside of a loop",
                         node->line);
    return end_block(parser);
}

static enum status parse_statement(struct parser *parser, struct template_node **out) {
    static const struct {
        const char *word;
        enum node_kind kind;
        enum status (*parse)(struct parser *parser, struct template_node *node);
    } statements[] = {
        {"for", NODE_FOR, parse_for},
        {"if", NODE_IF, parse_if},
        {"set", NODE_SET, parse_set},
        {"macro", NODE_MACRO, parse_macro},
        {"filter", NODE_FILTER_BLOCK, parse_filter_block},
        {"break", NODE_BREAK, parse_loop_control},
        {"continue", NODE_CONTINUE, parse_loop_control},
        {"generation", NODE_BLOCK, parse_generation},
    };
    TRY(parser_node(parser, NODE_BLOCK, out));
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        if (!parser_skip_name(parser, statements[i].word)) continue;
        (*out)->kind = statements[i].kind;
        return statements[i].parse(parser, *out);
    }
    const struct template_token *token = parser_token(parser);
    if (token->kind != TOKEN_NAME) return parser_unexpected(parser, "a statement");
    char word[40];
    snprintf(word, sizeof word, "%.*s", token->text.length < 39 ? (int)token->text.length : 39,
             (const char *)token->text.data);
    if (strncmp(word, "end", 3) == 0 || strcmp(word, "else") == 0 || strcmp(word, "elif") == 0)
        return parser_unexpected(parser, "another statement");
    return parser_unsupported(parser, token->line, "statement", word);
}

/* ---- names ---------------------------------------------------------------------------------------------------------- */

enum status parser_defines(struct parser *parser, const char *name) {
    struct parser_word *word = arena_alloc(parser->arena, sizeof *word);
    if (word == NULL) return error_set(parser->err, STATUS_INVALID_ARGUMENT, "the chat template is too large");
    *word = (struct parser_word){.text = name, .next = parser->defined};
    parser->defined = word;
    return STATUS_OK;
}

enum status parser_calls(struct parser *parser, const char *name, int line) {
    if (template_function_exists(name)) return STATUS_OK;
    struct parser_word *word = arena_alloc(parser->arena, sizeof *word);
    if (word == NULL) return error_set(parser->err, STATUS_INVALID_ARGUMENT, "the chat template is too large");
    *word = (struct parser_word){.text = name, .line = line, .next = parser->called};
    parser->called = word;
    return STATUS_OK;
}

/** Everything that is called is a function or was defined somewhere. */
static enum status check_calls(const struct parser *parser) {
    for (const struct parser_word *call = parser->called; call != NULL; call = call->next) {
        const struct parser_word *word = parser->defined;
        while (word != NULL && strcmp(word->text, call->text) != 0) word = word->next;
        if (word == NULL) return parser_unsupported(parser, call->line, "function", call->text);
    }
    return STATUS_OK;
}

/* ---- all of it ------------------------------------------------------------------------------------------------------ */

static enum status parse(struct template *template, struct bytes_view source, struct error *err) {
    static const char *const ends[] = {NULL};
    struct parser parser = {.arena = &template->arena, .err = err};
    uint8_t *copy = (uint8_t *)arena_copy(&template->arena, source.data, source.length);
    if (copy == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    template->source = bytes_view_of(copy, source.length);
    TRY(template_tokenize(template->source, &template->arena, &parser.tokens, err));
    TRY(parse_body(&parser, ends, &template->body));
    return check_calls(&parser);
}

enum status template_parse(struct bytes_view source, struct template **out, struct error *err) {
    if (source.length > SOURCE_BYTES_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "a chat template of %zu bytes (at most %d)", source.length,
                         SOURCE_BYTES_MAX);
    struct template *template = calloc(1, sizeof *template);
    if (template == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    arena_init(&template->arena, (1 << 20) + TREE_BYTES_FACTOR * source.length);
    enum status status = parse(template, source, err);
    if (status == STATUS_OK)
        *out = template;
    else
        template_destroy(template);
    return status;
}

void template_destroy(struct template *template) {
    if (template == NULL) return;
    arena_deinit(&template->arena);
    free(template);
}

bool template_mentions(const struct template *template, const char *word) {
    return memmem(template->source.data, template->source.length, word, strlen(word)) != NULL;
}
