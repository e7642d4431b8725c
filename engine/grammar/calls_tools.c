/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "engine/grammar/calls_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TOOL_BYTES_DEFAULT = 64 << 20,
    TOOL_FUEL_MAX = 2000000,
    KEY_BYTES_MAX = 64 << 20,
    START_FUEL = 100000,
    SCHEMA_DEPTH_MAX = 100000
};

static enum status decline(struct grammar_problem *problem, enum status status, const char *keyword,
                           const char *reason) {
    *problem = (struct grammar_problem){0};
    snprintf(problem->keyword, sizeof problem->keyword, "%s", keyword);
    if (keyword[0] != '\0') snprintf(problem->pointer, sizeof problem->pointer, "/%s", keyword);
    snprintf(problem->reason, sizeof problem->reason, "%s", reason);
    return status;
}

static enum status out_of_memory(struct grammar_problem *problem) {
    return decline(problem, STATUS_RESOURCE_EXHAUSTED, "", "out of memory");
}

/* ---- schemas of arguments: objects, whatever they say ---- */

static const struct json_value object_type = {.kind = JSON_KIND_STRING,
                                              .text = {(const uint8_t *)"\"object\"", 8},
                                              .string = {(const uint8_t *)"object", 6},
                                              .name = {(const uint8_t *)"type", 4}};

/** {"type": "object"}, with or without "additionalProperties": false. */
static struct json_value *plain_object(struct arena *arena, bool closed) {
    struct json_value *nodes = arena_alloc_array(arena, 3, sizeof *nodes);
    if (nodes == NULL) return NULL;
    nodes[1] = object_type;
    nodes[2] = (struct json_value){.kind = JSON_KIND_BOOLEAN,
                                   .text = bytes_view_string("false"),
                                   .name = bytes_view_string("additionalProperties")};
    if (closed) nodes[1].next = &nodes[2];
    nodes[0] = (struct json_value){
        .kind = JSON_KIND_OBJECT,
        .count = closed ? 2 : 1,
        .first = &nodes[1],
        .text = bytes_view_string(closed ? "{\"type\":\"object\",\"additionalProperties\":false}"
                                         : "{\"type\":\"object\"}"),
    };
    return nodes;
}

static bool admits_objects(const struct json_value *type) {
    if (type->kind != JSON_KIND_ARRAY) return json_is_string(type, "object");
    for (const struct json_value *entry = type->first; entry != NULL; entry = entry->next)
        if (json_is_string(entry, "object")) return true;
    return false;
}

/** The members of `schema` with its type, or one more, made "object". */
static struct json_value *narrow(struct arena *arena, const struct json_value *schema) {
    struct json_value *nodes = arena_alloc_array(arena, schema->count + 2U, sizeof *nodes);
    if (nodes == NULL) return NULL;
    nodes[0] = *schema;
    struct json_value **link = &nodes[0].first, *copy = nodes + 1;
    bool typed = false;
    for (const struct json_value *member = schema->first; member != NULL;
         member = member->next, link = &copy->next, copy++) {
        bool is_type = bytes_view_equal_string(member->name, "type");
        typed |= is_type;
        *copy = is_type ? object_type : *member;
        *link = copy;
    }
    if (!typed) {
        *copy = object_type;
        *link = copy;
        link = &copy->next;
        nodes[0].count++;
    }
    *link = NULL;
    return nodes;
}

static enum status schema_of(const struct call_tool *tool, struct arena *arena, const struct json_value **out,
                             struct grammar_problem *problem) {
    const struct json_value *given = tool->parameters;
    if (given == NULL || (given->kind == JSON_KIND_BOOLEAN && given->boolean))
        *out = plain_object(arena, given == NULL && tool->strict);
    else if (given->kind != JSON_KIND_OBJECT)
        return decline(problem, STATUS_INVALID_ARGUMENT, "", "parameters must be a JSON Schema of an object");
    else if (json_member(given, "type") != NULL && !admits_objects(json_member(given, "type")))
        return decline(problem, STATUS_INVALID_ARGUMENT, "type",
                       "arguments are an object: the type must be \"object\"");
    else
        *out = narrow(arena, given);
    return *out == NULL ? out_of_memory(problem) : STATUS_OK;
}

/** Nothing but an object may begin: that is what lets everybody see where the arguments end. */
static bool begins_objects_only(const struct tool_machine *tool) {
    struct machine *machine = tool->machine;
    static const char others[] = "\"[-0123456789tfn";
    struct frames frames;
    struct machine_state start, next;
    frames_init(&frames, 1 << 20);
    tool->budget->fuel = START_FUEL;
    bool ok = machine->operations->start(machine, &frames, &start) == MACHINE_LIVE;
    for (const char *byte = others; ok && *byte != '\0'; byte++)
        ok = machine->operations->step(machine, &frames, &start, (uint8_t)*byte, &next) == MACHINE_DEAD;
    frames_deinit(&frames);
    return ok;
}

/* ---- the cache ---- */

static uint64_t hash_of(struct bytes_view key) {
    uint64_t hash = bytes_hash(BYTES_HASH_START, key);
    return hash ^ hash >> 32;
}

static void destroy(struct tool_machine *tool) {
    if (tool->machine != NULL) tool->machine->operations->destroy(tool->machine);
    pthread_mutex_destroy(&tool->lock);
    arena_deinit(&tool->arena);
    bytes_deinit(&tool->key);
    free(tool);
}

bool tool_cache_init(struct tool_cache *cache, const struct grammar_vocabulary *vocabulary) {
    *cache = (struct tool_cache){.vocabulary = vocabulary};
    return pthread_mutex_init(&cache->lock, NULL) == 0;
}

void tool_cache_deinit(struct tool_cache *cache) {
    for (int b = 0; b < TOOL_BUCKETS; b++)
        while (cache->buckets[b] != NULL) {
            struct tool_machine *tool = cache->buckets[b];
            cache->buckets[b] = tool->next;
            destroy(tool);
        }
    pthread_mutex_destroy(&cache->lock);
}

/** Under the lock: one reference more. */
static void hold(struct tool_cache *cache, struct tool_machine *tool) {
    tool->used = ++cache->clock;
    if (tool->references++ > 0) return;
    cache->idle_count--;
    cache->idle_bytes -= tool->idle_bytes;
}

/** It has nearly used up what it may build, and is for those only who have begun with it. One that is at work is asked another time. */
static bool is_spent(struct tool_machine *tool) {
    enum { SHARE = 2 };
    if (pthread_mutex_trylock(&tool->lock) != 0) return false;
    bool spent = tool->budget->bytes <= tool->bytes_left / SHARE;
    pthread_mutex_unlock(&tool->lock);
    return spent;
}

static struct tool_machine *find(const struct tool_cache *cache, struct bytes_view key, uint64_t hash) {
    struct tool_machine *tool = cache->buckets[hash % TOOL_BUCKETS];
    while (tool != NULL && (tool->hash != hash || !bytes_view_equal(bytes_view(&tool->key), key) || is_spent(tool)))
        tool = tool->next;
    return tool;
}

/** Under the lock: what has not been used for longest goes. */
static void drop_idle(struct tool_cache *cache) {
    struct tool_machine **oldest = NULL;
    for (int b = 0; b < TOOL_BUCKETS; b++)
        for (struct tool_machine **link = &cache->buckets[b]; *link != NULL; link = &(*link)->next)
            if ((*link)->references == 0 && (oldest == NULL || (*link)->used < (*oldest)->used)) oldest = link;
    if (oldest == NULL) return;
    struct tool_machine *tool = *oldest;
    *oldest = tool->next;
    cache->idle_count--;
    cache->idle_bytes -= tool->idle_bytes;
    destroy(tool);
}

void tool_cache_give_back(struct tool_cache *cache, struct tool_machine *tool) {
    pthread_mutex_lock(&cache->lock);
    if (--tool->references == 0) {
        tool->idle_bytes = (size_t)(tool->bytes_max - tool->budget->bytes) + sizeof *tool;
        cache->idle_bytes += tool->idle_bytes;
        cache->idle_count++;
        while (cache->idle_count > TOOL_IDLE_MAX || cache->idle_bytes > TOOL_IDLE_BYTES_MAX) drop_idle(cache);
    }
    pthread_mutex_unlock(&cache->lock);
}

static enum status compile(const struct grammar_vocabulary *vocabulary, struct tool_machine *tool,
                           const struct json_value *schema, enum tool_use use, struct grammar_options options,
                           int64_t fuel, struct grammar_problem *problem) {
    options.bytes = options.bytes > 0 ? options.bytes : TOOL_BYTES_DEFAULT;
    options.fuel = fuel < TOOL_FUEL_MAX ? fuel : TOOL_FUEL_MAX;
    TRY(grammar_json_machine(vocabulary, schema, &options, &tool->later, &tool->machine, &tool->budget, problem));
    tool->bytes_max = options.bytes;
    tool->bytes_left = tool->budget->bytes;
    tool->fuel = options.fuel - tool->budget->fuel;
    return use == TOOL_CONTENT || begins_objects_only(tool)
               ? STATUS_OK
               : decline(problem, STATUS_INVALID_ARGUMENT, "", "the schema admits arguments that are no object");
}

/** The schema as a tree of the machine's own: what a request lends goes with it. */
static enum status keep_schema(struct tool_machine *tool, const struct call_tool *given, struct bytes_view text,
                               enum tool_use use, const struct json_value **out, struct grammar_problem *problem) {
    struct call_tool own = *given;
    struct json_value *parameters = NULL;
    struct json_problem wrong;
    if (given->parameters != NULL) {
        if (json_read(text, SCHEMA_DEPTH_MAX, KEY_BYTES_MAX, &tool->arena, &parameters, &wrong) != STATUS_OK)
            return out_of_memory(problem); /* it has been read before */
        own.parameters = parameters;
    }
    *out = own.parameters;
    return use == TOOL_ARGUMENTS ? schema_of(&own, &tool->arena, out, problem) : STATUS_OK;
}

/** Takes the key over; the schema stands in it from `schema_at` on. */
static enum status add(struct tool_cache *cache, struct bytes *key, size_t schema_at, uint64_t hash,
                       const struct call_tool *given, enum tool_use use, const struct grammar_options *options,
                       int64_t fuel, struct tool_machine **out, struct grammar_problem *problem) {
    struct tool_machine *tool = calloc(1, sizeof *tool);
    const struct json_value *schema = NULL;
    if (tool == NULL || pthread_mutex_init(&tool->lock, NULL) != 0) {
        free(tool);
        bytes_deinit(key);
        return out_of_memory(problem);
    }
    arena_init(&tool->arena, KEY_BYTES_MAX);
    tool->key = *key;
    tool->hash = hash;
    tool->references = 1;
    struct bytes_view text = bytes_view_of(tool->key.data + schema_at, tool->key.length - schema_at);
    enum status status = keep_schema(tool, given, text, use, &schema, problem);
    if (status == STATUS_OK) status = compile(cache->vocabulary, tool, schema, use, *options, fuel, problem);
    if (status != STATUS_OK) {
        destroy(tool);
        return status;
    }
    pthread_mutex_lock(&cache->lock);
    struct tool_machine *other = find(cache, bytes_view(&tool->key), hash); /* somebody was faster */
    if (other != NULL) {
        hold(cache, other);
    } else {
        tool->used = ++cache->clock;
        tool->next = cache->buckets[hash % TOOL_BUCKETS];
        cache->buckets[hash % TOOL_BUCKETS] = tool;
    }
    pthread_mutex_unlock(&cache->lock);
    if (other != NULL) destroy(tool);
    *out = other != NULL ? other : tool;
    return STATUS_OK;
}

/** The schema's text stands for it, but for what the tool says without one, and for the options. */
static bool write_key(struct bytes *key, const struct call_tool *tool, enum tool_use use,
                      const struct grammar_options *options, size_t *out_schema_at) {
    bytes_init(key, KEY_BYTES_MAX);
    (void)bytes_printf(key, "%d %d %d %d %d %u %lld ", (int)use, (int)options->space, (int)options->order,
                       (int)options->spelling, (int)options->any_properties, options->space_max,
                       (long long)options->bytes);
    for (size_t i = 0; i < options->document_count; i++) {
        (void)bytes_append(key, options->documents[i].address.data, options->documents[i].address.length);
        (void)bytes_append_byte(key, ' ');
        if (options->documents[i].schema != NULL)
            (void)json_append_compact(key, options->documents[i].schema->text, KEY_BYTES_MAX);
    }
    *out_schema_at = key->length;
    if (tool->parameters == NULL)
        (void)bytes_append_string(key, tool->strict ? "none" : "any");
    else
        (void)json_append_compact(key, tool->parameters->text, KEY_BYTES_MAX);
    return !key->failed;
}

enum status tool_cache_take(struct tool_cache *cache, const struct call_tool *tool, enum tool_use use,
                            const struct grammar_options *options, int64_t *fuel, struct tool_machine **out,
                            struct grammar_problem *problem) {
    struct bytes key;
    size_t schema_at;
    if (!write_key(&key, tool, use, options, &schema_at)) {
        bytes_deinit(&key);
        return out_of_memory(problem);
    }
    uint64_t hash = hash_of(bytes_view(&key));
    pthread_mutex_lock(&cache->lock);
    struct tool_machine *found = find(cache, bytes_view(&key), hash);
    if (found != NULL) hold(cache, found);
    pthread_mutex_unlock(&cache->lock);
    enum status status = STATUS_OK;
    if (found != NULL)
        bytes_deinit(&key);
    else
        status = add(cache, &key, schema_at, hash, tool, use, options, *fuel, &found, problem);
    if (status != STATUS_OK) return status;
    if (found->fuel > *fuel) {
        tool_cache_give_back(cache, found);
        return decline(problem, STATUS_RESOURCE_EXHAUSTED, "",
                       "the tools together cost more than a request's grammar may cost");
    }
    *fuel -= found->fuel;
    *out = found;
    return STATUS_OK;
}
