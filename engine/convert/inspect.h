/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Inspect: what a model file or folder is, as text for people or JSON for scripts.
 *
 * JSON: {"path", "form", "bytes", "files", "parameters", "damage" (why it cannot be opened), "architecture", "config" {…},
 * "tokenizer" {…}, "chat_template", "prompt_layout" (as a worker names it), "ends" [names of the tokens that end an answer], "servable",
 * "refused" (why it is not), "types" [{"type", "tensors", "bytes"}], "tensors" [{"name", "stored", "shape", "type", "bytes"}], "left_out" […]}.
 * What is not known is not there.
 */
#ifndef ENGINE_CONVERT_INSPECT_H
#define ENGINE_CONVERT_INSPECT_H

#include "base/bytes.h"
#include "base/status.h"

struct inspect_options {
    bool json;    /* with "damage"; as text what is wrong is in `err` alone */
    bool tensors; /* list every tensor */
};

/** Appends to `out` what can be known of `path`. The status is that of opening it: of a damaged file `out` holds as much as could be read, and
 *  `err` says what is wrong. */
enum status inspect_model(const char *path, const struct inspect_options *options, struct bytes *out,
                          struct error *err);

#endif
