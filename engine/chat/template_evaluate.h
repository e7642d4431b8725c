/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** What running statements (template_run.c) and expressions (template_evaluate.c) need of each other. */
#ifndef ENGINE_CHAT_TEMPLATE_EVALUATE_H
#define ENGINE_CHAT_TEMPLATE_EVALUATE_H

#include "engine/chat/template_internal.h"

enum status template_evaluate(struct template_run *run, const struct template_node *node, struct template_value *out);

/** A scope under `parent` becomes the one that is assigned in. */
enum status template_scope_push(struct template_run *run, struct template_scope *parent);
/** `name` is lent: of the tree, or the caller's. */
enum status template_scope_set(struct template_run *run, const char *name, struct template_value value);
/** The nearest variable of that name, a function, or undefined. */
enum status template_scope_get(struct template_run *run, const char *name, struct template_value *out);
/** What statements print, as a text, in a scope of their own under `scope`. */
enum status template_capture(struct template_run *run, const struct template_node *body, struct template_scope *scope,
                             struct template_string *out);

#endif
