/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/json_internal.h"

#include <stdlib.h>
#include <string.h>

uint32_t joint_component(struct joint_builder *builder, conjunction c, bool must) {
    builder->failed |= c == CONJUNCTION_FAILED;
    for (uint32_t i = 0; i < builder->count; i++) {
        if (builder->components[i] != c) continue;
        builder->must[i] |= must;
        return i;
    }
    if (builder->count == COMPONENTS_MAX) {
        builder->failed = true;
        return 0;
    }
    builder->components[builder->count] = c;
    builder->must[builder->count] = must;
    return builder->count++;
}

static bool must_of(const struct joint *joint, uint32_t component) {
    return joint->must[component / 64] >> component % 64 & 1;
}

/** Scalars: tuples, constants, and how many forms of arrays and objects there are. */
static bool collect_scalars(struct json_machine *m, struct joint *joint, uint32_t *arrays, uint32_t *objects) {
    struct schema *schema = m->shapes->schema;
    uint32_t numbers = 0;
    for (uint32_t i = 0; i < joint->count; i++) {
        const struct shape *shape =
            shape_of(m->shapes, joint->components[i], SHAPE_SCALARS | SHAPE_ARRAYS | SHAPE_OBJECTS);
        if (shape == NULL) return false;
        numbers += shape->number_count;
        *arrays += shape->array_count;
        *objects += shape->object_count;
        for (uint32_t kind = VALUE_NULL; kind <= VALUE_TRUE; kind++)
            if (shape->constants >> kind & 1) {
                verdict_add(&joint->constants[kind], i);
                joint->possible |= (uint32_t)must_of(joint, i) << kind;
            }
    }
    uint32_t count = joint->count > numbers ? joint->count : numbers, used = 0;
    uint32_t *entries = malloc(2 * (count + 1) * sizeof *entries);
    if (entries == NULL) return false;
    for (uint32_t i = 0; i < joint->count; i++) {
        entries[2 * i] = i << 1 | must_of(joint, i);
        entries[2 * i + 1] = shape_of(m->shapes, joint->components[i], 0)->string;
    }
    joint->string = tuple_make(m, TUPLE_STRING, entries, joint->count);
    for (uint32_t i = 0; i < joint->count; i++) {
        const struct shape *shape = shape_of(m->shapes, joint->components[i], 0);
        for (uint32_t j = 0; j < shape->number_count; j++) {
            entries[2 * used] = i << 1 | must_of(joint, i);
            entries[2 * used++ + 1] = must_of(joint, i) ? json_number_start(m, shape->numbers[j])
                                                        : number_start(schema->numbers, shape->numbers[j]);
        }
    }
    joint->number = tuple_make(m, TUPLE_NUMBER, entries, used);
    free(entries);
    if (joint->string == TUPLE_FAILED || joint->number == TUPLE_FAILED) return false;
    joint->possible |= (uint32_t)(joint->string != TUPLE_DEAD) << VALUE_STRING;
    joint->possible |= (uint32_t)(joint->number != TUPLE_DEAD) << VALUE_NUMBER;
    return true;
}

static bool collect_forms(struct json_machine *m, struct joint *joint, uint32_t arrays, uint32_t objects) {
    struct arena *arena = &m->shapes->schema->arena;
    joint->arrays = arena_alloc_array(arena, arrays, sizeof *joint->arrays);
    joint->objects = arena_alloc_array(arena, objects, sizeof *joint->objects);
    if (joint->arrays == NULL || joint->objects == NULL) return false;
    for (uint32_t i = 0; i < joint->count; i++) {
        const struct shape *shape = shape_of(m->shapes, joint->components[i], 0);
        bool must = must_of(joint, i);
        for (uint32_t j = 0; j < shape->array_count; j++) {
            struct joint_array array = {.form = shape->arrays[j], .component = i, .must = must};
            if (m->shapes->declined) return false;
            array.max = array_items_possible(m->shapes, array.form);
            joint->arrays[joint->array_count++] = array;
            joint->possible |= (uint32_t)must << VALUE_ARRAY;
        }
        for (uint32_t j = 0; j < shape->object_count; j++) {
            joint->objects[joint->object_count++] =
                (struct joint_object){.form = shape->objects[j], .component = i, .must = must};
            joint->possible |= (uint32_t)must << VALUE_OBJECT;
        }
    }
    return !m->shapes->declined;
}

static struct joint **joint_slot(struct json_machine *m, uint32_t id) {
    if (id >= m->joint_capacity) {
        uint32_t capacity = m->joint_capacity == 0 ? 64 : m->joint_capacity;
        while (capacity <= id) capacity *= 2;
        struct joint **joints = realloc(m->joints, capacity * sizeof *joints);
        if (joints == NULL || !budget_reserve(&m->shapes->schema->budget, capacity * sizeof *joints / 2)) return NULL;
        memset(joints + m->joint_capacity, 0, (capacity - m->joint_capacity) * sizeof *joints);
        m->joints = joints;
        m->joint_capacity = capacity;
    }
    return &m->joints[id];
}

struct joint *joint_make(struct json_machine *m, const struct joint_builder *builder) {
    if (builder->failed) return NULL;
    uint32_t words[COMPONENTS_MAX];
    for (uint32_t i = 0; i < builder->count; i++) words[i] = builder->components[i] << 1 | builder->must[i];
    uint32_t id = intern_put(&m->joint_index, words, builder->count);
    struct joint **slot = id == INTERN_FAILED ? NULL : joint_slot(m, id);
    if (slot == NULL) return NULL;
    if (*slot != NULL) return *slot;
    struct arena *arena = &m->shapes->schema->arena;
    struct joint *joint = arena_alloc(arena, sizeof *joint);
    if (joint == NULL || !budget_reserve(&m->shapes->schema->budget, sizeof *joint)) return NULL;
    joint->count = builder->count;
    joint->components = arena_alloc_array(arena, builder->count, sizeof *joint->components);
    if (joint->components == NULL) return NULL;
    for (uint32_t i = 0; i < builder->count; i++) {
        joint->components[i] = builder->components[i];
        joint->must[i / 64] |= (uint64_t)builder->must[i] << i % 64;
    }
    uint32_t arrays = 0, objects = 0;
    if (!collect_scalars(m, joint, &arrays, &objects) || !collect_forms(m, joint, arrays, objects)) return NULL;
    *joint_slot(m, id) = joint;
    return joint;
}

/* ---- objects ---- */

static int compare_names(const void *a, const void *b) {
    return bytes_view_compare(((const struct joint_name *)a)->text, ((const struct joint_name *)b)->text);
}

bool text_is_bare(struct bytes_view text) {
    for (size_t i = 0; i < text.length; i++)
        if (text.data[i] < 0x20 || text.data[i] == '"' || text.data[i] == '\\' || text.data[i] == '/') return false;
    return true;
}

/** The names that any of the forms knows, in the order of their bytes. */
static bool collect_names(struct json_machine *m, struct joint *joint) {
    struct schema *schema = m->shapes->schema;
    uint64_t all = 0;
    for (uint32_t i = 0; i < joint->object_count; i++) all += joint->objects[i].form->order_count;
    if (all > 1 << 24 || !budget_spend(&schema->budget, (int64_t)all / 4 + 1) ||
        !budget_reserve(&schema->budget, all * sizeof(struct joint_name)))
        return false;
    joint->names = arena_alloc_array(&schema->arena, all, sizeof *joint->names);
    if (joint->names == NULL) return false;
    for (uint32_t i = 0; i < joint->object_count; i++)
        for (uint32_t j = 0; j < joint->objects[i].form->order_count; j++) {
            name_id name = joint->objects[i].form->order[j];
            joint->names[joint->name_count++] = (struct joint_name){schema_name_text(schema, name), name};
        }
    if (joint->name_count > 1) qsort(joint->names, joint->name_count, sizeof *joint->names, compare_names);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < joint->name_count; i++)
        if (kept == 0 || joint->names[kept - 1].name != joint->names[i].name) joint->names[kept++] = joint->names[i];
    joint->name_count = kept;
    joint->name_words = (kept + 63) / 64;
    joint->names_bare = true;
    for (uint32_t i = 0; i < kept && joint->names_bare; i++) joint->names_bare = text_is_bare(joint->names[i].text);
    return true;
}

uint32_t joint_find_name(const struct json_machine *m, const struct joint *joint, name_id name) {
    struct bytes_view text = schema_name_text(m->shapes->schema, name);
    uint32_t low = 0, high = joint->name_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = bytes_view_compare(joint->names[middle].text, text);
        if (order == 0) return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return UINT32_MAX;
}

static int compare_dependents(const void *a, const void *b) {
    uint32_t x = ((const struct joint_dependent *)a)->present, y = ((const struct joint_dependent *)b)->present;
    return (x > y) - (x < y);
}

static bool prepare_dependents(struct json_machine *m, const struct joint *joint, struct joint_object *object) {
    struct arena *arena = &m->shapes->schema->arena;
    uint32_t count = object->form->dependent_count;
    object->dependent = arena_alloc_array(arena, count, sizeof *object->dependent);
    if (object->dependent == NULL) return false;
    if (count == 0) return true;
    object->asked_by = arena_alloc_array(arena, joint->name_count, sizeof *object->asked_by);
    object->first_dependent = arena_alloc_array(arena, joint->name_count, sizeof *object->first_dependent);
    size_t bytes = joint->name_count * (sizeof *object->asked_by + sizeof *object->first_dependent);
    if (object->asked_by == NULL || object->first_dependent == NULL ||
        !budget_reserve(&m->shapes->schema->budget, bytes))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        const struct object_dependent *from = &object->form->dependent[i];
        uint32_t *required = arena_alloc_array(arena, from->count, sizeof *required);
        if (required == NULL || !budget_spend(&m->shapes->schema->budget, 1 + from->count)) return false;
        for (uint32_t j = 0; j < from->count; j++) required[j] = joint_find_name(m, joint, from->required[j]);
        object->dependent[i] =
            (struct joint_dependent){joint_find_name(m, joint, from->present), required, from->count};
    }
    if (count > 1) qsort(object->dependent, count, sizeof *object->dependent, compare_dependents);
    for (uint32_t n = 0; n < joint->name_count; n++) object->first_dependent[n] = count;
    for (uint32_t i = count; i-- > 0;) object->first_dependent[object->dependent[i].present] = i;
    return true;
}

/** Names that the form does not know; those that other forms know do not come as unknown ones. */
static bool prepare_others(struct json_machine *m, const struct joint *joint, struct joint_object *object) {
    enum { FEW_NAMES = 1000 };
    object->others = object_other_names(m->shapes, object->form);
    for (uint32_t n = 0; n < joint->name_count && object->others != REGEX_FAILED; n++)
        if (object->rank[n] == object->form->order_count)
            object->others = regex_without(m->shapes->schema->regexes, object->others, joint->names[n].text, FEW_NAMES);
    return object->others != REGEX_FAILED && !m->shapes->declined;
}

static bool prepare_object(struct json_machine *m, struct joint *joint, struct joint_object *object,
                           struct memo *index) {
    struct schema *schema = m->shapes->schema;
    object->allowed = arena_alloc_array(&schema->arena, joint->name_words, sizeof *object->allowed);
    object->required = arena_alloc_array(&schema->arena, joint->name_words, sizeof *object->required);
    object->rank = arena_alloc_array(&schema->arena, joint->name_count, sizeof *object->rank);
    if (object->allowed == NULL || object->required == NULL || object->rank == NULL ||
        !budget_spend(&schema->budget, 1 + joint->name_count / 4))
        return false;
    for (uint32_t n = 0; n < joint->name_count; n++) {
        object->rank[n] = object->form->order_count;
        conjunction value = object_named(m->shapes, object->form, joint->names[n].name);
        if (value == CONJUNCTION_FAILED) return false;
        if (shape_satisfiable(m->shapes, value)) object->allowed[n / 64] |= 1ull << n % 64;
    }
    uint32_t n;
    for (uint32_t i = 0; i < object->form->order_count; i++)
        if (memo_get(index, object->form->order[i], &n)) object->rank[n] = i;
    for (uint32_t i = 0; i < object->form->required_count; i++)
        if (memo_get(index, object->form->required[i], &n)) object->required[n / 64] |= 1ull << n % 64;
    return prepare_dependents(m, joint, object) && prepare_others(m, joint, object);
}

bool joint_prepare_objects(struct json_machine *m, struct joint *joint) {
    if (joint->objects_ready) return true;
    if (!collect_names(m, joint)) return false;
    struct memo index; /* name_id -> index into names */
    memo_init(&index, &m->shapes->schema->budget);
    bool ok = true;
    for (uint32_t n = 0; ok && n < joint->name_count; n++) ok = memo_put(&index, joint->names[n].name, n);
    for (uint32_t i = 0; ok && i < joint->object_count; i++) ok = prepare_object(m, joint, &joint->objects[i], &index);
    memo_deinit(&index);
    joint->objects_ready = ok;
    return ok;
}
