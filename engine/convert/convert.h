/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Convert: a model of any form (engine/weights/checkpoint.h) written anew as GGUF or as a Hugging Face folder, with other weight types on the way.
 *
 * GGUF is written as llama.cpp's converters would: their architecture names and keys, its rotary order (rows of q and k of the Llama
 * kinds are permuted from the Hugging Face order and back), Gemma's norms plus one, the tokenizer as tokenizer.ggml.*.
 *
 * Types. `keep` leaves every matrix as it is stored. Another type is for all matrices whose rows are whole blocks of it, but: vectors and
 * routers stay F32; the output matrix, or the embedding where it is the output too, is Q6_K when the type has fewer bits (Q8_0 where rows are no
 * multiple of 256); q4_k and q5_k are llama.cpp's _M mixes (Q6_K for attn_v and ffn_down of the first and the last eighth of the layers and of
 * every third between). Where rows are no multiple of 256, Q4_K becomes Q5_0, Q5_K becomes Q5_1 and Q6_K becomes Q8_0; where they are no
 * multiple of 32 either, F16. The same input gives the same bytes, whatever the number of threads.
 *
 * The output appears under its name only when it is whole: it is written to OUT.part, flushed and renamed. A killed conversion leaves
 * OUT.part at most, which the next one overwrites.
 */
#ifndef ENGINE_CONVERT_CONVERT_H
#define ENGINE_CONVERT_CONVERT_H

#include "base/bytes.h"
#include "engine/weights/checkpoint.h"

enum convert_form { CONVERT_TO_GGUF, CONVERT_TO_HUGGING_FACE };

/** How far it is. `tensor` is what is being written. */
struct convert_progress {
    const char *tensor;
    int64_t tensors_done, tensors;
    uint64_t bytes_done, bytes;
};
typedef void convert_progress_fn(void *context, const struct convert_progress *progress);

/** A dense model as a mixture: every feed-forward network becomes `experts` copies of itself behind a random router. Since the weights of the chosen experts
 *  sum to one, its output is the dense model's, until training (or `noise`) makes the experts differ. Source: Komatsuzaki et al., arXiv:2212.05055. */
struct convert_upcycle {
    int experts, experts_used; /* 2 to 256; 1 to experts */
    double noise;  /* added to every expert's weights, relative to the root mean square of their row; 0: none */
    uint64_t seed; /* of the routers and the noise */
};

struct convert_options {
    enum convert_form to;
    bool keep;             /* types stay as they are; `type` is not read */
    enum tensor_type type; /* of the matrices */
    const struct convert_upcycle
        *upcycle;                  /* NULL: none. Dense models of the architecture llama, to GGUF, with `keep` */
    bool force;                    /* replace an output that is there */
    int threads;                   /* 0: all that the process may use */
    convert_progress_fn *progress; /* may be NULL; called now and then, from the calling thread */
    void *progress_context;
    volatile const bool *stop; /* may be NULL; true: STATUS_CANCELLED */
};

/** "q4_k" (any case; llama.cpp's "q4_k_m" is the same); false when there is none of that name. */
bool convert_type_parse(const char *name, enum tensor_type *out);

/**
 * Write the open checkpoint to `path`. `notes` gets a line for each thing that could not be taken along or was decided on the way.
 * STATUS_ALREADY_EXISTS (and no force), STATUS_UNIMPLEMENTED (an architecture, a tensor or a form that has no counterpart: the message names it),
 * STATUS_RESOURCE_EXHAUSTED (disk full, memory), STATUS_OUT_OF_RANGE (a weight that the type cannot hold), STATUS_CANCELLED.
 */
enum status convert_model(const struct checkpoint *checkpoint, const char *path, const struct convert_options *options,
                          struct bytes *notes, struct error *err);

#endif
