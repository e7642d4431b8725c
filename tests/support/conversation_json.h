/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Conversations of golden files, written as the public interface writes them, as the engine's. What is wrong in such a file aborts. */
#ifndef TESTS_SUPPORT_CONVERSATION_JSON_H
#define TESTS_SUPPORT_CONVERSATION_JSON_H

#include "base/arena.h"
#include "engine/chat/chat.h"

#include <jansson.h>

/** {"messages", "tools", "reasoning_effort", "json_schema"}. An image's URL is "size:WxH", laid on the layout's grid (1 x 1 when it has none).
 *  Lends from `request`; the rest lives in `arena`. */
struct chat_conversation conversation_from_json(const json_t *request, const struct chat_layout *layout,
                                                struct arena *arena);

#endif
