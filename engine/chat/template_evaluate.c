/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Expressions of the chat template language, evaluated as Python would. */
#include "engine/chat/template_evaluate.h"

#include <math.h>
#include <string.h>

/* ---- operators ------------------------------------------------------------------------------------------------------ */

static enum status mismatch(struct template_run *run, const char *operator, const struct template_value * a,
                            const struct template_value *b) {
    const struct template_value *absent = a->kind == TEMPLATE_UNDEFINED ? a : b;
    if (absent->kind == TEMPLATE_UNDEFINED)
        return template_fail(run, "'%.48s' is undefined", absent->name != NULL ? absent->name : "it");
    return template_fail(run, "'%s' does not work on %s and %s", operator, template_kind_name(a),
                         template_kind_name(b));
}

static enum status concatenate(struct template_run *run, struct template_string a, struct template_string b,
                               struct template_value *out) {
    struct template_writer writer = {.run = run};
    TRY(template_write(&writer, a));
    TRY(template_write(&writer, b));
    *out = template_string_value(template_written(&writer));
    return STATUS_OK;
}

static enum status append_lists(struct template_run *run, const struct template_list *a, const struct template_list *b,
                                struct template_value *out) {
    struct template_list *list = NULL;
    TRY(template_list_make(run, a->count + b->count, &list));
    list->tuple = a->tuple;
    for (size_t i = 0; i < a->count; i++) TRY(template_list_append(run, list, a->items[i]));
    for (size_t i = 0; i < b->count; i++) TRY(template_list_append(run, list, b->items[i]));
    *out = template_list_value(list);
    return STATUS_OK;
}

static enum status repeat(struct template_run *run, struct template_string text, int64_t count,
                          struct template_value *out) {
    struct template_writer writer = {.run = run};
    for (int64_t i = 0; i < count && text.length > 0; i++) TRY(template_write(&writer, text));
    *out = template_string_value(template_written(&writer));
    return STATUS_OK;
}

/** Of two integers; false: the result is a real, or none. */
static bool integer_operation(const char *operator, int64_t a, int64_t b, int64_t *out) {
    switch (*operator) {
    case '+':
        return !__builtin_add_overflow(a, b, out);
    case '-':
        return !__builtin_sub_overflow(a, b, out);
    case '*':
        if (operator[1] == 0) return !__builtin_mul_overflow(a, b, out);
        *out = 1;
        for (int64_t i = 0; i < b && b <= 64; i++) {
            if (__builtin_mul_overflow(*out, a, out)) return false;
        }
        return b >= 0 && b <= 64;
    default:
        if (b == -1) return !__builtin_sub_overflow(0, *operator== '%' ? 0 : a, out);
        *out = *operator== '%' ? a % b : a / b;
        if (*operator== '%' && * out != 0 &&(*out < 0) != (b < 0)) *out += b;
        if (*operator== '/' && a % b != 0 &&(a < 0) != (b < 0)) --*out;
        return true;
    }
}

static enum status numbers(struct template_run *run, const char *operator, const struct template_value * a,
                           const struct template_value *b, struct template_value *out) {
    double x = template_real(a), y = template_real(b), result;
    bool division = *operator== '/' || * operator== '%', real_division = strcmp(operator, "/") == 0;
    if (division && y == 0) return template_fail(run, "division by zero");
    if (a->kind != TEMPLATE_REAL && b->kind != TEMPLATE_REAL && !real_division) {
        int64_t whole = 0;
        bool power = strcmp(operator, "**") == 0;
        int64_t left = a->kind == TEMPLATE_BOOLEAN ? a->boolean : a->integer,
                right = b->kind == TEMPLATE_BOOLEAN ? b->boolean : b->integer;
        if (integer_operation(operator, left, right, &whole)) {
            *out = template_integer(whole);
            return STATUS_OK;
        }
        if (!power || right >= 0) return template_fail(run, "an integer beyond 64 bits");
    }
    switch (*operator) {
    case '+':
        result = x + y;
        break;
    case '-':
        result = x - y;
        break;
    case '*':
        result = operator[1] == 0 ? x * y : pow(x, y);
        break;
    case '/':
        result = real_division ? x / y : floor(x / y);
        break;
    default:
        result = fmod(x, y);
        if (result != 0 && (result < 0) != (y < 0)) result += y;
        break;
    }
    *out = (struct template_value){.kind = TEMPLATE_REAL, .real = result};
    return STATUS_OK;
}

static enum status binary(struct template_run *run, const char *operator, const struct template_value * a,
                          const struct template_value *b, struct template_value *out) {
    if (*operator== '~') {
        struct template_string left, right;
        TRY(template_str(run, a, &left));
        TRY(template_str(run, b, &right));
        return concatenate(run, left, right, out);
    }
    if (template_is_number(a) && template_is_number(b)) return numbers(run, operator, a, b, out);
    if (strcmp(operator, "+") == 0) {
        if (a->kind == TEMPLATE_STRING && b->kind == TEMPLATE_STRING)
            return concatenate(run, a->string, b->string, out);
        if (a->kind == TEMPLATE_LIST && b->kind == TEMPLATE_LIST) return append_lists(run, a->list, b->list, out);
    }
    if (strcmp(operator, "*") == 0) {
        if (a->kind == TEMPLATE_STRING && b->kind == TEMPLATE_INTEGER) return repeat(run, a->string, b->integer, out);
        if (b->kind == TEMPLATE_STRING && a->kind == TEMPLATE_INTEGER) return repeat(run, b->string, a->integer, out);
    }
    return mismatch(run, operator, a, b);
}

static enum status compare(struct template_run *run, const struct template_node *node, struct template_value *out) {
    struct template_value left, right;
    TRY(template_evaluate(run, node->a, &left));
    *out = template_boolean(true);
    for (const struct template_node *operand = node->list; operand != NULL && out->boolean; operand = operand->next) {
        const char *operator= operand->name;
        int order = 0;
        TRY(template_evaluate(run, operand->a, &right));
        if (*operator== 'i' || * operator== 'n') {
            TRY(template_contains(run, &right, &left, &out->boolean));
            if (*operator== 'n') out->boolean = !out->boolean;
        } else if (operator[1] == '=' &&(*operator== '=' || * operator== '!')) {
            TRY(template_equal(run, &left, &right, &out->boolean));
            if (*operator== '!') out->boolean = !out->boolean;
        } else {
            TRY(template_compare(run, &left, &right, &order));
            out->boolean = *operator== '<' ? order < (operator[1] == '=') : order> -(operator[1] == '=');
        }
        left = right;
    }
    return STATUS_OK;
}

/* ---- slices --------------------------------------------------------------------------------------------------------- */

/** Part of a slice: an integer, None or nothing. */
static enum status slice_part(struct template_run *run, const struct template_node *node, bool *out_given,
                              int64_t *out) {
    struct template_value value = {.kind = TEMPLATE_NONE};
    if (node != NULL) TRY(template_evaluate(run, node, &value));
    *out_given = value.kind == TEMPLATE_INTEGER;
    if (*out_given) *out = value.integer;
    if (!*out_given && value.kind != TEMPLATE_NONE)
        return template_fail(run, "slice indices must be integers, not %s", template_kind_name(&value));
    return STATUS_OK;
}

static int64_t clamp(int64_t at, int64_t count, int64_t low, int64_t high) {
    if (at < 0) at += count;
    return at < low ? low : at > high ? high : at;
}

static enum status slice(struct template_run *run, const struct template_value *value, const struct template_node *node,
                         struct template_value *out) {
    bool has_from, has_to, has_step;
    int64_t from = 0, to = 0, step = 1;
    TRY(slice_part(run, node->a, &has_from, &from));
    TRY(slice_part(run, node->b, &has_to, &to));
    TRY(slice_part(run, node->c, &has_step, &step));
    if (value->kind != TEMPLATE_STRING && value->kind != TEMPLATE_LIST) return mismatch(run, "[:]", value, value);
    if (step == 0) return template_fail(run, "slice step cannot be zero");
    if (value->kind == TEMPLATE_STRING && step == 1) { /* by bytes, without a list of characters */
        TRY(template_spend(run, 1 + value->string.length / 16));
        int64_t count = (int64_t)template_code_points(value->string);
        from = has_from ? clamp(from, count, 0, count) : 0;
        to = has_to ? clamp(to, count, 0, count) : count;
        if (to < from) to = from;
        size_t start = template_code_point_offset(value->string, (size_t)from),
               end = template_code_point_offset(value->string, (size_t)to);
        *out = template_string_value(template_slice(value->string, start, end - start));
        return STATUS_OK;
    }
    const struct template_list *list = NULL;
    struct template_list *made = NULL;
    TRY(template_iterate(run, value, &list));
    int64_t count = (int64_t)list->count, low = step < 0 ? -1 : 0, high = step < 0 ? count - 1 : count;
    from = has_from ? clamp(from, count, low, high) : step < 0 ? high : low;
    to = has_to ? clamp(to, count, low, high) : step < 0 ? low : high;
    TRY(template_list_make(run, 0, &made));
    made->tuple = value->kind == TEMPLATE_LIST && list->tuple;
    for (int64_t at = from; step > 0 ? at < to : at > to;) {
        TRY(template_list_append(run, made, list->items[at]));
        if (__builtin_add_overflow(at, step, &at)) break;
    }
    *out = template_list_value(made);
    if (value->kind == TEMPLATE_LIST) return STATUS_OK;
    struct template_writer writer = {.run = run};
    for (size_t i = 0; i < made->count; i++) TRY(template_write(&writer, made->items[i].string));
    *out = template_string_value(template_written(&writer));
    return STATUS_OK;
}

/* ---- calls ---------------------------------------------------------------------------------------------------------- */

static enum status evaluate_arguments(struct template_run *run, const struct template_node *list,
                                      struct template_arguments *out) {
    out->count = 0;
    for (const struct template_node *argument = list; argument != NULL; argument = argument->next) {
        out->names[out->count] = argument->name;
        TRY(template_evaluate(run, argument->a, &out->values[out->count]));
        out->count++;
    }
    return STATUS_OK;
}

/** Parameters in a scope under the macro's own; defaults may use those before them. */
static enum status call_macro(struct template_run *run, const struct template_macro *macro,
                              const struct template_arguments *arguments, struct template_value *out) {
    struct template_scope *outer = run->scope;
    struct template_string text;
    size_t position = 0, used = 0;
    TRY(template_scope_push(run, macro->scope));
    struct template_scope *own = run->scope;
    for (const struct template_node *parameter = macro->node->list; parameter != NULL; parameter = parameter->next) {
        const struct template_value *given = template_argument(arguments, position++, parameter->name);
        struct template_value value = {.kind = TEMPLATE_UNDEFINED, .name = parameter->name};
        used += given != NULL;
        if (given != NULL)
            value = *given;
        else if (parameter->a != NULL)
            TRY(template_evaluate(run, parameter->a, &value));
        TRY(template_scope_set(run, parameter->name, value));
    }
    if (used < arguments->count)
        return template_fail(run, "macro '%.48s' does not take these arguments", macro->node->name);
    TRY(template_capture(run, macro->node->body, own, &text));
    run->scope = outer;
    *out = template_string_value(text);
    return STATUS_OK;
}

static enum status call(struct template_run *run, const struct template_node *node, struct template_value *out) {
    struct template_value called;
    struct template_arguments arguments; /* on the stack: there are many calls in a long conversation */
    TRY(template_evaluate(run, node->a, &called));
    TRY(evaluate_arguments(run, node->list, &arguments));
    run->line = node->line;
    switch (called.kind) {
    case TEMPLATE_MACRO:
        return call_macro(run, called.macro, &arguments, out);
    case TEMPLATE_METHOD:
        return template_call_method(run, called.receiver, called.name, &arguments, out);
    case TEMPLATE_FUNCTION:
        return template_call_function(run, called.name, &arguments, out);
    case TEMPLATE_UNDEFINED:
        if (node->a->kind == NODE_ATTRIBUTE && template_method_changes(node->a->name))
            return template_fail(run, "method '%s' is not allowed: lists and dicts are not changed", node->a->name);
        return template_fail(run, "'%.48s' is undefined", called.name != NULL ? called.name : "it");
    default:
        return template_fail(run, "%s cannot be called", template_kind_name(&called));
    }
}

static enum status filter_or_test(struct template_run *run, const struct template_node *node,
                                  struct template_value *out) {
    struct template_value input;
    struct template_arguments arguments; /* on the stack: there are many calls in a long conversation */
    TRY(template_evaluate(run, node->a, &input));
    TRY(evaluate_arguments(run, node->list, &arguments));
    run->line = node->line;
    if (node->kind == NODE_FILTER) return template_filter(run, node->name, &input, &arguments, out);
    *out = template_boolean(false);
    return template_test(run, node->name, &input, &arguments, &out->boolean);
}

/* ---- expressions ---------------------------------------------------------------------------------------------------- */

static enum status make_list(struct template_run *run, const struct template_node *node, struct template_value *out) {
    struct template_list *list = NULL;
    TRY(template_list_make(run, 0, &list));
    list->tuple = node->kind == NODE_TUPLE;
    for (const struct template_node *item = node->list; item != NULL; item = item->next) {
        struct template_value value;
        TRY(template_evaluate(run, item, &value));
        TRY(template_list_append(run, list, value));
    }
    *out = template_list_value(list);
    return STATUS_OK;
}

static enum status make_dict(struct template_run *run, const struct template_node *node, struct template_value *out) {
    struct template_dict *dict = template_alloc(run, 1, sizeof *dict);
    if (dict == NULL) return template_no_memory(run);
    for (const struct template_node *pair = node->list; pair != NULL; pair = pair->next) {
        struct template_value key, value;
        TRY(template_evaluate(run, pair->a, &key));
        TRY(template_evaluate(run, pair->b, &value));
        TRY(template_dict_put(run, dict, key, value));
    }
    *out = template_dict_value(dict);
    return STATUS_OK;
}

static enum status negate(struct template_run *run, const struct template_node *node, struct template_value *out) {
    struct template_value value, zero = template_integer(0);
    TRY(template_evaluate(run, node->a, &value));
    if (!template_is_number(&value)) return mismatch(run, "-", &value, &value);
    if (value.kind == TEMPLATE_REAL) {
        *out = (struct template_value){.kind = TEMPLATE_REAL, .real = -value.real};
        return STATUS_OK;
    }
    return numbers(run, "-", &zero, &value, out);
}

static enum status logical(struct template_run *run, const struct template_node *node, struct template_value *out) {
    struct template_value left;
    TRY(template_evaluate(run, node->a, &left));
    bool truth = template_truth(&left);
    if (node->kind == NODE_NOT) {
        *out = template_boolean(!truth);
        return STATUS_OK;
    }
    if (truth == (node->kind == NODE_AND)) return template_evaluate(run, node->b, out);
    *out = left;
    return STATUS_OK;
}

static enum status access(struct template_run *run, const struct template_node *node, struct template_value *out) {
    struct template_value value, key;
    TRY(template_evaluate(run, node->a, &value));
    run->line = node->line;
    if (node->kind == NODE_ATTRIBUTE) return template_attribute(run, &value, node->name, out);
    if (node->b->kind == NODE_SLICE) return slice(run, &value, node->b, out);
    TRY(template_evaluate(run, node->b, &key));
    return template_subscript(run, &value, &key, out);
}

static enum status operate(struct template_run *run, const struct template_node *node, struct template_value *out) {
    struct template_value left, right;
    TRY(template_evaluate(run, node->a, &left));
    TRY(template_evaluate(run, node->b, &right));
    return binary(run, node->name, &left, &right, out);
}

static enum status evaluate(struct template_run *run, const struct template_node *node, struct template_value *out) {
    struct template_value condition;
    switch (node->kind) {
    case NODE_CONSTANT:
        *out = node->value;
        return STATUS_OK;
    case NODE_NAME:
        return template_scope_get(run, node->name, out);
    case NODE_BODY:
        *out = run->captured;
        return STATUS_OK;
    case NODE_LIST:
    case NODE_TUPLE:
        return make_list(run, node, out);
    case NODE_DICT:
        return make_dict(run, node, out);
    case NODE_ATTRIBUTE:
    case NODE_SUBSCRIPT:
        return access(run, node, out);
    case NODE_CALL:
        return call(run, node, out);
    case NODE_FILTER:
    case NODE_TEST:
        return filter_or_test(run, node, out);
    case NODE_NOT:
    case NODE_AND:
    case NODE_OR:
        return logical(run, node, out);
    case NODE_NEGATE:
        return negate(run, node, out);
    case NODE_COMPARE:
        return compare(run, node, out);
    case NODE_BINARY:
        return operate(run, node, out);
    case NODE_CONDITION:
        TRY(template_evaluate(run, node->a, &condition));
        if (template_truth(&condition)) return template_evaluate(run, node->b, out);
        if (node->c != NULL) return template_evaluate(run, node->c, out);
        *out = (struct template_value){.kind = TEMPLATE_UNDEFINED, .name = "the value of an if without else"};
        return STATUS_OK;
    default:
        return template_fail(run, "this cannot be evaluated");
    }
}

enum status template_evaluate(struct template_run *run, const struct template_node *node, struct template_value *out) {
    if (run->depth >= TEMPLATE_RUN_DEPTH) return template_fail(run, "expressions are nested too deeply");
    TRY(template_spend(run, 1));
    run->depth++;
    TRY(evaluate(run, node, out));
    run->depth--;
    return STATUS_OK;
}
