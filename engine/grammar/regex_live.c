/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Is there a text in it? Most expressions tell by their form. The others are searched state by state, those that seem nearest to an end first; whatever the search
 * learns (all states on the way to a live one are live, all states of a search in vain are dead) is kept in the nodes. */
#include "engine/grammar/regex_internal.h"

/* ---- a heap of states, least key first ---- */

bool regex_heap_push(struct regex_pool *pool, uint64_t key, regex state) {
    if (!regex_grow(pool, &pool->heap, &pool->heap_capacity, pool->heap_count + 1, sizeof *pool->heap)) return false;
    struct regex_candidate *heap = pool->heap;
    uint32_t at = pool->heap_count++;
    for (; at > 0 && heap[(at - 1) / 2].key > key; at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
    heap[at] = (struct regex_candidate){key, state};
    return true;
}

struct regex_candidate regex_heap_pop(struct regex_pool *pool) {
    struct regex_candidate *heap = pool->heap, last = heap[--pool->heap_count], top = heap[0];
    uint32_t at = 0, count = pool->heap_count;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= count) break;
        if (child + 1 < count && heap[child + 1].key < heap[child].key) child++;
        if (heap[child].key >= last.key) break;
        heap[at] = heap[child];
        at = child;
    }
    if (count > 0) heap[at] = last;
    return top;
}

/* ---- search ---- */

/** Bit of a key: what comes after everything else. */
#define LATER (1ull << 63)

/** A guess at how far the end is: what all operands of an & still ask for. */
static uint64_t distance(const struct regex_pool *pool, regex r) {
    const struct regex_node *node = regex_node(pool, r);
    if (node->kind != REGEX_KIND_AND) return node->length_min;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < node->count; i++) sum += regex_node(pool, node->children[i])->length_min;
    return sum;
}

static bool visit(struct regex_pool *pool, regex r, regex parent) {
    struct regex_node *node = regex_node(pool, r);
    node->search = pool->search;
    node->parent = parent;
    if (!regex_grow(pool, &pool->visited, &pool->visited_capacity, pool->visited_count + 1, sizeof *pool->visited))
        return false;
    pool->visited[pool->visited_count++] = r;
    uint64_t far = distance(pool, r);
    if (far > INT32_MAX) far = INT32_MAX;
    /* Of equals the newest first: straight ahead. */
    return regex_heap_push(pool, far << 32 | (UINT32_MAX - pool->visited_count), r);
}

static void mark_path(struct regex_pool *pool, regex r) {
    for (; r != REGEX_NOTHING; r = regex_node(pool, r)->parent) regex_node(pool, r)->flags |= REGEX_LIVE;
}

/** Looks at the ways out of `r`: of ASCII at first, since a class of letters has a thousand borders beyond, and of all characters when ASCII leads nowhere. */
static enum regex_life expand(struct regex_pool *pool, struct regex_candidate candidate) {
    regex r = candidate.state;
    bool again = (candidate.key & LATER) != 0;
    if (!budget_spend(pool->budget, 1)) return REGEX_LIFE_FAILED;
    const struct regex_fan *fan = regex_fan(pool, r, again);
    if (fan == NULL) return REGEX_LIFE_FAILED;
    if (!again && !fan->complete && !regex_heap_push(pool, candidate.key | LATER, r)) return REGEX_LIFE_FAILED;
    for (uint32_t i = 0; i < fan->count; i++) {
        const struct regex_node *node = regex_node(pool, fan->ways[i].target);
        if ((node->flags & REGEX_LIVE) != 0) {
            mark_path(pool, r);
            return REGEX_LIFE_LIVE;
        }
        if ((node->flags & REGEX_DEAD) == 0 && node->search != pool->search && !visit(pool, fan->ways[i].target, r))
            return REGEX_LIFE_FAILED;
    }
    return REGEX_LIFE_DEAD;
}

static enum regex_life search(struct regex_pool *pool, regex start) {
    pool->search++;
    pool->heap_count = pool->visited_count = 0;
    if (!visit(pool, start, REGEX_NOTHING)) return REGEX_LIFE_FAILED;
    while (pool->heap_count > 0) {
        enum regex_life life = expand(pool, regex_heap_pop(pool));
        if (life != REGEX_LIFE_DEAD) return life;
    }
    for (uint32_t i = 0; i < pool->visited_count; i++) regex_node(pool, pool->visited[i])->flags |= REGEX_DEAD;
    return REGEX_LIFE_DEAD;
}

/* ---- by form ---- */

static enum regex_life concat_life(struct regex_pool *pool, regex r) {
    for (; regex_node(pool, r)->kind == REGEX_KIND_CONCAT; r = regex_node(pool, r)->tail) {
        enum regex_life life = regex_life(pool, regex_node(pool, r)->head);
        if (life != REGEX_LIFE_LIVE) return life;
    }
    return regex_life(pool, r);
}

static enum regex_life or_life(struct regex_pool *pool, const regex *children, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        enum regex_life life = regex_life(pool, children[i]);
        if (life != REGEX_LIFE_DEAD) return life;
    }
    return REGEX_LIFE_DEAD;
}

enum regex_life regex_life(struct regex_pool *pool, regex r) {
    struct regex_node node = *regex_node(pool, r);
    enum regex_life life;
    if ((node.flags & REGEX_LIVE) != 0) return REGEX_LIFE_LIVE;
    if ((node.flags & REGEX_DEAD) != 0) return REGEX_LIFE_DEAD;
    switch (node.kind) {
    case REGEX_KIND_CONCAT:
        life = concat_life(pool, r);
        break;
    case REGEX_KIND_REPEAT: /* at least once, else it would be known */
        life = regex_life(pool, node.body);
        break;
    case REGEX_KIND_OR:
        life = or_life(pool, node.children, node.count);
        break;
    default:
        life = search(pool, r);
        break;
    }
    if (life == REGEX_LIFE_FAILED) return life;
    regex_node(pool, r)->flags |= life == REGEX_LIFE_LIVE ? REGEX_LIVE : REGEX_DEAD;
    return life;
}

regex regex_settle(struct regex_pool *pool, regex r) {
    if (r == REGEX_FAILED || regex_has(pool, r, REGEX_LIVE)) return r;
    enum regex_life life = regex_life(pool, r);
    return life == REGEX_LIFE_LIVE ? r : life == REGEX_LIFE_DEAD ? REGEX_NOTHING : REGEX_FAILED;
}
