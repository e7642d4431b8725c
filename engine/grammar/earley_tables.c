/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* From rules to automata with empty edges; earley_measure.c finds what is productive, and takes the empty edges out. */
#include "engine/grammar/earley_tables.h"

#include "engine/grammar/growing.h"

struct piece {
    uint32_t start, end; /* places */
};
struct builder {
    struct rules *rules;
    struct rules_regular *regular;
    struct earley_tables *tables;
    struct piece *pieces; /* of each node that is not regular */
    uint32_t *symbols;    /* of each rule; RULES_NONE: not called yet */
    uint32_t *queue;      /* rules to be built */
    uint32_t queued, built;
    bool failed; /* the budget */
};

/* ---- places and paths; after a failure they do nothing that matters ---- */

static uint32_t add_place(struct builder *builder) {
    struct earley_tables *tables = builder->tables;
    if (builder->failed || !budget_spend(tables->budget, 1) ||
        !growing_reserve(tables->budget, &tables->places, &tables->place_capacity, (uint64_t)tables->state_count + 1,
                         sizeof *tables->places)) {
        builder->failed = true;
        return 0;
    }
    tables->places[tables->state_count] = (struct earley_place){
        .out = RULES_NONE, .in = RULES_NONE, .owner = RULES_NONE, .rest = EARLEY_NEVER, .best = RULES_NONE};
    return tables->state_count++;
}

static void add_path(struct builder *builder, uint32_t from, enum earley_path_kind kind, uint32_t value, uint32_t to) {
    struct earley_tables *tables = builder->tables;
    if (builder->failed || !budget_spend(tables->budget, 1) ||
        !growing_reserve(tables->budget, &tables->paths, &tables->path_capacity, (uint64_t)tables->path_count + 1,
                         sizeof *tables->paths)) {
        builder->failed = true;
        return;
    }
    struct earley_place *places = tables->places;
    tables->paths[tables->path_count] = (struct earley_path){.kind = kind,
                                                             .value = value,
                                                             .from = from,
                                                             .to = to,
                                                             .next_out = places[from].out,
                                                             .next_in = places[to].in,
                                                             .next_call = RULES_NONE};
    places[from].out = places[to].in = tables->path_count++;
}

static void add_terminal(struct builder *builder, uint32_t from, regex value, uint32_t to) {
    if (value == REGEX_FAILED) builder->failed = true;
    if (builder->failed || value == REGEX_NOTHING) return;
    if (regex_accepts(builder->rules->pool, value)) add_path(builder, from, EARLEY_EMPTY, 0, to);
    if (value != REGEX_EMPTY) add_path(builder, from, EARLEY_TERMINAL, value, to);
}

static uint32_t add_symbol(struct builder *builder, uint32_t start) {
    struct earley_tables *tables = builder->tables;
    if (builder->failed || !growing_reserve(tables->budget, &tables->symbols, &tables->symbol_capacity,
                                            (uint64_t)tables->symbol_count + 1, sizeof *tables->symbols)) {
        builder->failed = true;
        return 0;
    }
    tables->symbols[tables->symbol_count] = (struct earley_symbol){.start = start, .shortest = EARLEY_NEVER};
    return tables->symbol_count++;
}

/* The symbol of a rule that is not regular; it is built later. */
static uint32_t symbol_of(struct builder *builder, uint32_t rule) {
    if (builder->symbols[rule] == RULES_NONE) {
        builder->symbols[rule] = add_symbol(builder, add_place(builder));
        builder->queue[builder->queued++] = rule;
    }
    return builder->symbols[rule];
}

/* ---- nodes ---- */

static bool is_regular(const struct builder *builder, uint32_t node) {
    return builder->regular->nodes[node] != REGULAR_NOT;
}

static struct piece new_piece(struct builder *builder) {
    uint32_t start = add_place(builder);
    return (struct piece){start, add_place(builder)};
}

/* Regular children in a row are one terminal, as long as it stays small. */
static struct piece concat_piece(struct builder *builder, const struct rules_node *node) {
    const uint32_t *children = builder->rules->children + node->first;
    const uint32_t *sizes = builder->regular->sizes;
    struct piece piece = {.start = add_place(builder)};
    uint32_t at = piece.start;
    for (uint32_t i = 0; i < node->count && !builder->failed;) {
        if (!is_regular(builder, children[i])) {
            struct piece child = builder->pieces[children[i++]];
            add_path(builder, at, EARLEY_EMPTY, 0, child.start);
            at = child.end;
            continue;
        }
        uint32_t first = i;
        uint64_t size = sizes[children[i++]];
        while (i < node->count && is_regular(builder, children[i]) && size + sizes[children[i]] <= REGULAR_SIZE_MAX)
            size += sizes[children[i++]];
        uint32_t to = add_place(builder);
        regex value = rules_regular_concat(builder->rules, builder->regular, children + first, i - first);
        add_terminal(builder, at, value, to);
        at = to;
    }
    piece.end = at;
    return piece;
}

static struct piece or_piece(struct builder *builder, const struct rules_node *node) {
    const uint32_t *children = builder->rules->children + node->first;
    struct piece piece = new_piece(builder);
    for (uint32_t i = 0; i < node->count && !builder->failed; i++) {
        if (is_regular(builder, children[i])) continue;
        struct piece child = builder->pieces[children[i]];
        add_path(builder, piece.start, EARLEY_EMPTY, 0, child.start);
        add_path(builder, child.end, EARLEY_EMPTY, 0, piece.end);
    }
    add_terminal(builder, piece.start, rules_regular_or(builder->rules, builder->regular, children, node->count),
                 piece.end);
    return piece;
}

/* What stands once in the automaton: any number of it, or at most one. */
static struct piece loop_piece(struct builder *builder, const struct rules_node *node, struct piece child) {
    struct piece piece = new_piece(builder);
    add_path(builder, piece.start, EARLEY_EMPTY, 0, child.start);
    add_path(builder, child.end, EARLEY_EMPTY, 0, piece.end);
    if (node->max == REGEX_UNBOUNDED) add_path(builder, child.end, EARLEY_EMPTY, 0, child.start);
    if (node->min == 0) add_path(builder, piece.start, EARLEY_EMPTY, 0, piece.end);
    return piece;
}

/* A counted repeat calls a symbol of its own for what it repeats, so that counts inside counts add up and do not multiply. */
static struct piece counted_piece(struct builder *builder, const struct rules_node *node) {
    const struct rules_node *child = &builder->rules->nodes[node->value];
    uint32_t symbol;
    if (child->kind == RULES_REFERENCE) {
        symbol = symbol_of(builder, child->value);
    } else if (is_regular(builder, node->value)) { /* only where the expression is too large to be repeated */
        struct piece piece = new_piece(builder);
        add_terminal(builder, piece.start, rules_regular_value(builder->rules, builder->regular, node->value),
                     piece.end);
        symbol = add_symbol(builder, piece.start);
        if (!builder->failed) builder->tables->places[piece.end].accepts = true;
    } else {
        struct piece piece = builder->pieces[node->value];
        symbol = add_symbol(builder, piece.start);
        if (!builder->failed) builder->tables->places[piece.end].accepts = true;
    }
    struct piece piece = new_piece(builder);
    bool unbounded = node->max == REGEX_UNBOUNDED;
    uint32_t at = piece.start, count = unbounded ? node->min : node->max;
    if (count > builder->tables->budget->fuel) builder->failed = true; /* sooner than by trying */
    for (uint32_t i = 0; i < count && !builder->failed; i++) {
        if (i >= node->min) add_path(builder, at, EARLEY_EMPTY, 0, piece.end);
        uint32_t to = add_place(builder);
        add_path(builder, at, EARLEY_CALL, symbol, to);
        at = to;
    }
    if (unbounded) add_path(builder, at, EARLEY_CALL, symbol, at);
    add_path(builder, at, EARLEY_EMPTY, 0, piece.end);
    return piece;
}

static struct piece repeat_piece(struct builder *builder, const struct rules_node *node) {
    bool once = !is_regular(builder, node->value) &&
                ((node->max == REGEX_UNBOUNDED && node->min <= 1) || (node->max == 1 && node->min <= 1));
    if (once) return loop_piece(builder, node, builder->pieces[node->value]);
    if (node->max == 0) {
        struct piece piece = new_piece(builder);
        add_path(builder, piece.start, EARLEY_EMPTY, 0, piece.end);
        return piece;
    }
    return counted_piece(builder, node);
}

static struct piece node_piece(struct builder *builder, const struct rules_node *node) {
    switch (node->kind) {
    case RULES_CONCAT:
        return concat_piece(builder, node);
    case RULES_OR:
        return or_piece(builder, node);
    case RULES_REPEAT:
        return repeat_piece(builder, node);
    default:
        break; /* terminals and literals are regular */
    }
    struct piece piece = new_piece(builder);
    add_path(builder, piece.start, EARLEY_CALL, symbol_of(builder, node->value), piece.end);
    return piece;
}

/* Its nodes are built between its start, which is there, and a place that accepts. */
static enum status build_rule(struct builder *builder, uint32_t rule) {
    struct rules *rules = builder->rules;
    const struct rules_rule *what = &rules->rules[rule];
    uint32_t start = builder->tables->symbols[builder->symbols[rule]].start;
    struct piece piece;
    if (builder->regular->rules[rule] != REGULAR_NOT || is_regular(builder, what->node)) {
        piece = new_piece(builder);
        regex value = builder->regular->rules[rule] != REGULAR_NOT
                          ? builder->regular->rules[rule]
                          : rules_regular_value(rules, builder->regular, what->node);
        add_terminal(builder, piece.start, value, piece.end);
    } else {
        for (uint32_t i = what->first_node; i <= what->node && !builder->failed; i++)
            if (!is_regular(builder, i)) {
                builder->pieces[i] = node_piece(builder, &rules->nodes[i]);
                if (builder->failed) return rules_exhausted(rules, rules->nodes[i].at);
            }
        piece = builder->pieces[what->node];
    }
    add_path(builder, start, EARLEY_EMPTY, 0, piece.start);
    if (builder->failed) return rules_exhausted(rules, what->at);
    builder->tables->places[piece.end].accepts = true;
    return STATUS_OK;
}

static enum status build_all(struct builder *builder) {
    struct rules *rules = builder->rules;
    struct earley_tables *tables = builder->tables;
    /* A symbol that nobody calls stands around the start rule: when that ends, the text may. */
    struct piece outer = new_piece(builder);
    (void)add_symbol(builder, outer.start);
    tables->start = outer.start;
    add_path(builder, outer.start, EARLEY_CALL, symbol_of(builder, rules->start), outer.end);
    if (builder->failed) return rules_exhausted(rules, rules->rules[rules->start].at);
    tables->places[outer.end].accepts = true;
    while (builder->built < builder->queued) TRY(build_rule(builder, builder->queue[builder->built++]));
    if (!earley_tables_measure(tables)) return rules_exhausted(rules, rules->rules[rules->start].at);
    if (tables->places[tables->start].rest == EARLEY_NEVER)
        return rules_fail(rules, STATUS_FAILED_PRECONDITION, rules->rules[rules->start].at,
                          "no text fits: the start rule never ends");
    if (!earley_tables_close(tables)) return rules_exhausted(rules, rules->rules[rules->start].at);
    return STATUS_OK;
}

enum status earley_tables_build(struct rules *rules, struct rules_regular *regular, struct earley_tables *out) {
    *out = (struct earley_tables){.budget = rules->budget, .pool = rules->pool};
    struct builder builder = {.rules = rules, .regular = regular, .tables = out};
    size_t bytes = (size_t)rules->node_count * sizeof(struct piece) + (size_t)rules->rule_count * 2 * sizeof(uint32_t);
    if (!budget_reserve(rules->budget, bytes)) return rules_exhausted(rules, 0);
    builder.pieces = malloc(((size_t)rules->node_count + 1) * sizeof *builder.pieces);
    builder.symbols = malloc(((size_t)rules->rule_count + 1) * sizeof *builder.symbols);
    builder.queue = malloc(((size_t)rules->rule_count + 1) * sizeof *builder.queue);
    enum status status = STATUS_OK;
    if (builder.pieces == NULL || builder.symbols == NULL || builder.queue == NULL) {
        status = rules_exhausted(rules, 0);
    } else {
        for (uint32_t i = 0; i < rules->rule_count; i++) builder.symbols[i] = RULES_NONE;
        status = build_all(&builder);
    }
    free(builder.pieces);
    free(builder.symbols);
    free(builder.queue);
    rules->budget->bytes += (int64_t)bytes;
    return status;
}

void earley_tables_deinit(struct earley_tables *tables) {
    free(tables->states);
    free(tables->terminals);
    free(tables->calls);
    free(tables->symbols);
    free(tables->paths);
    free(tables->places);
}
