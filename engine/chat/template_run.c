/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Statements of the chat template language, run, and the bounds of a run. Expressions are in template_evaluate.c. */
#include "engine/chat/template_evaluate.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- bounds --------------------------------------------------------------------------------------------------------- */

enum status template_fail(struct template_run *run, const char *format, ...) {
    char text[ERROR_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return error_set(run->err, STATUS_INVALID_ARGUMENT, "template line %d: %s", run->line, text);
}

enum status template_spend(struct template_run *run, size_t steps) {
    if (steps > run->steps_left) return template_fail(run, "it takes too many steps");
    run->steps_left -= steps;
    return STATUS_OK;
}

enum status template_no_memory(struct template_run *run) {
    return template_fail(run, "it takes too much memory");
}

void *template_alloc(struct template_run *run, size_t count, size_t bytes) {
    return arena_alloc_array(run->arena, count, bytes);
}

/* ---- scopes --------------------------------------------------------------------------------------------------------- */

enum status template_scope_push(struct template_run *run, struct template_scope *parent) {
    struct template_scope *scope = template_alloc(run, 1, sizeof *scope);
    if (scope == NULL) return template_no_memory(run);
    scope->parent = parent;
    run->scope = scope;
    return STATUS_OK;
}

static struct template_value *find_variable(const struct template_scope *scope, const char *name) {
    for (size_t i = 0; i < scope->count; i++) {
        if (strcmp(scope->variables[i].key.name, name) == 0) return &scope->variables[i].value;
    }
    return NULL;
}

enum status template_scope_set(struct template_run *run, const char *name, struct template_value value) {
    struct template_scope *scope = run->scope;
    struct template_value *there = find_variable(scope, name);
    if (there != NULL) {
        *there = value;
        return STATUS_OK;
    }
    if (scope->count == scope->capacity) {
        size_t capacity = scope->capacity == 0 ? 4 : 2 * scope->capacity;
        struct template_entry *variables = template_alloc(run, capacity, sizeof *variables);
        if (variables == NULL) return template_no_memory(run);
        if (scope->count > 0) memcpy(variables, scope->variables, scope->count * sizeof *variables);
        scope->variables = variables;
        scope->capacity = capacity;
    }
    scope->variables[scope->count++] = (struct template_entry){.key = {.name = name}, .value = value};
    return STATUS_OK;
}

enum status template_scope_get(struct template_run *run, const char *name, struct template_value *out) {
    size_t looked = 1;
    for (const struct template_scope *scope = run->scope; scope != NULL; scope = scope->parent) {
        const struct template_value *found = find_variable(scope, name);
        looked += 1 + scope->count / 8;
        if (found == NULL) continue;
        *out = *found;
        return template_spend(run, looked);
    }
    *out = (struct template_value){.kind = TEMPLATE_UNDEFINED, .name = name};
    if (template_function_exists(name)) out->kind = TEMPLATE_FUNCTION;
    return template_spend(run, looked);
}

/* ---- statements ----------------------------------------------------------------------------------------------------- */

static enum status assign(struct template_run *run, const struct template_node *target, struct template_value value) {
    if (target->kind == NODE_NAME) return template_scope_set(run, target->name, value);
    if (target->kind == NODE_ATTRIBUTE) {
        struct template_value object;
        TRY(template_scope_get(run, target->a->name, &object));
        if (object.kind != TEMPLATE_NAMESPACE)
            return template_fail(run, "cannot assign attribute on non-namespace object");
        return template_dict_put(run, object.dict, template_text(bytes_view_string(target->name), 0), value);
    }
    const struct template_list *items = NULL;
    size_t at = 0;
    TRY(template_iterate(run, &value, &items));
    for (const struct template_node *part = target->list; part != NULL; part = part->next, at++) {
        if (at >= items->count) return template_fail(run, "not enough values to unpack");
        TRY(assign(run, part, items->items[at]));
    }
    return at == items->count ? STATUS_OK : template_fail(run, "too many values to unpack");
}

/** The items that pass the loop's filter, which sees them under the loop's names. */
static enum status filter_items(struct template_run *run, const struct template_node *node,
                                const struct template_list **items) {
    if (node->c == NULL) return STATUS_OK;
    struct template_list *kept = NULL;
    struct template_scope *outer = run->scope;
    TRY(template_list_make(run, 0, &kept));
    for (size_t i = 0; i < (*items)->count; i++) {
        struct template_value passes;
        TRY(template_scope_push(run, outer));
        TRY(assign(run, node->a, (*items)->items[i]));
        TRY(template_evaluate(run, node->c, &passes));
        if (template_truth(&passes)) TRY(template_list_append(run, kept, (*items)->items[i]));
    }
    run->scope = outer;
    *items = kept;
    return STATUS_OK;
}

static enum status run_for(struct template_run *run, const struct template_node *node) {
    struct template_value over;
    const struct template_list *items = NULL;
    TRY(template_evaluate(run, node->b, &over));
    run->line = node->line;
    TRY(template_iterate(run, &over, &items));
    TRY(filter_items(run, node, &items));
    if (items->count == 0) return template_execute(run, node->otherwise);
    struct template_scope *outer = run->scope;
    struct template_loop *loop = template_alloc(run, 1, sizeof *loop);
    if (loop == NULL) return template_no_memory(run);
    *loop = (struct template_loop){.items = items};
    size_t macros = SIZE_MAX; /* a scope serves again unless a macro may hold it */
    struct template_scope *own = NULL;
    for (; loop->at < items->count; loop->at++) {
        if (macros == run->macros) {
            own->count = 0;
            run->scope = own;
        } else {
            TRY(template_scope_push(run, outer));
        }
        own = run->scope;
        macros = run->macros;
        TRY(template_scope_set(run, "loop", (struct template_value){.kind = TEMPLATE_LOOP, .loop = loop}));
        TRY(assign(run, node->a, items->items[loop->at]));
        TRY(template_execute(run, node->body));
        enum template_flow flow = run->flow;
        run->flow = FLOW_NEXT;
        if (flow == FLOW_BREAK) break;
    }
    run->scope = outer;
    return STATUS_OK;
}

static enum status run_if(struct template_run *run, const struct template_node *node) {
    for (; node != NULL && node->kind == NODE_IF; node = node->otherwise) {
        struct template_value condition;
        run->line = node->line;
        TRY(template_evaluate(run, node->a, &condition));
        if (template_truth(&condition)) return template_execute(run, node->body);
        /* An elif stands alone where an else has its statements. */
        if (node->otherwise == NULL || !node->is_elif) return template_execute(run, node->otherwise);
    }
    return STATUS_OK;
}

static enum status run_set(struct template_run *run, const struct template_node *node) {
    struct template_value value;
    if (node->b != NULL) {
        TRY(template_evaluate(run, node->b, &value));
        return assign(run, node->a, value);
    }
    struct template_string text;
    TRY(template_capture(run, node->body, run->scope, &text));
    run->captured = template_string_value(text);
    TRY(template_evaluate(run, node->c, &value));
    return assign(run, node->a, value);
}

static enum status run_filter_block(struct template_run *run, const struct template_node *node) {
    struct template_value value;
    struct template_string text;
    TRY(template_capture(run, node->body, run->scope, &text));
    run->captured = template_string_value(text);
    TRY(template_evaluate(run, node->c, &value));
    TRY(template_str(run, &value, &text));
    return template_write(run->out, text);
}

enum status template_capture(struct template_run *run, const struct template_node *body, struct template_scope *scope,
                             struct template_string *out) {
    struct template_writer writer = {.run = run}, *before = run->out;
    struct template_scope *outer = run->scope;
    run->out = &writer;
    TRY(template_scope_push(run, scope));
    TRY(template_execute(run, body));
    run->scope = outer;
    run->out = before;
    *out = template_written(&writer);
    return STATUS_OK;
}

static enum status run_macro(struct template_run *run, const struct template_node *node) {
    struct template_macro *macro = template_alloc(run, 1, sizeof *macro);
    if (macro == NULL) return template_no_memory(run);
    *macro = (struct template_macro){.node = node, .scope = run->scope};
    run->macros++;
    return template_scope_set(run, node->name, (struct template_value){.kind = TEMPLATE_MACRO, .macro = macro});
}

static enum status run_statement(struct template_run *run, const struct template_node *node) {
    struct template_value value;
    struct template_string text;
    switch (node->kind) {
    case NODE_TEXT:
        return template_write(run->out, node->value.string);
    case NODE_PRINT:
        TRY(template_evaluate(run, node->a, &value));
        TRY(template_str(run, &value, &text));
        return template_write(run->out, text);
    case NODE_FOR:
        return run_for(run, node);
    case NODE_IF:
        return run_if(run, node);
    case NODE_SET:
        return run_set(run, node);
    case NODE_MACRO:
        return run_macro(run, node);
    case NODE_FILTER_BLOCK:
        return run_filter_block(run, node);
    case NODE_BREAK:
    case NODE_CONTINUE:
        run->flow = node->kind == NODE_BREAK ? FLOW_BREAK : FLOW_CONTINUE;
        return STATUS_OK;
    default:
        return template_execute(run, node->body);
    }
}

enum status template_execute(struct template_run *run, const struct template_node *chain) {
    if (run->depth >= TEMPLATE_RUN_DEPTH) return template_fail(run, "statements and macros are nested too deeply");
    run->depth++;
    for (; chain != NULL && run->flow == FLOW_NEXT; chain = chain->next) {
        run->line = chain->line;
        TRY(template_spend(run, 1));
        TRY(run_statement(run, chain));
    }
    run->depth--;
    return STATUS_OK;
}

/* ---- all of it ------------------------------------------------------------------------------------------------------ */

enum status template_render(const struct template *template, const struct template_dict *variables,
                            struct template_limits limits, int64_t now, struct arena *arena,
                            struct template_output *out, struct error *err) {
    struct template_run run = {.template = template,
                               .arena = arena,
                               .steps_left = limits.steps,
                               .output_left = limits.output_bytes,
                               .line = 1,
                               .now = now,
                               .err = err};
    struct template_writer writer = {.run = &run};
    run.out = &writer;
    TRY(template_scope_push(&run, NULL));
    for (size_t i = 0; i < variables->count; i++)
        TRY(template_scope_set(&run, (const char *)variables->entries[i].key.string.data, variables->entries[i].value));
    TRY(template_execute(&run, template->body));
    if (writer.mask == NULL) {
        writer.mask = template_alloc(&run, writer.length + 1, 1);
        if (writer.mask == NULL) return template_no_memory(&run);
        memset(writer.mask, writer.whose, writer.length);
    }
    *out = (struct template_output){.text = bytes_view_of(writer.data, writer.length), .mask = writer.mask};
    return STATUS_OK;
}
