/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Where "$ref" leads: addresses ("$id"), anchors and JSON pointers. RFC 3986 section 5 for relative addresses, RFC 6901 for pointers. */
#include "engine/grammar/meta_schemas.h"
#include "engine/grammar/schema_internal.h"

#include <stdlib.h>
#include <string.h>

struct resource {
    struct bytes_view address; /* absolute, without a fragment; empty: the root without an "$id" */
    const struct json_value *value;
};
struct anchor {
    struct bytes_view address, name;
    const struct json_value *value;
};
struct schema_registry {
    struct resource *resources;
    size_t resource_count, resource_capacity;
    struct anchor *anchors;
    size_t anchor_count, anchor_capacity;
    struct memo bases; /* json_value with an "$id" -> index of its resource */
};

/* ---- addresses ---- */

struct address_parts {
    struct bytes_view scheme, authority, path, query; /* authority with its "//", query with its "?" */
};

static struct bytes_view cut(struct bytes_view *rest, size_t length) {
    struct bytes_view taken = {rest->data, length};
    if (length > 0) *rest = (struct bytes_view){rest->data + length, rest->length - length}; /* no text has no place */
    return taken;
}

static size_t index_of_any(struct bytes_view text, const char *characters) {
    for (size_t i = 0; i < text.length; i++)
        if (text.data[i] != '\0' && strchr(characters, text.data[i]) != NULL) return i;
    return text.length;
}

static struct address_parts split_address(struct bytes_view text) {
    struct address_parts parts = {0};
    size_t colon = index_of_any(text, ":/?#");
    if (colon < text.length && text.data[colon] == ':' && colon > 0) parts.scheme = cut(&text, colon + 1);
    if (text.length >= 2 && text.data[0] == '/' && text.data[1] == '/') {
        struct bytes_view after = {text.data + 2, text.length - 2};
        parts.authority = cut(&text, 2 + index_of_any(after, "/?#"));
    }
    parts.path = cut(&text, index_of_any(text, "?#"));
    parts.query = cut(&text, index_of_any(text, "#"));
    return parts;
}

/** RFC 3986, 5.2.4, in place: "a/./b/../c" is "a/c". */
static size_t remove_dots(char *path, size_t length) {
    size_t out = 0, in = 0;
    while (in < length) {
        size_t end = in + 1;
        while (end < length && path[end] != '/') end++;
        const char *segment = path + in + (path[in] == '/');
        size_t size = end - in - (path[in] == '/');
        bool up = size == 2 && memcmp(segment, "..", 2) == 0, stay = size == 1 && segment[0] == '.';
        if (up)
            while (out > 0 && path[--out] != '/') {
            }
        if (!up && !stay) {
            memmove(path + out, path + in, end - in);
            out += end - in;
        } else if (end == length) {
            path[out++] = '/';
        }
        in = end;
    }
    return out;
}

static struct bytes_view join(struct schema *schema, struct bytes_view base_text, struct bytes_view reference_text) {
    struct address_parts base = split_address(base_text), reference = split_address(reference_text), out = reference;
    size_t capacity = base_text.length + reference_text.length + 2;
    char *text = arena_alloc(&schema->arena, capacity), *path = arena_alloc(&schema->arena, capacity);
    if (text == NULL || path == NULL) return (struct bytes_view){0};
    size_t length = reference.path.length;
    if (length > 0) memcpy(path, reference.path.data, length);
    if (reference.scheme.length == 0) {
        out.scheme = base.scheme;
        if (reference.authority.length == 0) {
            out.authority = base.authority;
            if (length == 0) {
                length = base.path.length;
                if (length > 0) memcpy(path, base.path.data, length);
                if (reference.query.length == 0) out.query = base.query;
            } else if (path[0] != '/') {
                size_t directory = base.path.length;
                while (directory > 0 && base.path.data[directory - 1] != '/') directory--;
                memmove(path + directory, path, length);
                if (directory > 0) memcpy(path, base.path.data, directory);
                length += directory;
            }
        }
    }
    if (length > 0 && (path[0] == '/' || out.authority.length > 0)) length = remove_dots(path, length);
    out.path = (struct bytes_view){(uint8_t *)path, length};
    const struct bytes_view pieces[] = {out.scheme, out.authority, out.path, out.query};
    size_t used = 0;
    for (size_t i = 0; i < 4; i++) {
        if (pieces[i].length > 0) memcpy(text + used, pieces[i].data, pieces[i].length);
        used += pieces[i].length;
    }
    return (struct bytes_view){(uint8_t *)text, used};
}

/* ---- the registry ---- */

static bool push_resource(struct schema *schema, struct bytes_view address, const struct json_value *value) {
    struct schema_registry *registry = schema->registry;
    if (registry->resource_count == registry->resource_capacity) {
        size_t capacity = registry->resource_capacity == 0 ? 8 : registry->resource_capacity * 2;
        struct resource *bigger = realloc(registry->resources, capacity * sizeof *bigger);
        if (bigger == NULL || !budget_reserve(&schema->budget, capacity * sizeof *bigger / 2)) return false;
        registry->resources = bigger;
        registry->resource_capacity = capacity;
    }
    registry->resources[registry->resource_count++] = (struct resource){address, value};
    return true;
}

static bool push_anchor(struct schema *schema, struct anchor anchor) {
    struct schema_registry *registry = schema->registry;
    if (registry->anchor_count == registry->anchor_capacity) {
        size_t capacity = registry->anchor_capacity == 0 ? 8 : registry->anchor_capacity * 2;
        struct anchor *bigger = realloc(registry->anchors, capacity * sizeof *bigger);
        if (bigger == NULL || !budget_reserve(&schema->budget, capacity * sizeof *bigger / 2)) return false;
        registry->anchors = bigger;
        registry->anchor_capacity = capacity;
    }
    registry->anchors[registry->anchor_count++] = anchor;
    return true;
}

static struct bytes_view without_fragment(struct bytes_view text) {
    text.length = index_of_any(text, "#");
    return text;
}

static struct bytes_view fragment_of(struct bytes_view text) {
    size_t hash = index_of_any(text, "#");
    if (hash == text.length) return (struct bytes_view){0};
    return (struct bytes_view){text.data + hash + 1, text.length - hash - 1};
}

static const struct json_value *id_of(const struct json_value *schema) {
    if (schema->kind != JSON_KIND_OBJECT) return NULL;
    const struct json_value *id = json_member(schema, "$id");
    if (id == NULL) id = json_member(schema, "id"); /* draft 4 */
    return id != NULL && id->kind == JSON_KIND_STRING ? id : NULL;
}

struct bytes_view registry_base(struct schema *schema, const struct json_value *value, struct bytes_view base) {
    uint32_t index;
    if (memo_get(&schema->registry->bases, (uintptr_t)value, &index)) return schema->registry->resources[index].address;
    return base;
}

static struct resource *find_resource(struct schema_registry *registry, struct bytes_view address);
enum dialect { DIALECT_OLD /* up to draft 7 */, DIALECT_NEW, DIALECT_UNSAID };
static enum dialect dialect_of(const struct schema *schema, struct bytes_view base);

static bool note_names(struct schema *schema, const struct json_value *value, struct bytes_view *base) {
    const struct json_value *id = id_of(value);
    if (id != NULL && json_member(value, "$ref") != NULL && dialect_of(schema, *base) != DIALECT_NEW) id = NULL;
    if (id != NULL) {
        struct bytes_view address = without_fragment(id->string), fragment = fragment_of(id->string);
        if (address.length > 0) {
            *base = join(schema, *base, address);
            if (base->data == NULL || !push_resource(schema, *base, value) ||
                !memo_put(&schema->registry->bases, (uintptr_t)value, (uint32_t)schema->registry->resource_count - 1))
                return false;
        }
        if (fragment.length > 0 && fragment.data[0] != '/' &&
            !push_anchor(schema, (struct anchor){*base, fragment, value}))
            return false;
    }
    static const char *const ANCHORS[] = {"$anchor", "$dynamicAnchor"};
    for (size_t i = 0; i < 2; i++) {
        const struct json_value *anchor = json_member(value, ANCHORS[i]);
        if (anchor != NULL && anchor->kind == JSON_KIND_STRING &&
            !push_anchor(schema, (struct anchor){*base, anchor->string, value}))
            return false;
    }
    return true;
}

enum below { BELOW_NONE, BELOW_SCHEMA, BELOW_LIST, BELOW_MAP };

/** What the member of a schema holds: subschemas have names, whatever stands in constants has none. */
static enum below below_of(struct bytes_view keyword) {
    static const struct {
        const char *name;
        enum below below;
    } KEYWORDS[] = {{"additionalItems", BELOW_SCHEMA},
                    {"additionalProperties", BELOW_SCHEMA},
                    {"allOf", BELOW_LIST},
                    {"anyOf", BELOW_LIST},
                    {"contains", BELOW_SCHEMA},
                    {"definitions", BELOW_MAP},
                    {"$defs", BELOW_MAP},
                    {"dependencies", BELOW_MAP},
                    {"dependentSchemas", BELOW_MAP},
                    {"else", BELOW_SCHEMA},
                    {"if", BELOW_SCHEMA},
                    {"items", BELOW_LIST},
                    {"not", BELOW_SCHEMA},
                    {"oneOf", BELOW_LIST},
                    {"patternProperties", BELOW_MAP},
                    {"prefixItems", BELOW_LIST},
                    {"properties", BELOW_MAP},
                    {"propertyNames", BELOW_SCHEMA},
                    {"then", BELOW_SCHEMA},
                    {"unevaluatedItems", BELOW_SCHEMA},
                    {"unevaluatedProperties", BELOW_SCHEMA}};
    for (size_t i = 0; i < sizeof KEYWORDS / sizeof *KEYWORDS; i++)
        if (bytes_view_equal_string(keyword, KEYWORDS[i].name)) return KEYWORDS[i].below;
    return BELOW_NONE;
}

static enum status walk(struct schema *schema, const struct json_value *value, struct bytes_view base, int depth) {
    if (value->kind != JSON_KIND_OBJECT) return STATUS_OK;
    if (depth > SCHEMA_DEPTH_MAX)
        return schema_decline(schema, STATUS_RESOURCE_EXHAUSTED, 0, "", "nested deeper than %d", SCHEMA_DEPTH_MAX);
    if (!budget_spend(&schema->budget, 1) || !note_names(schema, value, &base))
        return schema_too_costly(schema, 0, "$id");
    for (const struct json_value *member = value->first; member != NULL; member = member->next) {
        enum below below = below_of(member->name);
        if (below == BELOW_NONE) continue;
        if (member->kind == JSON_KIND_OBJECT && below != BELOW_MAP)
            TRY(walk(schema, member, base, depth + 1));
        else if (member->kind == JSON_KIND_ARRAY || member->kind == JSON_KIND_OBJECT)
            for (const struct json_value *item = member->first; item != NULL; item = item->next)
                TRY(walk(schema, item, base, depth + 1));
    }
    return STATUS_OK;
}

enum status registry_create(struct schema *schema, const struct json_value *root,
                            const struct schema_document *documents, size_t count) {
    schema->registry = calloc(1, sizeof *schema->registry);
    if (schema->registry == NULL) return schema_too_costly(schema, 0, "");
    memo_init(&schema->registry->bases, &schema->budget);
    if (!push_resource(schema, (struct bytes_view){0}, root)) return schema_too_costly(schema, 0, "");
    TRY(walk(schema, root, (struct bytes_view){0}, 0));
    for (size_t i = 0; i < count; i++)
        if (!push_resource(schema, without_fragment(documents[i].address), documents[i].schema))
            return schema_too_costly(schema, 0, "");
    return STATUS_OK;
}

void registry_destroy(struct schema_registry *registry) {
    if (registry == NULL) return;
    memo_deinit(&registry->bases);
    free(registry->resources);
    free(registry->anchors);
    free(registry);
}

static struct resource *find_resource(struct schema_registry *registry, struct bytes_view address) {
    for (size_t i = 0; i < registry->resource_count; i++)
        if (bytes_view_equal(registry->resources[i].address, address)) return &registry->resources[i];
    return NULL;
}

static enum dialect dialect_of(const struct schema *schema, struct bytes_view base) {
    struct resource *resource = find_resource(schema->registry, base);
    if (resource == NULL) resource = &schema->registry->resources[0];
    const struct json_value *dialect = json_member(resource->value, "$schema");
    if (dialect == NULL) dialect = json_member(schema->registry->resources[0].value, "$schema");
    if (dialect == NULL || dialect->kind != JSON_KIND_STRING) return DIALECT_UNSAID;
    static const char *const OLD[] = {"draft-07", "draft-06", "draft-04", "draft-03"};
    for (size_t i = 0; i < sizeof OLD / sizeof *OLD; i++)
        if (memmem(dialect->string.data, dialect->string.length, OLD[i], 8) != NULL) return DIALECT_OLD;
    return DIALECT_NEW;
}

/* Where the dialect is not said, what stands beside "$ref" counts: that is never too wide. */
bool registry_hides_siblings(const struct schema *schema, struct bytes_view base) {
    return dialect_of(schema, base) == DIALECT_OLD;
}

/* ---- pointers ---- */

/** %XX first (the fragment of an address), then ~1 and ~0; in place. */
static struct bytes_view decode_fragment(struct schema *schema, struct bytes_view text) {
    uint8_t *out = arena_alloc(&schema->arena, text.length);
    if (out == NULL) return (struct bytes_view){0};
    size_t length = 0;
    for (size_t i = 0; i < text.length; i++) {
        if (text.data[i] == '%' && i + 2 < text.length &&
            bytes_from_hex((const char *)text.data + i + 1, 2, &out[length])) {
            length++;
            i += 2;
        } else {
            out[length++] = text.data[i];
        }
    }
    return (struct bytes_view){out, length};
}

static struct bytes_view decode_step(uint8_t *step, size_t length) {
    size_t used = 0;
    for (size_t i = 0; i < length; i++) {
        if (step[i] == '~' && i + 1 < length && (step[i + 1] == '0' || step[i + 1] == '1')) {
            step[used++] = step[++i] == '0' ? '~' : '/';
        } else {
            step[used++] = step[i];
        }
    }
    return (struct bytes_view){step, used};
}

static const struct json_value *step_into(const struct json_value *value, struct bytes_view step) {
    const struct json_value *item =
        value->kind == JSON_KIND_OBJECT || value->kind == JSON_KIND_ARRAY ? value->first : NULL;
    if (value->kind == JSON_KIND_OBJECT) {
        while (item != NULL && !bytes_view_equal(item->name, step)) item = item->next;
        return item;
    }
    uint64_t index = 0;
    if (step.length == 0 || step.length > 9) return NULL;
    for (size_t i = 0; i < step.length; i++) {
        if (step.data[i] < '0' || step.data[i] > '9') return NULL;
        index = index * 10 + (step.data[i] - '0');
    }
    for (; item != NULL && index > 0; index--) item = item->next;
    return item;
}

static struct schema_place follow_pointer(struct schema *schema, struct schema_place place, struct bytes_view pointer) {
    size_t at = 0;
    while (at < pointer.length && place.value != NULL) {
        size_t end = ++at;
        while (end < pointer.length && pointer.data[end] != '/') end++;
        struct bytes_view step = decode_step((uint8_t *)pointer.data + at, end - at);
        place.value = step_into(place.value, step);
        if (place.value != NULL) place.base = registry_base(schema, place.value, place.base);
        at = end;
    }
    return place;
}

/** A meta-schema, read when it is first asked for. */
static struct resource *known_document(struct schema *schema, struct bytes_view address) {
    struct bytes_view text = meta_schema_text(address);
    struct json_value *value;
    struct json_problem problem;
    if (text.length == 0 ||
        json_read(text, SCHEMA_DEPTH_MAX, (int64_t)text.length, &schema->arena, &value, &problem) != STATUS_OK ||
        !push_resource(schema, address, value))
        return NULL;
    return &schema->registry->resources[schema->registry->resource_count - 1];
}

struct schema_place registry_find(struct schema *schema, struct bytes_view reference, struct bytes_view base) {
    struct schema_place nowhere = {0};
    struct bytes_view address = without_fragment(reference);
    address = address.length == 0 ? base : join(schema, base, address);
    struct resource *resource = find_resource(schema->registry, address);
    if (resource == NULL) resource = known_document(schema, address);
    if (resource == NULL) return nowhere;
    /* a document at hand is looked through for its own names when it is first asked for */
    struct schema_place place = {.value = resource->value, .base = resource->address};
    uint32_t index = (uint32_t)(resource - schema->registry->resources);
    if (index > 0 && !memo_get(&schema->registry->bases, (uintptr_t)place.value, &index)) {
        if (!memo_put(&schema->registry->bases, (uintptr_t)place.value, index) ||
            walk(schema, place.value, address, 0) != STATUS_OK)
            return nowhere;
    }
    place.base = registry_base(schema, place.value, place.base);
    struct bytes_view fragment = decode_fragment(schema, fragment_of(reference));
    if (fragment.length == 0) return place;
    if (fragment.data[0] == '/') return follow_pointer(schema, place, fragment);
    for (size_t i = 0; i < schema->registry->anchor_count; i++) {
        const struct anchor *anchor = &schema->registry->anchors[i];
        if (bytes_view_equal(anchor->address, place.base) && bytes_view_equal(anchor->name, fragment)) {
            place.value = anchor->value;
            return place;
        }
    }
    return nowhere;
}
