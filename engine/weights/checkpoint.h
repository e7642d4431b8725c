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
 *     blk.N.ffn_gate_shexp|ffn_up_shexp|ffn_down_shexp.weight  blk.N.ffn_gate_inp_shexp.weight (shared expert)
 *
 * Values are as the form stores them. What differs between forms besides names is the reader's to know, from the form: a Hugging Face
 * checkpoint rotates halves where GGUF and Mistral files of the same Llama or Mistral rotate neighbours (their rows of q and k are permuted),
 * and its Gemma norms are stored less one. So nothing is copied: data is mapped, and lives until checkpoint_close.
 *
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

/** `path`: a .gguf file, or a folder of one of the other forms. STATUS_NOT_FOUND, STATUS_PERMISSION_DENIED, STATUS_INVALID_ARGUMENT (malformed;
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
/** A file beside the weights ("tokenizer.json", "tekken.json", "tokenizer.model", "tokenizer_config.json", "chat_template.jinja"…), mapped.
 *  `name` has no slash. STATUS_NOT_FOUND when it is not there, or the checkpoint is a GGUF. */
enum status checkpoint_file(const struct checkpoint *checkpoint, const char *name, struct bytes_view *out,
                            struct error *err);

/** All weights there are, expert by expert where the form stores experts apart. */
int64_t checkpoint_tensor_count(const struct checkpoint *checkpoint);
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
