/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/gateway/models.h"

#include "services/gateway/workers.h"

#include <string.h>

static bool has_capability(const Bora__Internal__V1__ModelDescription *model, const char *name) {
    for (size_t i = 0; i < model->n_capabilities; i++) {
        if (strcmp(model->capabilities[i], name) == 0) return true;
    }
    return false;
}

/** The card lends strings from the worker, which the caller keeps until the answer is written. */
static Bora__V1__ModelCard *make_card(struct arena *arena, const struct worker *worker) {
    const Bora__Internal__V1__ModelDescription *model = worker->announcement->model;
    Bora__V1__ModelCard *card = arena_alloc(arena, sizeof *card);
    Bora__V1__ModelCapabilities *capabilities = arena_alloc(arena, sizeof *capabilities);
    if (card == NULL || capabilities == NULL) return NULL;
    bora__v1__model_card__init(card);
    bora__v1__model_capabilities__init(capabilities);
    capabilities->completion_chat = has_capability(model, "completion_chat");
    capabilities->completion_fim = has_capability(model, "completion_fim");
    capabilities->function_calling = has_capability(model, "function_calling");
    capabilities->vision = has_capability(model, "vision");
    card->id = model->name;
    card->object = "model";
    card->created = worker->announcement->started_at;
    card->owned_by = "bora";
    card->capabilities = capabilities;
    card->_name_case = BORA__V1__MODEL_CARD___NAME_NAME;
    card->name = model->name;
    if (*model->description != 0) {
        card->_description_case = BORA__V1__MODEL_CARD___DESCRIPTION_DESCRIPTION;
        card->description = model->description;
    }
    card->max_context_length = model->context_tokens;
    card->aliases = model->aliases;
    card->n_aliases = model->n_aliases;
    if (model->_default_temperature_case ==
        BORA__INTERNAL__V1__MODEL_DESCRIPTION___DEFAULT_TEMPERATURE_DEFAULT_TEMPERATURE) {
        card->_default_model_temperature_case =
            BORA__V1__MODEL_CARD___DEFAULT_MODEL_TEMPERATURE_DEFAULT_MODEL_TEMPERATURE;
        card->default_model_temperature = model->default_temperature;
    }
    card->type = "base";
    card->_tier_case = BORA__V1__MODEL_CARD___TIER_TIER;
    card->tier = model->tier;
    return card;
}

static void fail_out_of_memory(struct request *request) {
    struct api_error error = api_error_unavailable("Out of memory.");
    request_fail(request, &error);
}

void models_answer_list(struct request *request) {
    struct worker *workers[LIMIT_MODELS];
    size_t count = workers_list_models(request->gateway->workers, workers, LIMIT_MODELS);
    Bora__V1__ModelList list = BORA__V1__MODEL_LIST__INIT;
    list.object = "list";
    list.data = arena_alloc_array(&request->arena, count, sizeof *list.data);
    for (size_t i = 0; list.data != NULL && i < count; i++) {
        if (!key_info_may_use(request->key, workers[i]->announcement->model)) continue;
        Bora__V1__ModelCard *card = make_card(&request->arena, workers[i]);
        if (card == NULL)
            list.data = NULL;
        else
            list.data[list.n_data++] = card;
    }
    if (list.data != NULL)
        request_answer(request, &list.base);
    else
        fail_out_of_memory(request);
    for (size_t i = 0; i < count; i++) worker_unref(workers[i]);
}

void models_answer_one(struct request *request, const char *name) {
    struct worker *worker = NULL;
    bool there = workers_choose(request->gateway->workers, name, NULL, NULL, &worker) == WORKERS_CHOSEN;
    if (!there || !key_info_may_use(request->key, worker->announcement->model)) {
        if (there) worker_unref(worker);
        struct api_error error =
            api_error_make(404, STATUS_NOT_FOUND, "invalid_model", "1500", "No model %.64s is served.", name);
        request_fail(request, &error);
        return;
    }
    Bora__V1__ModelCard *card = make_card(&request->arena, worker);
    if (card != NULL)
        request_answer(request, &card->base);
    else
        fail_out_of_memory(request);
    worker_unref(worker);
}

static Bora__V1__WorkerInfo *make_worker(struct arena *arena, struct worker *worker) {
    const Bora__Internal__V1__WorkerAnnouncement *announcement = worker->announcement;
    const Bora__Internal__V1__Load *load = announcement->load;
    Bora__V1__WorkerInfo *info = arena_alloc(arena, sizeof *info);
    if (info == NULL) return NULL;
    bora__v1__worker_info__init(info);
    info->worker_id = announcement->worker_id;
    info->model = announcement->model->name;
    info->aliases = announcement->model->aliases;
    info->n_aliases = announcement->model->n_aliases;
    info->tier = announcement->model->tier;
    info->device = announcement->device;
    info->kernel_variant = announcement->kernel_variant;
    info->region = announcement->region;
    info->started_at = announcement->started_at;
    info->draining = worker->draining;
    info->version = announcement->version;
    info->gateway_running = atomic_load(&worker->running);
    info->running = (int32_t)worker->load.running;
    info->waiting = (int32_t)worker->load.waiting;
    info->kv_tokens_used = worker->load.kv_tokens_used;
    info->prompt_tokens = (uint64_t)worker->load.prompt_tokens;
    info->completion_tokens = (uint64_t)worker->load.completion_tokens;
    if (load == NULL) return info;
    info->sequences_max = load->sequences_max;
    info->alive_max = load->alive_max;
    info->kv_tokens_total = load->kv_tokens_total;
    return info;
}

void models_answer_workers(struct request *request) {
    const struct key_info *key = request->key;
    if (!key_info_is_admin(key) || (!key_info_is_operator(key) && !key_info_may_ask(key, "admin"))) {
        struct api_error error = api_error_forbidden("Only administrators may see the workers.");
        request_fail(request, &error);
        return;
    }
    struct worker **workers = arena_alloc_array(&request->arena, LIMIT_WORKERS, sizeof *workers);
    size_t count = workers != NULL ? workers_list(request->gateway->workers, workers, LIMIT_WORKERS) : 0;
    Bora__V1__WorkerList list = BORA__V1__WORKER_LIST__INIT;
    list.workers = arena_alloc_array(&request->arena, count, sizeof *list.workers);
    for (size_t i = 0; list.workers != NULL && i < count; i++) {
        list.workers[i] = make_worker(&request->arena, workers[i]);
        if (list.workers[i] == NULL) list.workers = NULL;
    }
    list.n_workers = count;
    if (workers != NULL && list.workers != NULL)
        request_answer(request, &list.base);
    else
        fail_out_of_memory(request);
    for (size_t i = 0; i < count; i++) worker_unref(workers[i]);
}
