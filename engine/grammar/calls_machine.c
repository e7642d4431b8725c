/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine of a program: walks its nodes, and the machine of a tool where its arguments stand.
 *
 * Masks: free text by its own ready bitsets (calls_text.c); arguments by the tool's machine, but for the tokens that run past their end; the rest by walks, of
 * which constant text has short ones.
 */
#include "engine/grammar/calls_internal.h"
#include "engine/grammar/json_machine.h"

#include <stdlib.h>
#include <string.h>

static struct calls *of(struct machine *machine) {
    return (struct calls *)machine;
}

static uint32_t node_of(const struct machine_state *state) {
    return (uint32_t)state->outer;
}

/** CALL_TEXT: the automaton's state. Else the tool. */
static uint32_t detail_of(const struct machine_state *state) {
    return (uint32_t)(state->outer >> 32);
}

static uint64_t position(uint32_t node, uint32_t detail) {
    return (uint64_t)detail << 32 | node;
}

/* ---- the tools' machines ---- */

/** Locks the tool's machine, which spends what the program has. */
static struct machine *borrow(struct calls *calls, struct tool_machine *tool) {
    pthread_mutex_lock(&tool->lock);
    tool->budget->fuel = calls->budget.fuel;
    tool->budget->looks = calls->budget.looks;
    return tool->machine;
}

static void give_back(struct calls *calls, struct tool_machine *tool) {
    calls->budget.fuel = tool->budget->fuel;
    pthread_mutex_unlock(&tool->lock);
}

/* ---- steps ---- */

static enum machine_step enter(struct calls *calls, struct frames *frames, uint32_t node, uint32_t tool,
                               struct machine_state *out) {
    const struct call_node *to = &calls->nodes[node];
    enum machine_step step = MACHINE_LIVE;
    if (node == CALL_NOWHERE) return MACHINE_DEAD;
    *out = (struct machine_state){0};
    if (to->kind == CALL_VALUE) {
        struct tool_machine *borrowed = calls->tools[tool];
        struct machine *machine = borrow(calls, borrowed);
        step = machine->operations->start(machine, frames, out);
        give_back(calls, borrowed);
    }
    const struct text_automaton *text = call_automaton(calls, to);
    if (to->kind == CALL_TEXT) tool = to->go_on || to->thought ? text->go_on : text->start;
    out->outer = position(node, tool);
    return step;
}

static enum machine_step step_value(struct calls *calls, struct frames *frames, const struct machine_state *from,
                                    uint8_t byte, struct machine_state *out) {
    uint64_t outer = from->outer;
    struct tool_machine *tool = calls->tools[detail_of(from)];
    struct machine *machine = borrow(calls, tool);
    enum machine_step step = machine->operations->step(machine, frames, from, byte, out);
    bool complete =
        step == MACHINE_LIVE && !calls->nodes[(uint32_t)outer].last && machine->operations->complete(machine, out);
    give_back(calls, tool);
    if (step != MACHINE_LIVE) return step;
    if (complete) return enter(calls, frames, calls->nodes[(uint32_t)outer].after[0], (uint32_t)(outer >> 32), out);
    out->outer = outer;
    return MACHINE_LIVE;
}

static enum machine_step step(struct machine *machine, struct frames *frames, const struct machine_state *from,
                              uint8_t byte, struct machine_state *out) {
    struct calls *calls = of(machine);
    uint32_t at = node_of(from), detail = detail_of(from);
    const struct call_node *node = &calls->nodes[at];
    if (node->kind == CALL_VALUE) return step_value(calls, frames, from, byte, out);
    if (node->kind == CALL_TEXT) {
        uint8_t next = call_automaton(calls, node)->next[detail][byte];
        if (next & TEXT_TRIGGERED) return enter(calls, frames, node->after[next & ~TEXT_TRIGGERED], 0, out);
        *out = (struct machine_state){.outer = position(at, next)};
        return MACHINE_LIVE;
    }
    const struct call_edge *edge = call_edge_of(calls, node, byte);
    if (edge != NULL) return enter(calls, frames, edge->to, edge->tool > 0 ? edge->tool - 1 : detail, out);
    if (node->otherwise == CALL_NOWHERE) return MACHINE_DEAD;
    enum machine_step begun = enter(calls, frames, node->otherwise, (uint32_t)calls->tool_count, out);
    return begun != MACHINE_LIVE ? begun : step_value(calls, frames, out, byte, out);
}

static enum machine_step control(struct machine *machine, struct frames *frames, const struct machine_state *from,
                                 int32_t token, struct machine_state *out) {
    struct calls *calls = of(machine);
    const struct call_control *edge = call_control_of(calls, &calls->nodes[node_of(from)], token);
    if (edge == NULL) return MACHINE_DEAD;
    return enter(calls, frames, edge->to, edge->tool > 0 ? edge->tool - 1 : detail_of(from), out);
}

static void controls(struct machine *machine, const struct machine_state *state, uint32_t *mask) {
    const struct calls *calls = of(machine);
    for (uint32_t c = calls->nodes[node_of(state)].controls; c != 0; c = calls->controls[c - 1].sibling)
        mask_set(mask, calls->controls[c - 1].token);
}

static bool awaits_control(struct machine *machine, const struct machine_state *state) {
    return of(machine)->nodes[node_of(state)].controls != 0;
}

static enum machine_step start(struct machine *machine, struct frames *frames, struct machine_state *out) {
    return enter(of(machine), frames, of(machine)->start, 0, out);
}

static bool complete(struct machine *machine, const struct machine_state *state) {
    struct calls *calls = of(machine);
    const struct call_node *node = &calls->nodes[node_of(state)];
    if (!node->last) return node->complete;
    struct tool_machine *content = calls->tools[calls->tool_count];
    struct machine *inner = borrow(calls, content);
    bool complete = inner->operations->complete(inner, state);
    give_back(calls, content);
    return complete;
}

static uint64_t signature(struct machine *machine, const struct machine_state *state) {
    /* Arguments have a state of their own besides. */
    return of(machine)->nodes[node_of(state)].kind == CALL_VALUE ? 0 : state->outer + 1;
}

/* ---- the way to the end ---- */

/** What is left of a trigger when the text has `state` of it. */
static const char *rest_of_trigger(const struct text_automaton *text, uint32_t state) {
    const struct text_state *begun = &text->states[state];
    const char *trigger = text->triggers[0].text;
    bool counts = begun->length < strlen(trigger) && memcmp(trigger, begun->text, begun->length) == 0;
    return counts ? trigger + begun->length : trigger;
}

/** By an edge or a control token towards a smaller distance. */
static enum machine_step shortest_edge(struct calls *calls, struct frames *frames, struct machine_state *at,
                                       struct bytes *out) {
    const struct call_node *node = &calls->nodes[node_of(at)];
    for (uint32_t c = node->controls; c != 0; c = calls->controls[c - 1].sibling)
        if (calls->nodes[calls->controls[c - 1].to].distance < node->distance)
            return control(&calls->machine, frames, at, calls->controls[c - 1].token, at);
    for (uint32_t e = node->edges; e != 0; e = calls->edges[e - 1].sibling) {
        const struct call_edge *edge = &calls->edges[e - 1];
        if (calls->nodes[edge->to].distance >= node->distance) continue;
        if (out != NULL) (void)bytes_append_byte(out, edge->first); /* failures show in the buffer's flag */
        return step(&calls->machine, frames, at, edge->first, at);
    }
    return MACHINE_FAILED;
}

/** Control tokens count as one byte each, and are not in `out`. */
static uint64_t way_to_end(struct machine *machine, struct frames *frames, const struct machine_state *state,
                           uint64_t limit, struct bytes *out, bool about) {
    struct calls *calls = of(machine);
    struct machine_state at = *state;
    struct frames_mark before = frames_mark(frames);
    enum machine_step step = MACHINE_LIVE;
    uint64_t length = 0;
    while (step == MACHINE_LIVE && length <= limit && !complete(machine, &at)) {
        const struct call_node *node = &calls->nodes[node_of(&at)];
        if (node->kind == CALL_VALUE) {
            struct tool_machine *tool = calls->tools[detail_of(&at)];
            struct machine *inner = borrow(calls, tool);
            uint64_t bytes = about && inner->operations->estimate != NULL
                                 ? inner->operations->estimate(inner, frames, &at)
                                 : inner->operations->shortest(inner, frames, &at, limit - length, out);
            length = bytes > limit - length ? limit + 1 : length + bytes;
            give_back(calls, tool);
            if (node->last) break;
            step = enter(calls, frames, node->after[0], detail_of(&at), &at);
        } else if (node->otherwise != CALL_NOWHERE) {
            step = enter(calls, frames, node->otherwise, (uint32_t)calls->tool_count, &at);
        } else if (node->kind == CALL_TEXT && node->controls == 0) {
            const char *rest = rest_of_trigger(call_automaton(calls, node), detail_of(&at));
            length += strlen(rest);
            if (out != NULL) (void)bytes_append_string(out, rest);
            step = enter(calls, frames, node->after[0], 0, &at);
        } else {
            length++;
            step = shortest_edge(calls, frames, &at, out);
        }
    }
    frames_drop(frames, before);
    return step == MACHINE_LIVE && length <= limit ? length : limit + 1;
}

static uint64_t shortest(struct machine *machine, struct frames *frames, const struct machine_state *state,
                         uint64_t limit, struct bytes *out) {
    return way_to_end(machine, frames, state, limit, out, false);
}

static uint64_t estimate(struct machine *machine, struct frames *frames, const struct machine_state *state) {
    enum { LIMIT = 1 << 16 };
    uint64_t bytes = way_to_end(machine, frames, state, LIMIT, NULL, true);
    return bytes > LIMIT ? UINT64_MAX : bytes;
}

/** A token may begin a call and its arguments. */
static uint64_t leap(struct machine *machine) {
    enum { FRAME_BYTES = 64 };
    struct calls *calls = of(machine);
    uint64_t longest = 0;
    for (size_t i = 0; i <= calls->tool_count; i++) {
        if (calls->tools[i] == NULL) continue; /* there is no schema of content */
        struct machine *inner = borrow(calls, calls->tools[i]);
        uint64_t own = inner->operations->leap == NULL ? 0 : inner->operations->leap(inner);
        if (own > longest) longest = own;
        give_back(calls, calls->tools[i]);
    }
    return longest + FRAME_BYTES;
}

/** Within arguments what their own machine says: such tokens do not lead out of them. */
static bool inside(struct machine *machine, const struct grammar_vocabulary *vocabulary,
                   const struct machine_state *state, struct string_inside *out) {
    struct calls *calls = of(machine);
    if (calls->nodes[node_of(state)].kind != CALL_VALUE) return false;
    struct tool_machine *tool = calls->tools[detail_of(state)];
    struct machine *inner = borrow(calls, tool);
    bool is = inner->operations->inside != NULL && inner->operations->inside(inner, vocabulary, state, out);
    give_back(calls, tool);
    return is;
}

/* ---- masks ---- */

static bool fill_text(struct calls *calls, struct mask_walk *walk, const struct machine_state *state, uint32_t *mask) {
    const struct call_node *node = &calls->nodes[node_of(state)];
    const struct text_mask *ready =
        text_automaton_mask(call_automaton(calls, node), walk->vocabulary, detail_of(state));
    if (ready == NULL) return false;
    mask_or(mask, ready->stay, walk->vocabulary->words);
    return mask_walk(walk, &ready->other, 0, ready->other.count, state, mask);
}

/** What may come within the arguments, by the tool's machine. */
static bool fill_inside(struct calls *calls, struct mask_walk *walk, const struct machine_state *state,
                        uint32_t *mask) {
    struct tool_machine *tool = calls->tools[detail_of(state)];
    const struct token_trie *trie = &walk->vocabulary->trie;
    struct machine *machine = borrow(calls, tool);
    walk->machine = machine;
    bool ok = machine->operations->fill != NULL ? machine->operations->fill(machine, walk, state, mask)
                                                : mask_walk(walk, trie, 0, trie->count, state, mask);
    walk->machine = &calls->machine;
    give_back(calls, tool);
    return ok;
}

static bool fill_value(struct calls *calls, struct mask_walk *walk, const struct machine_state *state, uint32_t *mask) {
    uint32_t depth = json_machine_depth(state, CLOSERS_MAX), least = depth == 0 ? 0 : depth - 1;
    const struct closing_tokens *closing = &calls->format->closing;
    if (!fill_inside(calls, walk, state, mask)) return false;
    if (calls->nodes[node_of(state)].last) return true; /* nothing stands behind it */
    for (uint32_t i = 0; i < walk->vocabulary->words; i++) mask[i] &= ~closing->tokens[least][i];
    return mask_walk(walk, &closing->tries[least], 0, closing->tries[least].count, state, mask);
}

/** Content may begin here; what the node's own edges lead to is put right behind this. */
static bool fill_otherwise(struct calls *calls, struct mask_walk *walk, const struct call_node *node, uint32_t *mask) {
    struct frames_mark before = frames_mark(walk->frames);
    struct machine_state content;
    bool ok = enter(calls, walk->frames, node->otherwise, (uint32_t)calls->tool_count, &content) == MACHINE_LIVE &&
              fill_inside(calls, walk, &content, mask);
    frames_drop(walk->frames, before);
    return ok;
}

static bool fill(struct machine *machine, struct mask_walk *walk, const struct machine_state *state, uint32_t *mask) {
    struct calls *calls = of(machine);
    const struct token_trie *trie = &walk->vocabulary->trie;
    const struct call_node *node = &calls->nodes[node_of(state)];
    if (node->kind == CALL_VALUE) return fill_value(calls, walk, state, mask);
    if (node->kind == CALL_TEXT) return fill_text(calls, walk, state, mask);
    if (node->otherwise != CALL_NOWHERE && !fill_otherwise(calls, walk, node, mask)) return false;
    for (uint32_t e = node->edges; e != 0; e = calls->edges[e - 1].sibling) {
        const struct call_edge *edge = &calls->edges[e - 1];
        for (uint32_t byte = edge->first; byte <= edge->last && node->otherwise != CALL_NOWHERE; byte++)
            if (trie->roots[byte] < trie->roots[byte + 1]) mask_clear_subtree(mask, trie, trie->roots[byte]);
        if (!mask_walk(walk, trie, trie->roots[edge->first], trie->roots[edge->last + 1U], state, mask)) return false;
    }
    return true;
}

static void destroy(struct machine *machine) {
    struct calls *calls = of(machine);
    for (size_t t = 0; calls->tools != NULL && t <= calls->tool_count; t++)
        if (calls->tools[t] != NULL) tool_cache_give_back(&calls->format->tools, calls->tools[t]);
    free(calls->nodes);
    free(calls->edges);
    free(calls->controls);
    arena_deinit(&calls->arena);
    free(calls);
}

const struct machine_operations calls_operations = {.destroy = destroy,
                                                    .start = start,
                                                    .step = step,
                                                    .complete = complete,
                                                    .shortest = shortest,
                                                    .estimate = estimate,
                                                    .leap = leap,
                                                    .inside = inside,
                                                    .signature = signature,
                                                    .fill = fill,
                                                    .control = control,
                                                    .controls = controls,
                                                    .awaits_control = awaits_control};
