/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/rules_regular.h"

#include "engine/grammar/growing.h"

/* ---- expressions of nodes ---- */

regex rules_regular_value(struct rules *rules, struct rules_regular *regular, uint32_t node) {
    const struct rules_node *literal = &rules->nodes[node];
    if (regular->nodes[node] == REGULAR_LATER)
        regular->nodes[node] = regex_literal(rules->pool, bytes_view_of(rules->texts + literal->first, literal->count));
    return regular->nodes[node];
}

regex rules_regular_concat(struct rules *rules, struct rules_regular *regular, const uint32_t *nodes, uint32_t count) {
    regex value = REGEX_EMPTY;
    for (uint32_t i = count; i-- > 0 && value != REGEX_FAILED;)
        value = regex_concat(rules->pool, rules_regular_value(rules, regular, nodes[i]), value);
    return value;
}

/* In pairs, pairs of pairs and so on: n log n where one by one would be n^2. Uses up `values`. */
static regex or_all(struct regex_pool *pool, regex *values, uint32_t count) {
    for (; count > 1; count = (count + 1) / 2) {
        for (uint32_t i = 0; i < count / 2; i++) values[i] = regex_or(pool, values[2 * i], values[2 * i + 1]);
        if (count % 2 == 1) values[count / 2] = values[count - 1];
    }
    return count == 0 ? REGEX_NOTHING : values[0];
}

/* The literals among the nodes, as a trie. */
static regex or_literals(struct rules *rules, const uint32_t *nodes, uint32_t count, uint32_t literals) {
    size_t bytes = literals * sizeof(struct bytes_view);
    if (!budget_reserve(rules->budget, bytes)) return REGEX_FAILED;
    struct bytes_view *texts = malloc(bytes);
    regex value = REGEX_FAILED;
    if (texts != NULL) {
        uint32_t at = 0;
        for (uint32_t i = 0; i < count; i++) {
            const struct rules_node *node = &rules->nodes[nodes[i]];
            if (node->kind == RULES_LITERAL) texts[at++] = bytes_view_of(rules->texts + node->first, node->count);
        }
        value = regex_literals(rules->pool, texts, literals);
    }
    free(texts);
    rules->budget->bytes += (int64_t)bytes;
    return value;
}

regex rules_regular_or(struct rules *rules, struct rules_regular *regular, const uint32_t *nodes, uint32_t count) {
    uint32_t literals = 0, others = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (rules->nodes[nodes[i]].kind == RULES_LITERAL)
            literals++;
        else if (regular->nodes[nodes[i]] != REGULAR_NOT)
            regular->scratch[others++] = regular->nodes[nodes[i]];
    }
    if (literals > 0) regular->scratch[others++] = or_literals(rules, nodes, count, literals);
    return or_all(rules->pool, regular->scratch, others);
}

static uint32_t size_sum(uint32_t a, uint32_t b) {
    return a + b < a ? UINT32_MAX : a + b;
}

/* The sum of the children's sizes; UINT32_MAX: one is not regular. */
static uint32_t children_size(const struct rules_regular *regular, const uint32_t *nodes, uint32_t count) {
    uint32_t size = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (regular->nodes[nodes[i]] == REGULAR_NOT) return UINT32_MAX;
        size = size_sum(size, regular->sizes[nodes[i]]);
    }
    return size;
}

/* Children have their values. */
static regex node_value(struct rules *rules, struct rules_regular *regular, uint32_t index) {
    const struct rules_node *node = &rules->nodes[index];
    bool gathered = node->kind == RULES_CONCAT || node->kind == RULES_OR;
    const uint32_t *children = gathered ? rules->children + node->first : NULL;
    uint32_t size = 1;
    regex value = REGULAR_NOT;
    switch (node->kind) {
    case RULES_TERMINAL:
        value = node->value;
        break;
    case RULES_LITERAL:
        size = node->count;
        value = REGULAR_LATER;
        break;
    case RULES_REFERENCE:
        value = regular->rules[node->value];
        size = regular->rule_sizes[node->value];
        break;
    case RULES_CONCAT:
        size = children_size(regular, children, node->count);
        if (size <= REGULAR_SIZE_MAX) value = rules_regular_concat(rules, regular, children, node->count);
        break;
    case RULES_OR:
        size = children_size(regular, children, node->count);
        if (size != UINT32_MAX) value = rules_regular_or(rules, regular, children, node->count);
        break;
    case RULES_REPEAT:
        size = regular->sizes[node->value];
        if (regular->nodes[node->value] != REGULAR_NOT && size <= REGULAR_SIZE_MAX)
            value = regex_repeat(rules->pool, rules_regular_value(rules, regular, node->value), node->min, node->max);
        break;
    }
    regular->sizes[index] = size;
    return value;
}

static enum status rule_value(struct rules *rules, struct rules_regular *regular, uint32_t rule) {
    const struct rules_rule *what = &rules->rules[rule];
    for (uint32_t i = what->first_node; i <= what->node; i++) {
        if (!budget_spend(rules->budget, 1)) return rules_exhausted(rules, rules->nodes[i].at);
        regular->nodes[i] = node_value(rules, regular, i);
        if (regular->nodes[i] == REGEX_FAILED) return rules_exhausted(rules, rules->nodes[i].at);
    }
    return STATUS_OK;
}

/* ---- rules that call themselves at one end ---- */

/* The text of a node is A R | B (or R A | B), R being the rule. */
struct linear {
    regex a, b;
};
struct linear_rule {
    struct rules *rules;
    struct rules_regular *regular;
    uint32_t rule;
    bool left;            /* R A | B */
    struct linear *forms; /* of the rule's nodes, from its first on */
};

static struct linear linear_concat(struct linear_rule *linear, const struct rules_node *node, bool *out_failed) {
    struct regex_pool *pool = linear->rules->pool;
    const uint32_t *children = linear->rules->children + node->first;
    uint32_t base = linear->rules->rules[linear->rule].first_node;
    /* The one child that may hold R, then the others towards the other end. */
    uint32_t end = linear->left ? 0 : node->count - 1;
    struct linear form = linear->forms[children[end] - base];
    for (uint32_t i = 1; i < node->count; i++) {
        struct linear other = linear->forms[children[linear->left ? i : end - i] - base];
        if (other.a != REGEX_NOTHING) *out_failed = true;
        form.a = linear->left ? regex_concat(pool, form.a, other.b) : regex_concat(pool, other.b, form.a);
        form.b = linear->left ? regex_concat(pool, form.b, other.b) : regex_concat(pool, other.b, form.b);
    }
    return form;
}

static struct linear linear_or(struct linear_rule *linear, const struct rules_node *node) {
    const uint32_t *children = linear->rules->children + node->first;
    uint32_t base = linear->rules->rules[linear->rule].first_node;
    regex *scratch = linear->regular->scratch;
    struct linear form;
    for (uint32_t i = 0; i < node->count; i++) scratch[i] = linear->forms[children[i] - base].a;
    form.a = or_all(linear->rules->pool, scratch, node->count);
    for (uint32_t i = 0; i < node->count; i++) scratch[i] = linear->forms[children[i] - base].b;
    form.b = or_all(linear->rules->pool, scratch, node->count);
    return form;
}

static struct linear linear_form(struct linear_rule *linear, uint32_t index, bool *out_failed) {
    struct rules *rules = linear->rules;
    const struct rules_node *node = &rules->nodes[index];
    uint32_t base = rules->rules[linear->rule].first_node;
    if (linear->regular->nodes[index] != REGULAR_NOT)
        return (struct linear){REGEX_NOTHING, rules_regular_value(rules, linear->regular, index)};
    if (node->kind == RULES_REFERENCE && node->value == linear->rule)
        return (struct linear){REGEX_EMPTY, REGEX_NOTHING};
    if (node->kind == RULES_CONCAT && node->count > 0) return linear_concat(linear, node, out_failed);
    if (node->kind == RULES_OR) return linear_or(linear, node);
    if (node->kind == RULES_REPEAT && node->max == 1) {
        struct linear form = linear->forms[node->value - base];
        if (node->min == 0) form.b = regex_or(rules->pool, form.b, REGEX_EMPTY);
        return form;
    }
    *out_failed = true;
    return (struct linear){REGEX_NOTHING, REGEX_NOTHING};
}

/* Sets the rule's expression where it has that form. The sizes of its parts are small. */
static enum status linear_rule_value(struct linear_rule *linear) {
    struct rules *rules = linear->rules;
    struct regex_pool *pool = rules->pool;
    const struct rules_rule *what = &rules->rules[linear->rule];
    uint32_t size = 0;
    for (uint32_t i = what->first_node; i <= what->node; i++) {
        bool failed = false;
        if (linear->regular->nodes[i] != REGULAR_NOT) size = size_sum(size, linear->regular->sizes[i]);
        if (size > REGULAR_SIZE_MAX) return STATUS_OK;
        struct linear form = linear_form(linear, i, &failed);
        if (failed) return STATUS_OK;
        if (form.a == REGEX_FAILED || form.b == REGEX_FAILED) return rules_exhausted(rules, rules->nodes[i].at);
        linear->forms[i - what->first_node] = form;
    }
    struct linear form = linear->forms[what->node - what->first_node];
    regex loop = regex_repeat(pool, form.a, 0, REGEX_UNBOUNDED);
    regex value = linear->left ? regex_concat(pool, form.b, loop) : regex_concat(pool, loop, form.b);
    if (value == REGEX_FAILED) return rules_exhausted(rules, what->at);
    linear->regular->rules[linear->rule] = value;
    linear->regular->rule_sizes[linear->rule] = size;
    return STATUS_OK;
}

static enum status self_recursive(struct rules *rules, struct rules_regular *regular, uint32_t rule) {
    const struct rules_rule *what = &rules->rules[rule];
    size_t bytes = (what->node - what->first_node + 1) * sizeof(struct linear);
    if (!budget_reserve(rules->budget, bytes)) return rules_exhausted(rules, what->at);
    struct linear_rule linear = {.rules = rules, .regular = regular, .rule = rule, .forms = malloc(bytes)};
    enum status status = linear.forms == NULL ? rules_exhausted(rules, what->at) : STATUS_OK;
    for (int left = 0; left < 2 && status == STATUS_OK && regular->rules[rule] == REGULAR_NOT; left++) {
        linear.left = left == 1;
        status = linear_rule_value(&linear);
    }
    free(linear.forms);
    rules->budget->bytes += (int64_t)bytes;
    return status;
}

/* ---- rules in the order of their use: Tarjan's components, without recursion ---- */

struct visit {
    uint32_t rule, node; /* the next of its nodes to look at */
};
struct components {
    struct rules *rules;
    struct rules_regular *regular;
    uint32_t *order, *low; /* 0: not seen */
    uint32_t *stack;
    bool *on_stack;
    struct visit *visits;
    uint32_t seen, stacked, depth;
};

static void visit(struct components *components, uint32_t rule) {
    components->order[rule] = components->low[rule] = ++components->seen;
    components->stack[components->stacked++] = rule;
    components->on_stack[rule] = true;
    components->visits[components->depth++] = (struct visit){rule, components->rules->rules[rule].first_node};
}

static bool calls_itself(const struct rules *rules, uint32_t rule) {
    for (uint32_t i = rules->rules[rule].first_node; i <= rules->rules[rule].node; i++)
        if (rules->nodes[i].kind == RULES_REFERENCE && rules->nodes[i].value == rule) return true;
    return false;
}

/* All rules that call each other, and nothing that is not done yet. */
static enum status component_value(struct components *components, uint32_t root) {
    struct rules *rules = components->rules;
    struct rules_regular *regular = components->regular;
    uint32_t rule, members = 0;
    do {
        rule = components->stack[--components->stacked];
        components->on_stack[rule] = false;
        members++;
        TRY(rule_value(rules, regular, rule));
    } while (rule != root);
    if (members > 1) return STATUS_OK;
    if (calls_itself(rules, rule)) return self_recursive(rules, regular, rule);
    uint32_t node = rules->rules[rule].node;
    if (regular->nodes[node] == REGULAR_NOT) return STATUS_OK;
    regular->rules[rule] = rules_regular_value(rules, regular, node);
    regular->rule_sizes[rule] = regular->sizes[node];
    return regular->rules[rule] == REGEX_FAILED ? rules_exhausted(rules, rules->nodes[node].at) : STATUS_OK;
}

static enum status walk_components(struct components *components) {
    struct rules *rules = components->rules;
    visit(components, rules->start);
    while (components->depth > 0) {
        struct visit *top = &components->visits[components->depth - 1];
        uint32_t rule = top->rule;
        if (top->node <= rules->rules[rule].node) {
            const struct rules_node *node = &rules->nodes[top->node++];
            if (node->kind != RULES_REFERENCE) continue;
            if (components->order[node->value] == 0)
                visit(components, node->value);
            else if (components->on_stack[node->value] && components->order[node->value] < components->low[rule])
                components->low[rule] = components->order[node->value];
            continue;
        }
        components->depth--;
        if (components->low[rule] == components->order[rule]) TRY(component_value(components, rule));
        if (components->depth > 0) {
            uint32_t caller = components->visits[components->depth - 1].rule;
            if (components->low[rule] < components->low[caller]) components->low[caller] = components->low[rule];
        }
    }
    return STATUS_OK;
}

static size_t regular_bytes(const struct rules *rules) {
    return 3 * ((size_t)rules->node_count + 1) * 4 + 2 * ((size_t)rules->rule_count + 1) * 4;
}

enum status rules_regular_find(struct rules *rules, struct rules_regular *out) {
    size_t nodes = (size_t)rules->node_count + 1, count = (size_t)rules->rule_count + 1;
    size_t bytes = count * (3 * sizeof(uint32_t) + sizeof(bool) + sizeof(struct visit));
    *out = (struct rules_regular){0};
    if (!budget_reserve(rules->budget, regular_bytes(rules) + bytes)) return rules_exhausted(rules, 0);
    out->nodes = malloc(nodes * sizeof *out->nodes);
    out->sizes = malloc(nodes * sizeof *out->sizes);
    out->scratch = malloc(nodes * sizeof *out->scratch);
    out->rules = malloc(count * sizeof *out->rules);
    out->rule_sizes = malloc(count * sizeof *out->rule_sizes);
    struct components components = {.rules = rules, .regular = out};
    components.order = calloc(count, sizeof *components.order);
    components.low = malloc(count * sizeof *components.low);
    components.stack = malloc(count * sizeof *components.stack);
    components.on_stack = calloc(count, sizeof *components.on_stack);
    components.visits = malloc(count * sizeof *components.visits);
    enum status status = STATUS_OK;
    if (out->nodes == NULL || out->sizes == NULL || out->scratch == NULL || out->rules == NULL ||
        out->rule_sizes == NULL || components.order == NULL || components.low == NULL || components.stack == NULL ||
        components.on_stack == NULL || components.visits == NULL) {
        status = rules_exhausted(rules, 0);
    } else {
        for (uint32_t i = 0; i < rules->rule_count; i++) {
            out->rules[i] = REGULAR_NOT;
            out->rule_sizes[i] = 0;
        }
        status = walk_components(&components);
    }
    free(components.order);
    free(components.low);
    free(components.stack);
    free(components.on_stack);
    free(components.visits);
    rules->budget->bytes += (int64_t)bytes;
    return status;
}

void rules_regular_deinit(struct rules *rules, struct rules_regular *regular) {
    free(regular->nodes);
    free(regular->sizes);
    free(regular->scratch);
    free(regular->rules);
    free(regular->rule_sizes);
    rules->budget->bytes += (int64_t)regular_bytes(rules);
}
