/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/calls_internal.h"

#include <stdlib.h>
#include <string.h>

/** Room for one more; false (and `failed`) without memory. */
static bool reserve(struct calls *calls, void *array, uint32_t count, uint32_t *capacity, size_t element_bytes) {
    if (count < *capacity) return true;
    uint32_t wanted = *capacity < 64 ? 64 : *capacity * 2;
    void *memory;
    memcpy(&memory, array, sizeof memory);
    memory = wanted > UINT32_MAX / 4 ? NULL : realloc(memory, wanted * element_bytes);
    if (memory == NULL) {
        calls->failed = true;
        return false;
    }
    memcpy(array, &memory, sizeof memory);
    *capacity = wanted;
    return true;
}

uint32_t call_node_add(struct calls *calls, enum call_node_kind kind) {
    if (!reserve(calls, &calls->nodes, calls->node_count, &calls->node_capacity, sizeof *calls->nodes))
        return CALL_NOWHERE;
    calls->nodes[calls->node_count] = (struct call_node){.kind = kind};
    return calls->node_count++;
}

void call_edge_add(struct calls *calls, uint32_t from, uint8_t first, uint8_t last, uint32_t to, uint32_t tool) {
    if (calls->failed || !reserve(calls, &calls->edges, calls->edge_count, &calls->edge_capacity, sizeof *calls->edges))
        return;
    struct call_node *node = &calls->nodes[from];
    calls->edges[calls->edge_count] =
        (struct call_edge){.sibling = node->edges, .to = to, .tool = tool, .first = first, .last = last};
    node->edges = ++calls->edge_count;
}

void call_control_add(struct calls *calls, uint32_t from, int32_t token, uint32_t to, uint32_t tool) {
    if (calls->failed ||
        !reserve(calls, &calls->controls, calls->control_count, &calls->control_capacity, sizeof *calls->controls))
        return;
    struct call_node *node = &calls->nodes[from];
    calls->controls[calls->control_count] =
        (struct call_control){.sibling = node->controls, .to = to, .tool = tool, .token = token};
    node->controls = ++calls->control_count;
}

uint32_t call_text_add(struct calls *calls, uint32_t from, struct bytes_view text) {
    for (size_t i = 0; i < text.length && !calls->failed; i++) {
        const struct call_edge *edge = call_edge_of(calls, &calls->nodes[from], text.data[i]);
        uint32_t to = edge != NULL ? edge->to : call_node_add(calls, CALL_BYTES);
        if (edge == NULL) call_edge_add(calls, from, text.data[i], text.data[i], to, 0);
        from = to;
    }
    return from;
}

void call_link(struct calls *calls, uint32_t from, const char *text, uint32_t to) {
    size_t length = strlen(text);
    uint8_t last = (uint8_t)text[length - 1];
    uint32_t before = call_text_add(calls, from, bytes_view_of(text, length - 1));
    call_edge_add(calls, before, last, last, to, 0);
}

void call_link_mark(struct calls *calls, uint32_t from, struct call_mark mark, uint32_t to) {
    if (mark.control >= 0) call_control_add(calls, from, mark.control, to, 0);
    if (mark.text != NULL) call_link(calls, from, mark.text, to);
}

/* ---- distances ---- */

enum { VALUE_DISTANCE = 2 /* {} */ };

static uint32_t distance_by(uint32_t step, uint32_t rest) {
    return rest >= UINT32_MAX - step ? UINT32_MAX : rest + step;
}

static uint32_t least(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

static uint32_t distance_of(const struct calls *calls, const struct call_node *node) {
    const struct call_node *nodes = calls->nodes;
    uint32_t out = node->complete ? 0 : UINT32_MAX;
    for (uint32_t e = node->edges; e != 0; e = calls->edges[e - 1].sibling)
        out = least(out, distance_by(1, nodes[calls->edges[e - 1].to].distance));
    for (uint32_t c = node->controls; c != 0; c = calls->controls[c - 1].sibling)
        out = least(out, distance_by(1, nodes[calls->controls[c - 1].to].distance));
    if (node->otherwise != CALL_NOWHERE) out = least(out, nodes[node->otherwise].distance);
    if (node->kind == CALL_VALUE && node->last) return VALUE_DISTANCE;
    if (node->kind == CALL_VALUE) out = least(out, distance_by(VALUE_DISTANCE, nodes[node->after[0]].distance));
    if (node->kind == CALL_TEXT && node->after[0] != CALL_NOWHERE) {
        uint32_t trigger = (uint32_t)strlen(call_automaton(calls, node)->triggers[0].text);
        out = least(out, distance_by(trigger, nodes[node->after[0]].distance));
    }
    return out;
}

bool call_measure(struct calls *calls) {
    for (uint32_t n = 0; n < calls->node_count; n++) calls->nodes[n].distance = UINT32_MAX;
    /* Most nodes lead to later ones, so few rounds do; each but the last makes some distance smaller. */
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t n = calls->node_count; n-- > 1;) {
            uint32_t distance = distance_of(calls, &calls->nodes[n]);
            changed |= distance != calls->nodes[n].distance;
            calls->nodes[n].distance = distance;
        }
    }
    for (uint32_t n = 1; n < calls->node_count; n++)
        if (calls->nodes[n].distance == UINT32_MAX) return false;
    return true;
}
