/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Model cards and loads from the table of live workers. Messages and strings lend from the request's arena. */
#ifndef SERVICES_GATEWAY_MODELS_H
#define SERVICES_GATEWAY_MODELS_H

#include "bora/v1/models.pb-c.h"
#include "services/gateway/request.h"

/** Answer the request with the list of models. */
void models_answer_list(struct request *request);
/** Answer with one card, found by name, alias or tier; 404 when nobody serves it. */
void models_answer_one(struct request *request, const char *name);
/** Answer with all workers, whoever they serve; 403 when the request's key is no administrator's. */
void models_answer_workers(struct request *request);

#endif
