/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Shared by json_machine.c (bytes), json_scalar.c (strings, numbers), json_joint.c, json_array.c, json_object.c and json_finish.c. */
#ifndef ENGINE_GRAMMAR_JSON_INTERNAL_H
#define ENGINE_GRAMMAR_JSON_INTERNAL_H

#include "engine/grammar/json_machine.h"
#include "engine/grammar/json_spelling.h"
#include "engine/grammar/regex_machine.h"

#include <string.h>

enum { COMPONENTS_MAX = 512 };

/* ---- verdicts ---- */

struct verdict {
    uint64_t bits[COMPONENTS_MAX / 64];
};
static inline void verdict_add(struct verdict *verdict, uint32_t component) {
    verdict->bits[component / 64] |= 1ull << component % 64;
}
static inline bool verdict_holds(const struct verdict *verdict, uint32_t component) {
    return verdict->bits[component / 64] >> component % 64 & 1;
}

/* ---- tuples: scalars of several components side by side ---- */

enum tuple_kind { TUPLE_STRING, TUPLE_NUMBER };
enum { TUPLE_DEAD };
/** words: kind, then for each live entry: component << 1 | must, state. Dead when no entry is a must. */
struct tuple_row {
    uint32_t next[128];    /* of ASCII: the tuple after it; TUPLE_UNKNOWN: not asked yet */
    uint32_t beyond;       /* where all characters beyond ASCII lead; TUPLE_UNKNOWN: not asked yet */
    uint32_t free_length;  /* texts of at most so many characters of free_classes may come, whichever; TUPLE_UNKNOWN */
    uint16_t free_classes; /* enum token_class */
};
/** In tuple_row.beyond: not all to the same. */
#define TUPLE_MIXED (UINT32_MAX - 2)
#define TUPLE_UNKNOWN UINT32_MAX
#define TUPLE_FAILED (UINT32_MAX - 1)

/* ---- joints ---- */

struct joint_array {
    struct array_form *form;
    uint32_t component;
    bool must;
    uint32_t max; /* as many items can be there */
};
/** object_dependent in indices into the joint's names. */
struct joint_dependent {
    uint32_t present;
    const uint32_t *required; /* [count] */
    uint32_t count;
};
struct joint_object {
    struct object_form *form;
    struct joint_dependent *dependent; /* [form->dependent_count] rising by `present` */
    uint32_t *
        first_dependent; /* of names[n]: index into `dependent`; dependent_count: there is none. Without dependents NULL */
    const uint64_t **asked_by; /* of names[n]: bits of all that its presence asks for; NULL: not asked yet */
    uint32_t component;
    bool must;
    uint64_t *allowed;  /* bit n: names[n] may be there, as far as its value goes */
    uint64_t *required; /* bit n: names[n] must be there */
    uint32_t *rank;     /* of names[n] in the order of the form; its order_count: the form does not know it */
    regex others;       /* names that are not in `names` and may be there */
    uint32_t *lengths;  /* of names[n] and a short value, bytes; NULL: not asked yet */
};
struct joint_name {
    struct bytes_view text;
    name_id name;
};
struct joint {
    uint32_t count;
    conjunction *components; /* [count] */
    uint64_t must[COMPONENTS_MAX / 64];
    uint32_t possible; /* bits 1 << enum value_kind that some must allows */
    struct verdict constants[3];
    uint32_t string, number; /* tuples at the start */
    struct joint_array *arrays;
    uint32_t array_count;
    struct joint_object *objects;
    uint32_t object_count;
    bool objects_ready;       /* names, and what the objects have on them */
    struct joint_name *names; /* [name_count] rising by their bytes */
    uint32_t name_count, name_words;
    bool names_bare; /* in none of `names` is a character that an escape of two bytes spells */
};

/* ---- frames ---- */

struct text_node { /* the text so far, backwards: where it must be compared later */
    const struct text_node *before;
    uint8_t byte;
};

struct seen_text {
    const struct seen_text *before;
    uint64_t hash[2];
    struct bytes_view text;
};

enum link_kind { LINK_MUST, LINK_CONTAINS, LINK_OPTION };
/** What a component's verdict on the child means to an item. */
struct link {
    uint32_t item; /* index into the frame's items */
    uint32_t component;
    enum link_kind kind;
    uint32_t index; /* of the contains, or of the obligation */
};

/** A form that is still possible. */
struct item {
    uint32_t index;         /* into the joint's arrays or objects */
    uint32_t last_rank;     /* objects, in the order of the schema: the next name's rank is at least this */
    uint64_t done;          /* objects: bit of each obligation that is met */
    const uint32_t *counts; /* arrays: how many items satisfied each contains */
    conjunction without;    /* arrays: what further items must satisfy besides, so that none is one of those seen; */
    conjunction arrays_seen, objects_seen; /* the same for those that are arrays, and objects */
    regex others;                          /* objects: names that the joint does not know and that may still come */
};

enum frame_kind { FRAME_ROOT, FRAME_ARRAY, FRAME_OBJECT };
struct frame {
    const struct frame *parent;
    struct joint *joint; /* that this value is looked at for; FRAME_ROOT: NULL */
    const struct item *items;
    struct joint
        *child; /* what the value that comes next, or is being written, is looked at for; NULL: none may come */
    const struct link *links;
    const uint64_t *seen;           /* objects: bits of the joint's names */
    const struct seen_text *texts;  /* arrays: canonical values; objects: names that the joint does not know */
    const struct key_context *keys; /* objects: what names may come next */
    const struct text_node *start;  /* recording: before the value that is being written */
    uint32_t item_count, link_count, count;
    enum frame_kind kind;
    uint64_t serial; /* no other frame of this machine has it */
    bool repeated;   /* arrays: two items were equal */
    bool recording;  /* the text of what is within is kept: this array or one around it compares its items */
};

struct key_context {
    const uint64_t *permitted; /* bits of the joint's names */
    uint32_t others;           /* tuple over items: names that the joint does not know; TUPLE_DEAD: none */
    bool any;
};

/* ---- states ---- */

enum phase {
    PHASE_VALUE,          /* a value must come */
    PHASE_VALUE_OR_CLOSE, /* behind [ */
    PHASE_AFTER,          /* behind a value in an array or object */
    PHASE_KEY_OR_CLOSE,   /* behind { */
    PHASE_KEY,            /* behind a comma in an object */
    PHASE_COLON,
    PHASE_STRING,
    PHASE_KEY_STRING,
    PHASE_NUMBER,
    PHASE_LITERAL,
    PHASE_DONE
};
enum string_lex { LEX_PLAIN, LEX_ESCAPE, LEX_HEX, LEX_LOW_BACKSLASH, LEX_LOW_U, LEX_LOW_HEX, LEX_UTF8 };

/** struct machine_state, unpacked. */
struct json_state {
    const struct frame *frame;
    uint8_t phase, lex;
    uint8_t space;             /* blanks so far in this place */
    uint8_t blank;             /* the blank of ", " or ": " is still to come */
    uint8_t literal, progress; /* PHASE_LITERAL: VALUE_NULL.., bytes so far */
    uint8_t digits;            /* LEX_HEX, LEX_UTF8: that came */
    uint8_t length;            /* LEX_UTF8: of the sequence */
    uint32_t value;            /* of the digits so far */
    uint32_t tuple;            /* PHASE_STRING, PHASE_NUMBER, PHASE_KEY_STRING (names that are not known) */
    uint32_t low, high;        /* PHASE_KEY_STRING: the known names that begin so; none: low == high */
    uint32_t depth;            /* bytes of the name so far */
    uint32_t high_surrogate;
    const struct text_node *text;
};
_Static_assert(sizeof(struct json_state) <= sizeof(struct machine_state), "a state is passed by value");

static inline struct json_state json_load(const struct machine_state *state) {
    struct json_state out;
    memcpy(&out, state, sizeof out);
    return out;
}
static inline void json_save(const struct json_state *state, struct machine_state *out) {
    memcpy(out, state, sizeof *state);
}

struct json_machine {
    struct machine machine;
    struct shapes *shapes;
    struct grammar_options options;
    struct json_spelling spelling;
    struct intern joint_index; /* words: conjunction << 1 | must */
    struct joint **joints;
    uint32_t joint_capacity;
    struct intern tuples;
    struct memo seen_formulas; /* hash of a value -> its formula */
    struct tuple_row **rows;
    uint32_t row_capacity;
    struct joint *root;
    uint64_t frames_made;
    struct regex_lengths lengths;
    uint32_t leap, leap_shapes, leap_joints; /* what plan_leap has seen, and how far it looked */
};

/* json_scalar.c */
uint32_t tuple_make(struct json_machine *m, enum tuple_kind kind, const uint32_t *entries, uint32_t count);
uint32_t tuple_step(struct json_machine *m, uint32_t tuple, uint32_t code_point);
/** Of a string, with `beyond` and what is free filled in. It stays where it is as long as the machine. NULL: the budget. */
struct tuple_row *tuple_row_of(struct json_machine *m, uint32_t tuple);
/** Some character of first..last goes on. */
bool tuple_live_in(struct json_machine *m, uint32_t tuple, uint32_t first, uint32_t last);
void tuple_verdict(struct json_machine *m, uint32_t tuple, struct verdict *out); /* adds the components that accept */
bool tuple_accepts(struct json_machine *m, uint32_t tuple);                      /* a must accepts */
/** One byte of a string's inside, value or name. Ended: the closing quote was `byte`. */
enum machine_step string_step(struct json_machine *m, struct json_state *state, uint8_t byte, bool *ended);

/* json_joint.c */
/** A joint being collected: components are kept once. */
struct joint_builder {
    conjunction components[COMPONENTS_MAX];
    bool must[COMPONENTS_MAX];
    uint32_t count;
    bool failed;
};
uint32_t joint_component(struct joint_builder *builder, conjunction c, bool must);
struct joint *joint_make(struct json_machine *m, const struct joint_builder *builder);
/** Names of the objects. False: exhausted. */
bool joint_prepare_objects(struct json_machine *m, struct joint *joint);
/** Nothing in it is what an escape of two bytes spells. */
/** Where a number that is written for `set` begins: as programs print it, unless any spelling is asked for. Of a set that a value only may fit, ask number_start: what is
 *  written in another way fits as well. */
static inline number_state json_number_start(struct json_machine *m, number_set set) {
    struct number_pool *numbers = m->shapes->schema->numbers;
    return m->options.spelling == GRAMMAR_SPELLING_ANY ? number_start(numbers, set)
                                                       : number_start_printed(numbers, set);
}

bool text_is_bare(struct bytes_view text);
static inline bool joint_satisfied(const struct joint *joint, const struct verdict *verdict) {
    for (uint32_t i = 0; i < (joint->count + 63) / 64; i++)
        if (joint->must[i] & verdict->bits[i]) return true;
    return false;
}

/** The index of a name among the joint's; UINT32_MAX: it does not know it. */
uint32_t joint_find_name(const struct json_machine *m, const struct joint *joint, name_id name);
static inline bool name_bit(const uint64_t *words, uint32_t n) {
    return words[n / 64] >> n % 64 & 1;
}

/* json_obligations.c */
/** A name that is asked about: known to the joint (n), or not (n UINT32_MAX, `text`). */
struct candidate {
    uint32_t n;
    name_id name;
    struct bytes_view text;
};
/** Names that could still come after `candidate` for this form. */
struct future {
    const struct frame *frame;
    const struct joint_object *object;
    const struct item *item;
    const uint64_t *required;
    uint32_t room;   /* properties that may come beyond those that are required */
    uint32_t rank;   /* in the order of the schema: of the next name at least */
    uint32_t except; /* a name that does not come again */
    bool ordered;
};
/** A way to meet all obligations that are open. */
struct witness {
    uint32_t names[64]; /* [count] that must come, or must not */
    uint32_t count;
    uint32_t fresh; /* properties beyond those that are required */
};
bool future_has(const struct future *future, uint32_t n);
bool option_offered(struct json_machine *m, const struct object_form *form, const struct object_option *option,
                    const struct candidate *candidate);
/** The obligations of `open` (bits) can all be met by what is still to come. */
bool obligations_met_later(struct json_machine *m, const struct future *future, uint64_t open, struct witness *out);
/** What the candidate's value must satisfy so that all obligations can still be met; CONJUNCTION_FALSE: it may not come. */
conjunction obligations_for(struct json_machine *m, const struct future *future, const struct candidate *candidate);
/** The names out of `others` that may come as far as the obligations go. */
regex obligations_names(struct json_machine *m, const struct future *future, regex others);

/* json_seen.c */
/** The formula of a value that was seen, made once. FORMULA_NONE: the budget, or a number that is beyond what is supported. */
formula seen_formula(struct json_machine *m, const struct seen_text *seen);
/** The text between, as a value that is compared. False without memory. */
bool seen_text_of(struct frames *frames, const struct frame *frame, const struct text_node *text,
                  struct seen_text *out);
bool seen_before(const struct seen_text *seen, const uint64_t hash[2]);
/** The array or object can only be closed now, and would then be an item that was seen, where none may be. */
bool seen_when_closed(struct frames *frames, const struct frame *frame, const struct text_node *text);
/** Let the further items of a form, from `index` on, not be `seen` (and what was seen before it), where they might be begun as one that could only end so. */
bool seen_exclude(struct json_machine *m, const struct array_form *form, const struct seen_text *seen, uint32_t index,
                  struct item *item);

/* json_array.c, json_object.c: MACHINE_DEAD when nothing is left */
enum machine_step array_open(struct json_machine *m, struct frames *frames, const struct json_state *at,
                             struct json_state *out);
enum machine_step array_comma(struct json_state *state);
enum machine_step array_close(struct json_machine *m, struct frames *frames, struct json_state *state);
enum machine_step array_value(struct json_machine *m, struct frames *frames, struct json_state *state,
                              const struct verdict *verdict);
enum machine_step object_open(struct json_machine *m, struct frames *frames, const struct json_state *at,
                              struct json_state *out);
enum machine_step object_comma(struct json_state *state);
enum machine_step object_close(struct json_machine *m, struct frames *frames, struct json_state *state);
enum machine_step object_value(struct json_machine *m, struct frames *frames, struct json_state *state,
                               const struct verdict *verdict);
/** The first name of low..high whose byte at `depth` is at least `byte` (a name that ends there is below all). */
uint32_t names_from(const struct joint *joint, uint32_t low, uint32_t high, uint32_t depth, uint32_t byte);
/** The first quote of a name has come. */
enum machine_step object_key_begin(struct json_machine *m, struct json_state *state);
/** One code point of a name; MACHINE_DEAD when no name goes on so. */
enum machine_step object_key_step(struct json_machine *m, struct json_state *state, uint32_t code_point);
/** Some name goes on with a code point of first..last. */
bool object_key_live_in(struct json_machine *m, const struct json_state *state, uint32_t first, uint32_t last);
/** The last quote of a name: what its value must satisfy. */
enum machine_step object_key_end(struct json_machine *m, struct frames *frames, struct json_state *state);

/** The text of a JSON string, quotes and all, decoded. False without memory. */
bool text_decode_json(struct frames *frames, struct bytes_view *text);
/** The state behind the quote of a name that the joint does not know and that was not seen, whatever its text. */
enum machine_step object_unknown_end(struct json_machine *m, struct frames *frames, const struct json_state *state,
                                     struct machine_state *out);

/* json_mask.c: machine_operations.fill */
bool json_fill(struct machine *machine, struct mask_walk *walk, const struct machine_state *state, uint32_t *mask);

/* json_finish.c: machine_operations.shortest, .estimate, .leap, .inside, .alike and .respells */
uint64_t json_shortest(struct machine *machine, struct frames *frames, const struct machine_state *state,
                       uint64_t limit, struct bytes *out);
uint64_t json_estimate(struct machine *machine, struct frames *frames, const struct machine_state *state);
uint64_t json_leap(struct machine *machine);
bool json_inside(struct machine *machine, const struct grammar_vocabulary *vocabulary,
                 const struct machine_state *state, struct string_inside *out);
void json_alike(struct machine *machine, const struct machine_state *state, struct machine_state *out);
bool json_respells(struct machine *machine, struct frames *frames, const struct machine_state *state, uint8_t byte);

/** Bits of the names that are required, by the form or by what is there or required in turn; of frames. False: budget or memory. */
bool object_required(struct json_machine *m, struct frames *frames, const struct frame *frame,
                     const struct joint_object *object, uint64_t **out);
/** The form may end as the frame stands. */
bool array_may_close(const struct frame *frame, const struct joint_array *array, const struct item *item);
bool object_may_close(struct json_machine *m, struct frames *frames, const struct frame *frame,
                      const struct joint_object *object, const struct item *item, bool *failed);

/** A value has ended; `state->frame` is the frame around it. */
enum machine_step value_ended(struct json_machine *m, struct frames *frames, struct json_state *state,
                              const struct verdict *verdict);

/** The text after `from` up to `to`; data NULL without memory. */
/** Where texts are compared: these bytes came. False without memory. */
bool state_record(struct frames *frames, struct json_state *state, const uint8_t *bytes, size_t count);
struct bytes_view text_between(struct frames *frames, const struct text_node *from, const struct text_node *to);

#endif
