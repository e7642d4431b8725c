/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Checkpoint: a model as its publisher ships it, whatever the form, under one set of names.
 *
 *     model.gguf                                                        GGUF (engine/weights/gguf.h)
 *     folder/config.json, model.safetensors or model-00001-of-…         Hugging Face
 *     folder/params.json, consolidated.safetensors or consolidated-…    native Mistral
 *
 * Tensors are asked for by GGUF's names, which are the canonical ones here:
 *
 *     token_embd.weight  output.weight  output_norm.weight  rope_freqs.weight
 *     blk.N.attn_norm.weight  blk.N.attn_q|attn_k|attn_v|attn_output.weight|bias  blk.N.attn_q_norm|attn_k_norm.weight
 *     blk.N.post_attention_norm.weight  blk.N.ffn_norm.weight  blk.N.post_ffw_norm.weight
 *     blk.N.ffn_gate|ffn_up|ffn_down.weight
 *     blk.N.ffn_gate_inp.weight (router)  blk.N.ffn_gate_exps|ffn_up_exps|ffn_down_exps.weight (all experts)
 *     blk.N.ffn_gate_shexp|ffn_up_shexp|ffn_down_shexp.weight  blk.N.ffn_gate_inp_shexp.weight (shared expert; its gate is a vector)
 *     blk.N.attn_q_a|attn_q_b|attn_kv_a_mqa|attn_kv_b.weight  blk.N.attn_q_a_norm|attn_kv_a_norm.weight (latent attention)
 *
 * NOTHING IS DROPPED IN SILENCE: checkpoint_tensor_at() lists every canonical name once (all experts of a layer are one, however they are stored), and
 * a tensor whose name no table knows is there under its own name. So a model that has read checkpoint_tensor_count() different
 * names has read everything, and otherwise finds in the list which it did not. What is known to be of no use to a language model (vision
 * towers, projectors, rotary buffers, a tied lm_head) is in a list of its own, checkpoint_left_out_at().
 *
 * Values are as the form stores them. What differs between forms besides names is the reader's to know, from the form: a Hugging Face
 * checkpoint rotates halves where GGUF and Mistral files of the same Llama or Mistral rotate neighbours (their rows of q and k are permuted),
 * and its Gemma norms are stored less one. So nothing is copied: data is mapped, and lives until checkpoint_close.
 *
 * A GGUF in parts (model-00001-of-00003.gguf) is opened by its first; its metadata is the first's.
 * Files are untrusted; what is wrong is one line that names the file and the thing. Read-only after open: any thread.
 */
#ifndef ENGINE_WEIGHTS_CHECKPOINT_H
#define ENGINE_WEIGHTS_CHECKPOINT_H

#include "base/bytes.h"
#include "base/status.h"
#include "kernels/kernels.h"

struct gguf;
struct json_value;
struct checkpoint;

enum checkpoint_form { CHECKPOINT_GGUF, CHECKPOINT_HUGGING_FACE, CHECKPOINT_MISTRAL };

/** `path`: a .gguf file, or a folder of one of the other forms, or one in which Hugging Face's hub caches such (its snapshot of refs/main). STATUS_NOT_FOUND, STATUS_PERMISSION_DENIED, STATUS_INVALID_ARGUMENT (malformed;
 *  the message says what), STATUS_UNIMPLEMENTED (a form that is not known, or weights only as pickle). */
enum status checkpoint_open(const char *path, struct checkpoint **out, struct error *err);
/** Over an open GGUF, which is borrowed. */
enum status checkpoint_of_gguf(const struct gguf *gguf, struct checkpoint **out, struct error *err);
void checkpoint_close(struct checkpoint *checkpoint);

const char *checkpoint_path(const struct checkpoint *checkpoint);
enum checkpoint_form checkpoint_form(const struct checkpoint *checkpoint);
/** The GGUF; NULL in the other forms. */
const struct gguf *checkpoint_gguf(const struct checkpoint *checkpoint);
/** config.json or params.json, read; NULL for GGUF. */
const struct json_value *checkpoint_config(const struct checkpoint *checkpoint);
/** Bytes of all weight files. */
size_t checkpoint_file_bytes(const struct checkpoint *checkpoint);
/** A file beside the weights ("tokenizer.json", "tekken.json", "tokenizer.model", "tokenizer_config.json", "chat_template.jinja"…), mapped.
 *  `name` has no slash. STATUS_NOT_FOUND when it is not there, or the checkpoint is a GGUF. */
enum status checkpoint_file(const struct checkpoint *checkpoint, const char *name, struct bytes_view *out,
                            struct error *err);

enum { CHECKPOINT_DIMENSIONS_MAX = 8 };

/** What is known of a tensor without asking for it as a matrix. */
struct checkpoint_tensor {
    const char *name;              /* canonical; the file's own when no table knows it */
    struct bytes_view stored_name; /* in the file; of experts that are stored apart, the first's */
    const char *file;              /* path of the file that holds it (the first's) */
    const char *type_name;         /* "BF16", "Q4_K", "IQ4_XS", "F8_E4M3" */
    bool known_type;               /* kernels know it: it is `type` */
    enum tensor_type type;
    int dimension_count; /* 0: a scalar */
    int64_t dimensions
        [CHECKPOINT_DIMENSIONS_MAX]; /* GGUF's order: [0] is the row length, [1] the rows, [2] the experts; 1 beyond the count */
    size_t bytes;                    /* 0 when the type is so unknown that they cannot be told */
    int experts_apart;               /* > 0: stored as so many tensors */
};

/** All different names there are, in the files' order; see above. */
int64_t checkpoint_tensor_count(const struct checkpoint *checkpoint);
const struct checkpoint_tensor *checkpoint_tensor_at(const struct checkpoint *checkpoint, int64_t index);
/** NULL when absent. */
const struct checkpoint_tensor *checkpoint_tensor(const struct checkpoint *checkpoint, const char *name);
int64_t checkpoint_left_out_count(const struct checkpoint *checkpoint);
const struct checkpoint_tensor *checkpoint_left_out_at(const struct checkpoint *checkpoint, int64_t index);
/** Weights in all tensors but those left out. */
int64_t checkpoint_parameters(const struct checkpoint *checkpoint);
bool checkpoint_has(const struct checkpoint *checkpoint, const char *name);
/** The matrix `name`, rows x columns; rows 0: a vector of `columns`. STATUS_NOT_FOUND; STATUS_INVALID_ARGUMENT another shape (the message says both);
 *  STATUS_UNIMPLEMENTED a type that kernels do not know. */
enum status checkpoint_matrix(const struct checkpoint *checkpoint, const char *name, int64_t rows, int64_t columns,
                              struct tensor_view *out, struct error *err);
/** Expert `expert` of the `experts` in `name` ("blk.3.ffn_up_exps.weight"), rows x columns; likewise. */
enum status checkpoint_expert(const struct checkpoint *checkpoint, const char *name, int expert, int experts,
                              int64_t rows, int64_t columns, struct tensor_view *out, struct error *err);

#endif
