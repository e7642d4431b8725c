/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * unevaluatedProperties and unevaluatedItems, as far as what is evaluated is known from the schema.
 *
 * The schema's own keywords, allOf and $ref always evaluate; a branch of anyOf, oneOf, if or dependentSchemas does if the value satisfies it. So there is a
 * variant for each choice of branches: "these hold, and what none of them evaluates satisfies the keyword"; one of the variants must hold. A variant that names
 * fewer branches than hold asks for more, never for less; the one that names them all asks for exactly what the standard does.
 */
#include "engine/grammar/schema_internal.h"

#include <stdlib.h>
#include <string.h>

enum { VARIANTS_MAX = 64, BRANCHES_MAX = 4, EVALUATED_DEPTH_MAX = 32 };

/** A schema that evaluates, or (without a value) a formula that holds. */
struct part {
    struct schema_place place;
    formula condition;
    const struct part *before;
};
struct variants {
    const struct part *list[VARIANTS_MAX];
    uint32_t count;
};
struct unevaluated {
    struct schema *schema;
    uint32_t origin;
    bool items;
};

static const char *keyword_of(const struct unevaluated *u) {
    return u->items ? "unevaluatedItems" : "unevaluatedProperties";
}

static enum status decline(struct unevaluated *u, const char *why) {
    return schema_decline(u->schema, STATUS_UNIMPLEMENTED, u->origin, keyword_of(u), "%s", why);
}

static enum status append(struct unevaluated *u, struct variants *variants, struct part part) {
    for (uint32_t i = 0; i < variants->count; i++) {
        struct part *kept = arena_alloc(&u->schema->arena, sizeof *kept);
        if (kept == NULL) return schema_too_costly(u->schema, u->origin, keyword_of(u));
        *kept = part;
        kept->before = variants->list[i];
        variants->list[i] = kept;
    }
    return STATUS_OK;
}

static struct schema_place below(struct unevaluated *u, const struct schema_place *place,
                                 const struct json_value *value, struct bytes_view step) {
    return (struct schema_place){.value = value,
                                 .base = registry_base(u->schema, value, place->base),
                                 .origin = schema_origin_add(u->schema, place->origin, step),
                                 .depth = place->depth + 1};
}

static enum status gather(struct unevaluated *u, struct schema_place place, struct variants *variants, int depth);

/** A branch that may hold: a condition, and what it evaluates then. */
struct branch {
    formula condition;
    struct schema_place places[2];
    uint32_t count;
};

/** The variants, each also with the branches that hold. */
static enum status choose(struct unevaluated *u, const struct branch *branches, uint32_t count, bool several,
                          struct variants *variants, int depth) {
    struct variants before = *variants;
    if (count > BRANCHES_MAX) return decline(u, "too many alternatives evaluate something");
    for (uint32_t set = 1; set < 1u << count; set++) {
        if (!several && (set & (set - 1)) != 0) continue;
        struct variants with = before;
        for (uint32_t i = 0; i < count; i++) {
            if (!(set >> i & 1)) continue;
            TRY(append(u, &with, (struct part){.condition = branches[i].condition}));
            for (uint32_t j = 0; j < branches[i].count; j++) TRY(gather(u, branches[i].places[j], &with, depth + 1));
        }
        if (variants->count + with.count > VARIANTS_MAX) return decline(u, "too many alternatives evaluate something");
        memcpy(variants->list + variants->count, with.list, with.count * sizeof *with.list);
        variants->count += with.count;
    }
    return STATUS_OK;
}

static bool has_any(const struct json_value *value, const char *const *keywords) {
    for (; *keywords != NULL; keywords++)
        if (json_member(value, *keywords) != NULL) return true;
    return false;
}

/** The subschema may evaluate something. */
static bool evaluates(const struct unevaluated *u, const struct json_value *value) {
    static const char *const BOTH[] = {"$ref",  "$dynamicRef", "$recursiveRef",    "allOf",        "anyOf",
                                       "oneOf", "if",          "dependentSchemas", "dependencies", NULL};
    static const char *const NAMES[] = {"properties", "patternProperties", "additionalProperties",
                                        "unevaluatedProperties", NULL};
    static const char *const ITEMS[] = {"items",    "prefixItems",      "additionalItems",
                                        "contains", "unevaluatedItems", NULL};
    return value->kind == JSON_KIND_OBJECT && (has_any(value, BOTH) || has_any(value, u->items ? ITEMS : NAMES));
}

static enum status gather_choice(struct unevaluated *u, const struct schema_place *place, const char *keyword,
                                 struct variants *variants, int depth) {
    const struct json_value *list = json_member(place->value, keyword);
    struct branch branches[BRANCHES_MAX + 1];
    uint32_t count = 0;
    if (list == NULL || list->kind != JSON_KIND_ARRAY) return STATUS_OK;
    for (const struct json_value *item = list->first; item != NULL && count <= BRANCHES_MAX; item = item->next) {
        if (!evaluates(u, item)) continue;
        struct branch *branch = &branches[count++];
        branch->places[0] = below(u, place, item, bytes_view_string(keyword));
        branch->count = 1;
        TRY(schema_read(u->schema, branch->places[0], &branch->condition));
    }
    return choose(u, branches, count, strcmp(keyword, "anyOf") == 0, variants, depth);
}

static enum status gather_if(struct unevaluated *u, const struct schema_place *place, struct variants *variants,
                             int depth) {
    const struct json_value *test = json_member(place->value, "if"), *then = json_member(place->value, "then"),
                            *otherwise = json_member(place->value, "else");
    struct branch branches[2] = {{.count = 1}, {.count = 0}};
    if (test == NULL) return STATUS_OK;
    branches[0].places[0] = below(u, place, test, bytes_view_string("if"));
    TRY(schema_read(u->schema, branches[0].places[0], &branches[0].condition));
    if (then != NULL) branches[0].places[branches[0].count++] = below(u, place, then, bytes_view_string("then"));
    branches[1].condition =
        schema_make(u->schema, (struct formula_node){.kind = F_NOT, .origin = u->origin, .a = branches[0].condition});
    if (branches[1].condition == FORMULA_NONE) return schema_too_costly(u->schema, u->origin, keyword_of(u));
    if (otherwise != NULL)
        branches[1].places[branches[1].count++] = below(u, place, otherwise, bytes_view_string("else"));
    return choose(u, branches, otherwise != NULL ? 2 : 1, false, variants, depth);
}

static enum status gather_dependencies(struct unevaluated *u, const struct schema_place *place, const char *keyword,
                                       struct variants *variants, int depth) {
    const struct json_value *map = json_member(place->value, keyword);
    if (map == NULL || map->kind != JSON_KIND_OBJECT) return STATUS_OK;
    for (const struct json_value *member = map->first; member != NULL; member = member->next) {
        if (!evaluates(u, member)) continue;
        name_id name = schema_name(u->schema, member->name);
        struct branch branch = {.places = {below(u, place, member, bytes_view_string(keyword))}, .count = 1};
        branch.condition = name == INTERN_FAILED ? FORMULA_NONE : schema_make_required(u->schema, u->origin, name);
        if (branch.condition == FORMULA_NONE) return schema_too_costly(u->schema, u->origin, keyword_of(u));
        TRY(choose(u, &branch, 1, false, variants, depth));
    }
    return STATUS_OK;
}

static enum status gather_reference(struct unevaluated *u, const struct schema_place *place, struct variants *variants,
                                    int depth) {
    const struct json_value *reference = json_member(place->value, "$ref");
    if (json_member(place->value, "$dynamicRef") != NULL || json_member(place->value, "$recursiveRef") != NULL)
        return decline(u, "together with dynamic references it is not supported");
    if (reference == NULL || reference->kind != JSON_KIND_STRING) return STATUS_OK;
    struct schema_place target = registry_find(u->schema, reference->string, place->base);
    if (target.value == NULL) return STATUS_OK; /* is told where the reference is read */
    target.origin = u->origin;
    target.depth = place->depth + 1;
    return gather(u, target, variants, depth + 1);
}

static enum status gather(struct unevaluated *u, struct schema_place place, struct variants *variants, int depth) {
    if (place.value->kind != JSON_KIND_OBJECT) return STATUS_OK;
    if (depth > EVALUATED_DEPTH_MAX) return decline(u, "what is evaluated refers to itself");
    if (!budget_spend(&u->schema->budget, 1)) return schema_too_costly(u->schema, u->origin, keyword_of(u));
    if (u->items && json_member(place.value, "contains") != NULL)
        return decline(u, "together with contains it is not supported");
    TRY(append(u, variants, (struct part){.place = place, .condition = FORMULA_TRUE}));
    const struct json_value *all = json_member(place.value, "allOf");
    if (all != NULL && all->kind == JSON_KIND_ARRAY)
        for (const struct json_value *item = all->first; item != NULL; item = item->next)
            TRY(gather(u, below(u, &place, item, bytes_view_string("allOf")), variants, depth + 1));
    TRY(gather_reference(u, &place, variants, depth));
    TRY(gather_choice(u, &place, "anyOf", variants, depth));
    TRY(gather_choice(u, &place, "oneOf", variants, depth));
    TRY(gather_if(u, &place, variants, depth));
    TRY(gather_dependencies(u, &place, "dependentSchemas", variants, depth));
    return gather_dependencies(u, &place, "dependencies", variants, depth);
}

/* ---- variants to formulas ---- */

/** Members of `keyword` in all parts of a variant. */
static uint32_t count_members(const struct part *part, const char *keyword) {
    uint32_t out = 0;
    for (; part != NULL; part = part->before) {
        const struct json_value *map = part->place.value == NULL ? NULL : json_member(part->place.value, keyword);
        if (map != NULL && map->kind == JSON_KIND_OBJECT) out += map->count;
    }
    return out;
}

static enum status add_evaluated(struct unevaluated *u, const struct json_value *schema, struct properties *out) {
    const struct json_value *named = json_member(schema, "properties"),
                            *matched = json_member(schema, "patternProperties");
    if (named != NULL && named->kind == JSON_KIND_OBJECT)
        for (const struct json_value *member = named->first; member != NULL; member = member->next) {
            name_id name = schema_name(u->schema, member->name);
            bool there = name == INTERN_FAILED;
            for (uint32_t i = 0; i < out->named_count && !there; i++) there = out->named[i].name == name;
            if (!budget_spend(&u->schema->budget, 1 + out->named_count / 64) || name == INTERN_FAILED)
                return schema_too_costly(u->schema, u->origin, keyword_of(u));
            if (there) continue;
            out->named[out->named_count++] = (struct named_formula){name, FORMULA_TRUE};
        }
    if (matched != NULL && matched->kind == JSON_KIND_OBJECT)
        for (const struct json_value *member = matched->first; member != NULL; member = member->next) {
            struct error err = {0};
            struct matched_formula *to = &out->matched[out->matched_count++];
            to->formula = FORMULA_TRUE;
            enum status status =
                regex_parse(u->schema->regexes, member->name, REGEX_SEARCH | REGEX_ANCHORS, &to->names, &err);
            if (status != STATUS_OK)
                return schema_decline(u->schema, status, u->origin, "patternProperties", "%s", err.message);
        }
    return STATUS_OK;
}

/** Names that no part of the variant evaluates satisfy `others`. */
static enum status unevaluated_names(struct unevaluated *u, const struct part *variant, formula others, formula *out) {
    struct arena *arena = &u->schema->arena;
    struct properties *properties = arena_alloc(arena, sizeof *properties);
    uint32_t named = count_members(variant, "properties"), matched = count_members(variant, "patternProperties");
    if (properties == NULL) return schema_too_costly(u->schema, u->origin, keyword_of(u));
    properties->named = arena_alloc_array(arena, named, sizeof *properties->named);
    properties->sorted = arena_alloc_array(arena, named, sizeof *properties->sorted);
    properties->matched = arena_alloc_array(arena, matched, sizeof *properties->matched);
    properties->others = others;
    properties->others_said = true;
    if (properties->named == NULL || properties->sorted == NULL || properties->matched == NULL)
        return schema_too_costly(u->schema, u->origin, keyword_of(u));
    *out = FORMULA_TRUE;
    for (const struct part *part = variant; part != NULL; part = part->before) {
        if (part->place.value == NULL) continue;
        if (json_member(part->place.value, "additionalProperties") != NULL ||
            (part->before != NULL && json_member(part->place.value, "unevaluatedProperties") != NULL))
            return STATUS_OK; /* all are evaluated; the first part is the schema that asks */
        TRY(add_evaluated(u, part->place.value, properties));
    }
    properties_sort(properties);
    *out = schema_make(u->schema,
                       (struct formula_node){.kind = F_PROPERTIES, .origin = u->origin, .properties = properties});
    return STATUS_OK;
}

/** Items behind those that a part of the variant evaluates satisfy `others`. */
static enum status unevaluated_items(struct unevaluated *u, const struct part *variant, formula others, formula *out) {
    uint32_t first = 0;
    *out = FORMULA_TRUE;
    for (const struct part *part = variant; part != NULL; part = part->before) {
        if (part->place.value == NULL) continue;
        const struct json_value *prefix = json_member(part->place.value, "prefixItems"),
                                *items = json_member(part->place.value, "items");
        bool tuple = items != NULL && items->kind == JSON_KIND_ARRAY;
        if ((items != NULL && !tuple) || (tuple && json_member(part->place.value, "additionalItems") != NULL) ||
            (part->before != NULL && json_member(part->place.value, "unevaluatedItems") != NULL))
            return STATUS_OK;
        if (prefix == NULL && tuple) prefix = items;
        if (prefix != NULL && prefix->kind == JSON_KIND_ARRAY && prefix->count > first) first = prefix->count;
    }
    uint32_t *list = arena_alloc_array(&u->schema->arena, first, sizeof *list);
    if (list == NULL) return schema_too_costly(u->schema, u->origin, keyword_of(u));
    for (uint32_t i = 0; i < first; i++) list[i] = FORMULA_TRUE;
    *out = schema_make(u->schema, (struct formula_node){
                                      .kind = F_ITEMS, .origin = u->origin, .a = others, .list = list, .count = first});
    return STATUS_OK;
}

static enum status variant_formula(struct unevaluated *u, const struct part *variant, formula others, formula *out) {
    uint32_t count = 1;
    for (const struct part *part = variant; part != NULL; part = part->before) count += part->place.value == NULL;
    formula *list = arena_alloc_array(&u->schema->arena, count, sizeof *list);
    if (list == NULL) return schema_too_costly(u->schema, u->origin, keyword_of(u));
    TRY(u->items ? unevaluated_items(u, variant, others, &list[0]) : unevaluated_names(u, variant, others, &list[0]));
    bool failed = list[0] == FORMULA_NONE;
    count = 1;
    for (const struct part *part = variant; part != NULL; part = part->before)
        if (part->place.value == NULL) list[count++] = part->condition;
    *out =
        schema_make(u->schema, (struct formula_node){.kind = F_AND, .origin = u->origin, .list = list, .count = count});
    return failed || *out == FORMULA_NONE ? schema_too_costly(u->schema, u->origin, keyword_of(u)) : STATUS_OK;
}

enum status schema_unevaluated(struct schema *schema, struct schema_place place, uint32_t origin, bool items,
                               formula others, formula *out) {
    struct unevaluated u = {schema, origin, items};
    struct variants variants = {.count = 1};
    TRY(gather(&u, place, &variants, 0));
    formula *list = arena_alloc_array(&schema->arena, variants.count, sizeof *list);
    if (list == NULL) return schema_too_costly(schema, origin, keyword_of(&u));
    for (uint32_t i = 0; i < variants.count; i++) TRY(variant_formula(&u, variants.list[i], others, &list[i]));
    *out = schema_make(schema,
                       (struct formula_node){.kind = F_OR, .origin = origin, .list = list, .count = variants.count});
    return *out == FORMULA_NONE ? schema_too_costly(schema, origin, keyword_of(&u)) : STATUS_OK;
}
