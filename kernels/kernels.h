/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Kernels: the table of numerical operations behind which every device stands.
 *
 * A model, a sampler or a trainer calls only this table; a new device is a new folder. kernels/cpu in plain C is the
 * definition of each operation; vector variants are chosen at run time from the processor (CPUID), never at build time.
 *
 * Letters used in every shape below:
 *   T  rows of a step: all tokens of all sequences that advance together     D  model width
 *   N  outputs of a matmul        K  inputs of a matmul                        V  vocabulary
 *   H  query heads                G  key/value heads (H is a multiple of G)    hd head dimension     F  feed-forward width
 *   S  sequences in a step        E  experts of a layer
 * Activations are f32, row-major, on the host for "cpu".
 *
 * BATCH INVARIANCE (every operation, every variant): what is computed for one row or one sequence depends on that row
 * or sequence alone - never on T, S, its place in the batch, the number of threads, or how a prompt was cut into
 * steps. So the order of every float sum is fixed by position. Two variants may differ from each other (they are
 * announced by name); one variant never differs from itself.
 *
 * Threads: an operation spreads itself over the table's thread team and returns when done (CPU). One caller at a time
 * per table. Memory: operations borrow their arrays until they return and allocate nothing; scratch is in the table
 * and sized by kernels_options. Failures are the caller's bugs (shapes) and are reported as STATUS_INVALID_ARGUMENT
 * by the functions that can fail, or abort in debug builds.
 */
#ifndef KERNELS_KERNELS_H
#define KERNELS_KERNELS_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Storage types; the numbers are GGUF's ggml_type. Block types hold 32 (Q4_0..Q8_0) or 256 (K-types) weights.
 *  A variant says with `supports` which it can multiply. */
enum tensor_type {
    TENSOR_F32 = 0,
    TENSOR_F16 = 1,
    TENSOR_Q4_0 = 2, /* {f16 d; u8 q[16]}            w = d * (q - 8);  low nibbles are weights 0..15, high 16..31 */
    TENSOR_Q4_1 = 3, /* {f16 d; f16 m; u8 q[16]}     w = d * q + m */
    TENSOR_Q5_0 = 6,
    TENSOR_Q5_1 = 7,
    TENSOR_Q8_0 = 8, /* {f16 d; i8 q[32]}            w = d * q */
    TENSOR_Q4_K = 12,
    TENSOR_Q5_K = 13,
    TENSOR_Q6_K = 14,
    TENSOR_BF16 = 30,
};

const char *tensor_type_name(enum tensor_type type); /* "Q4_1"; NULL when unknown */
/** Weights per block; 0 when unknown. */
int tensor_type_block(enum tensor_type type);
/** Bytes per block; 0 when unknown. */
size_t tensor_type_block_bytes(enum tensor_type type);
/** Bytes of one row of `columns` weights; 0 when `columns` is not a multiple of the block or the type is unknown. */
size_t tensor_type_row_bytes(enum tensor_type type, int64_t columns);
/** The definition of a storage type: `columns` weights of one row as f32. */
enum status tensor_dequantise_row(enum tensor_type type, const void *row, int64_t columns, float *out);

/** The other direction: `columns` weights as one row of `type`, as near as it allows (least squares, large weights counting somewhat more; the same
 *  input gives the same bytes). STATUS_INVALID_ARGUMENT when the columns are not whole blocks; STATUS_OUT_OF_RANGE when a weight is not
 *  finite or too large for the type (block types hold up to 60000), and `out` is then undefined. */
enum status tensor_quantise_row(enum tensor_type type, const float *weights, int64_t columns, void *out);

/** A matrix as a model file holds it: `rows` (N, outputs) rows of `columns` (K, inputs) weights, rows contiguous. */
struct tensor_view {
    const void *data;
    enum tensor_type type;
    int64_t rows, columns;
};

/** A matrix in the device's own layout (repacked, uploaded, or just a view). */
struct weights;

/** One product of a matmul: y[t][n] (+)= sum_k weights[n][k] * x'[t][k]. */
struct matmul_output {
    const struct weights *weights; /* N x K */
    float *y;                      /* row t starts at y + t*y_stride */
    int64_t y_stride;              /* floats, >= N */
    const float *bias;             /* [N] added, or NULL */
    bool accumulate;               /* add to what y holds (residual) */
};

enum { MATMUL_OUTPUTS_MAX = 4 };

/** What a gate's numbers become before they multiply: z / (1 + e^-z), or z/2 (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3))). */
enum activation { ACTIVATION_SILU, ACTIVATION_GELU_TANH };

/** Several products of the same input, so that the input is normalised and quantised once and threads meet once.
 *  x' = x, or with `norm_weight`: x'[t][k] = norm_weight[k] * x[t][k] / sqrt(mean_k(x[t][k]^2) + norm_eps)   (RMSNorm, arXiv:1910.07467). */
struct matmul {
    const float *x; /* row t starts at x + t*x_stride; must not overlap an output */
    int64_t x_stride;
    int64_t rows;             /* T >= 1 */
    const float *norm_weight; /* [K] or NULL */
    float norm_eps;
    /** Two outputs of the same N, gate and up: outputs[0].y gets activation(gate) * up as `gate` below defines it, and
     *  outputs[1].y is not written. No biases, no accumulate. */
    bool gated;
    enum activation activation;
    int output_count; /* 1..MATMUL_OUTPUTS_MAX; all with the same K */
    struct matmul_output outputs[MATMUL_OUTPUTS_MAX];
};

/**
 * Mixture of experts. A router gives every row one number for each expert (a matmul); `route` chooses `used` experts for each row and sorts the
 * pairs of a row and one of its experts, which are called slots, by expert and then by row. So expert_matmul reads every expert's weights once a
 * step, and its products lie in slots until `combine` adds up each row's, always in ascending order of the experts.
 */
enum routing_score {
    ROUTING_SOFTMAX, /* softmax over all E */
    ROUTING_SIGMOID, /* 1 / (1 + e^-z) of each */
};
struct routing {
    const float *logits; /* [T][E] contiguous */
    int64_t rows;
    int experts, used; /* the `used` largest logits of a row; of equals the first */
    enum routing_score score;
    bool normalise; /* the chosen weights are divided by their sum */
    float scale;    /* and multiplied by this */
};
/** What `route` fills; the arrays are the caller's. */
struct routed {
    int64_t rows;
    int experts, used;
    float *weights;      /* [T][used] of the row's experts, ascending by expert */
    int32_t *slots;      /* [T][used] their slots */
    int32_t *slot_rows;  /* [T * used] the row of each slot */
    int32_t *first_slot; /* [E + 1] expert e has the slots [first_slot[e], first_slot[e + 1]) */
};

/** y[s] = W_e x'[row(s)] for every slot s of every expert e, or with `up` activation(W_e x') * (U_e x'). */
struct expert_matmul {
    const struct routed *routed;
    const float *x; /* [T][K] rows at x_stride, or with by_slot [T * used][K]; must not overlap y */
    int64_t x_stride;
    bool by_slot;
    const float *norm_weight; /* as in struct matmul */
    float norm_eps;
    const struct weights *const *weights; /* [E] N x K, all of the same shape */
    const struct weights *const *up;      /* [E] or NULL */
    enum activation activation;
    float *y; /* [T * used][N] contiguous */
};

enum rope_style {
    ROPE_INTERLEAVED, /* rotates (x[2i], x[2i+1]): Llama and Mistral weights as GGUF and native files store them */
    ROPE_HALVES,      /* rotates (x[i], x[i+hd/2]): NeoX, Qwen, Gemma, Hugging Face layout */
};

/** Rotary embedding (Su et al., arXiv:2104.09864): pair i of a head at position p turns by the angle p * inverse_frequency[i]. */
struct rope {
    int rotary_dim; /* even; the rest of a head passes unchanged */
    int offset;     /* of the first element that rotates; offset + rotary_dim <= head_dim */
    enum rope_style style;
    const float *inverse_frequency; /* [rotary_dim/2]; the model computes it, scalings included */
    float magnitude;                /* multiplies both cos and sin (YaRN); 1 otherwise */
};

/** How keys and values are stored. KV_INT8 rounds each head of each position to 8 bits with one scale of its own. */
enum kv_type { KV_F32, KV_F16, KV_BF16, KV_INT8 };
/** Bytes of an element, without scales. */
size_t kv_type_bytes(enum kv_type type);
/** "f32", "f16", "bf16", "int8" */
const char *kv_type_name(enum kv_type type);
/** False when there is none of that name. */
bool kv_type_parse(const char *name, enum kv_type *out);

/**
 * One layer's keys and values in a pool of blocks. A block holds `block_tokens` positions of one sequence (or of several that share
 * them); this layer's part of block b is the kv_layer_bytes() bytes at base + b * block_stride, so that a block of all layers can be one
 * piece of memory: it is touched, copied and dropped as one. What lies inside, only kernels know (kernels/kv_layout.h).
 *
 * A sequence's position p lies in block table[p / block_tokens], slot p % block_tokens.
 */
struct kv_layer {
    void *base;          /* this layer's part of block 0; 64-byte aligned */
    size_t block_stride; /* bytes from a block to the next; a multiple of 64 */
    enum kv_type type;
    int block_tokens;       /* a multiple of 32, at most 64 */
    int kv_heads, head_dim; /* G; hd a multiple of 16, at most 256 */
};

/** Bytes of one layer's part of one block; a multiple of 64. Looks at type, block_tokens, kv_heads and head_dim. */
size_t kv_layer_bytes(const struct kv_layer *layer);

/** A sequence's part of a step. Its `row_count` rows are consecutive in the batch and are its positions
 *  [context - row_count, context). Blocks that hold positions < context are in `blocks`. */
struct kv_sequence {
    int64_t first_row, row_count;
    int64_t context; /* tokens in the cache after this step's are stored */
    const int32_t *blocks;
};

/** Store this step's keys and values: row t of sequence s at its position's slot. Keys and queries, head by head, are normalised and then rotated:
 *  keys on their way, queries in place. */
struct kv_store {
    const struct kv_layer *layer;
    const struct kv_sequence *sequences;
    int64_t sequence_count;
    const float *keys, *values; /* [T][G][hd], rows at the strides */
    int64_t key_stride, value_stride;
    const struct rope *rope;            /* NULL: nothing is rotated */
    const float *rope_table;            /* [T][2][rotary_dim], by rope_table for the positions of these rows */
    const float *query_norm, *key_norm; /* [hd] weights of an RMSNorm over each head; or both NULL */
    float norm_eps;
    const float *query_scales; /* [T] multiplies a row's queries; or NULL */
    float *queries;            /* [T][heads][hd]; not read when none of these is asked for */
    int64_t query_stride;
    int heads;
};

/**
 * Causal attention over the cache, for prefill and decode alike:
 *   out[t][h] = sum_j softmax_j(cap(scale * q[t][h] . K[j][h/(H/G)])) V[j][h/(H/G)],   j over positions <= position(t), and > position(t) - window
 *   cap(z) = softcap * tanh(z / softcap), or z
 */
struct attention {
    const struct kv_layer *layer;
    const struct kv_sequence *sequences;
    int64_t sequence_count;
    const float *q; /* [T][H][hd] */
    int64_t q_stride;
    float *out; /* [T][H][hd]; must not overlap q */
    int64_t out_stride;
    int heads;
    float scale;
    int64_t window; /* 0 = all */
    float softcap;  /* 0 = none */
};

/** to[t][h][0..width) = from[t][h][0..width): rows and heads at strides, in floats; from_head 0: all heads get the same. */
struct head_copy {
    const float *from;
    int64_t from_stride, from_head;
    float *to;
    int64_t to_stride, to_head;
    int64_t rows, width;
    int heads;
};

struct kernels;

/** The operations. Members never NULL unless "(optional)" is said. */
struct kernels_operations {
    bool (*supports)(const struct kernels *kernels, enum tensor_type type);

    /** Make `view` usable for embed and matmul. STATUS_INVALID_ARGUMENT when its columns are not whole blocks or pass columns_max,
     *  STATUS_UNIMPLEMENTED for an unknown type. May repack (owning a copy) or only borrow: then `view.data` must outlive the weights. */
    enum status (*weights_create)(struct kernels *kernels, const struct tensor_view *view, struct weights **out,
                                  struct error *err);
    void (*weights_destroy)(struct kernels *kernels, struct weights *weights);

    /** y[t][:] = weights[ids[t]][:] * scale, dequantised. y [T][D] contiguous. ids in [0, rows). */
    void (*embed)(struct kernels *kernels, const struct weights *weights, const int32_t *ids, int64_t rows, float scale,
                  float *y);
    void (*matmul)(struct kernels *kernels, const struct matmul *matmul);
    /** y[t][i] (+)= weight[i] * x[t][i] / sqrt(mean_i(x[t][i]^2) + eps); y may be x. [T][D] contiguous. `accumulate`: add to what y holds. */
    void (*rmsnorm)(struct kernels *kernels, const float *x, const float *weight, float eps, int64_t rows,
                    int64_t width, bool accumulate, float *y);
    /** The sines and cosines of a step, once for all layers, for queries and keys:
     *  y[k] = x[k] * table[t][0][k] + x[k's partner] * table[t][1][k]. positions [T] >= 0. */
    void (*rope_table)(struct kernels *kernels, const struct rope *rope, const int32_t *positions, int64_t rows,
                       float *table);
    void (*kv_store)(struct kernels *kernels, const struct kv_store *store);
    void (*attention)(struct kernels *kernels, const struct attention *attention);
    /** y[t][f] = activation(gate[t][f]) * up[t][f]. Contiguous [T][F]; y may be gate. */
    void (*gate)(struct kernels *kernels, enum activation activation, const float *gate, const float *up, int64_t rows,
                 int64_t width, float *y);
    /** x[t][i] = cap * tanh(x[t][i] / cap). [T][width] contiguous; cap > 0. */
    void (*softcap)(struct kernels *kernels, float cap, int64_t rows, int64_t width, float *x);

    void (*copy_heads)(struct kernels *kernels, const struct head_copy *copy);
    void (*route)(struct kernels *kernels, const struct routing *routing, struct routed *out);
    void (*expert_matmul)(struct kernels *kernels, const struct expert_matmul *matmul);
    /** y[t][i] += sum_j routed.weights[t][j] * x[routed.slots[t][j]][i], j ascending. x [T * used][width], y [T][width] contiguous. */
    void (*combine)(struct kernels *kernels, const struct routed *routed, const float *x, int64_t width, float *y);
};

struct kernels {
    const struct kernels_operations *operations;
    const char *device;  /* "cpu" */
    const char *variant; /* "plain", "avx2", "avx512" */
    int threads;
    void *state; /* the device's own */
};

struct kernels_options {
    const char *
        variant; /* "auto" (or NULL): the best that the processor has; or a name, refused when the processor lacks it */
    int threads; /* 0: all that the process may use */
    int64_t spin_ns;      /* < 0: the default */
    int64_t rows_max;     /* T never passes this (scratch is sized by it) */
    int64_t columns_max;  /* K never passes this */
    int64_t context_max;  /* positions in a sequence */
    int heads_max;        /* H */
    int experts_used_max; /* 0: no experts */
};

/** `device`: "cpu". STATUS_NOT_FOUND for an unknown device or variant, STATUS_UNIMPLEMENTED when the processor lacks what the variant needs. */
enum status kernels_open(const char *device, const struct kernels_options *options, struct kernels **out,
                         struct error *err);
void kernels_close(struct kernels *kernels);

/** Names of the CPU variants this machine can run, best first, ended by NULL; static. For tests, --help and the worker's announcement. */
const char *const *kernels_cpu_variants(void);
/** "AMD EPYC … (avx2 fma f16c avx512f avx512_vnni avx512_bf16)"; static. */
const char *kernels_cpu_description(void);

#endif
