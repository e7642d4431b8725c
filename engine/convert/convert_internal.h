/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * How a conversion goes; for the files of this folder. convert.c decides the way, convert_plan.c which tensor becomes what,
 * convert_rows.c computes and writes them, convert_gguf.c and convert_folder.c write the files around them.
 */
#ifndef ENGINE_CONVERT_CONVERT_INTERNAL_H
#define ENGINE_CONVERT_CONVERT_INTERNAL_H

#include "base/arena.h"
#include "base/threads.h"
#include "engine/convert/convert.h"
#include "engine/convert/gguf_metadata.h"
#include "engine/convert/output_file.h"
#include "engine/model/model.h"

/** What the numbers of a model's config say about its tensors. */
struct convert_facts {
    char architecture[32]; /* llama.cpp's name */
    int64_t heads, kv_heads, layers;
    bool rotary_by_neighbours; /* llama.cpp's order of rows for this architecture */
    bool norms_less_one;       /* Hugging Face stores norms less one (Gemma) */
};

enum convert_rotary { ROTARY_AS_IT_IS, ROTARY_TO_NEIGHBOURS, ROTARY_TO_HALVES };

/** One tensor of the output. */
struct convert_tensor {
    char *name;                           /* in the output */
    const struct checkpoint_tensor *from; /* NULL: `values` */
    const float *values;
    int expert; /* -1: all; else this expert alone */
    int dimension_count;
    int64_t dimensions[4]; /* of the output, row length first; 1 beyond the count */
    enum tensor_type type;
    enum convert_rotary rotary;
    int64_t heads; /* of the rotary rows */
    float plus;    /* added to every weight */
    int copies;    /* > 0: as many experts, all from the one matrix there is */
    float noise;   /* relative to a row's root mean square */
    uint64_t seed; /* of the noise */
    size_t bytes;
};

struct convert_plan {
    struct arena arena;
    struct convert_tensor *tensors;
    int64_t count, capacity;
    uint64_t bytes;
};

struct converting {
    const struct checkpoint *checkpoint;
    const struct convert_options *options;
    struct convert_facts facts;
    struct model_config config; /* not when GGUF becomes GGUF */
    struct convert_plan plan;
    struct bytes *notes;
    struct thread_team *team;
    uint64_t bytes_done;
    int64_t tensors_done;
    struct error *err;
};

/* ---- convert_metadata.c ---- */
/** Fill `facts`, and `config` unless GGUF becomes GGUF. */
enum status convert_read_facts(struct converting *converting);
/** All metadata but the tokenizer's and the file type, from `config`. */
enum status convert_metadata_of_config(struct converting *converting, struct gguf_metadata *metadata);
/** rope_freqs.weight where the config needs it. */
enum status convert_plan_rope_factors(struct converting *converting);
/** In what two configs compute differently; NULL when in nothing. */
const char *convert_difference(const struct model_config *a, const struct model_config *b);

/* ---- convert_tokenizer.c ---- */
/** tokenizer.*; what cannot be said is left out with a note. */
enum status convert_metadata_of_tokenizer(struct converting *converting, struct gguf_metadata *metadata);

/* ---- convert_plan.c ---- */
enum status convert_plan_add(struct converting *converting, const struct convert_tensor *tensor);
/** All tensors of the checkpoint under GGUF names. */
enum status convert_plan_gguf(struct converting *converting);

/* ---- convert_upcycle.c ---- */
/** The config becomes a mixture's. STATUS_UNIMPLEMENTED when it is not one of a dense llama. */
enum status convert_upcycle_config(struct converting *converting);
/** A feed-forward matrix becomes all experts', and with the gate comes a router; others stay. */
enum status convert_upcycle_tensor(struct converting *converting, struct convert_tensor *tensor);
/** Add noise to a row of `columns` weights. `row` counts through all experts. */
void convert_upcycle_noise(const struct convert_tensor *tensor, int64_t row, int64_t columns, float *weights);

/* ---- convert_plan.c, for folders ---- */
/** All tensors of a GGUF under Hugging Face names, experts apart. */
enum status convert_plan_folder(struct converting *converting);

/* ---- convert_rows.c ---- */
/** Compute and write all of one tensor. */
enum status convert_write_tensor(struct converting *converting, const struct convert_tensor *tensor,
                                 struct output_file *file);

/* ---- convert_gguf.c ---- */
enum status convert_to_gguf(struct converting *converting, const char *path);

/* ---- convert_folder.c, hugging_face_config.c, hugging_face_tokenizer.c ---- */
enum status convert_to_folder(struct converting *converting, const char *path);
/** The tokenizer's files of a GGUF, written into the folder; what cannot be made is said in a note. */
enum status convert_write_tokenizer(const struct converting *converting, const char *path);
/** A whole small file. */
enum status convert_write_text(const struct converting *converting, const char *path, struct bytes_view text);
/** config.json of `config`; `type` is what the weights are in. */
enum status convert_write_config(const struct converting *converting, enum tensor_type type, struct bytes *out);

#endif
