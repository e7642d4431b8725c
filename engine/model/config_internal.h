/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Reading configs; for the files of this folder. One reader for each form fills what its form says; model_config_read begins with
 * model_config_defaults and ends with the checks that are the same for all.
 */
#ifndef ENGINE_MODEL_CONFIG_INTERNAL_H
#define ENGINE_MODEL_CONFIG_INTERNAL_H

#include "base/bytes.h"
#include "engine/model/model.h"

struct checkpoint;
struct json_value;

enum status model_config_read_gguf(const struct checkpoint *checkpoint, struct model_config *config, struct error *err);
enum status model_config_read_hugging_face(const struct checkpoint *checkpoint, struct model_config *config,
                                           struct error *err);
enum status model_config_read_mistral(const struct checkpoint *checkpoint, struct model_config *config,
                                      struct error *err);

/** What readers need not mention: SiLU, no scaling, no windows, rotation in every layer, scales of 1. */
void model_config_defaults(struct model_config *config);

/** The ranges of numbers in configs, the same in all forms. */
enum {
    CONFIG_WIDTH_MIN = 16,
    CONFIG_WIDTH_MAX = 1 << 20,
    CONFIG_FEED_FORWARD_MAX = 1 << 22,
    CONFIG_CONTEXT_MIN = 16,
    CONFIG_HEADS_MAX = 1024,
    CONFIG_WINDOW_MAX = 1 << 30
};
static const double CONFIG_EPS_MIN = 1e-12, CONFIG_EPS_MAX = 1e-1, CONFIG_ROPE_BASE_MIN = 1.001,
                    CONFIG_ROPE_BASE_MAX = 1e12, CONFIG_FACTOR_MIN = 1e-3, CONFIG_FACTOR_MAX = 1e6;

/** 0.1 * scale * ln(factor) + 1 for a factor above 1: what YaRN multiplies scores by, in the notation of configs (mscale). */
double model_config_yarn_scale(double factor, double scale);

/* ---- JSON objects of configs --------------------------------------------------------------------------------------- */

enum { CONFIG_MEMBERS_MAX = 512 };

/** An object whose members are taken by name; what nobody takes is refused at the end. */
struct config_object {
    const struct json_value *value;
    const char *file, *inside; /* "config.json", "rope_parameters." or "" */
    bool taken[CONFIG_MEMBERS_MAX];
};

/** STATUS_INVALID_ARGUMENT when it is no object, or has too many members. */
enum status config_object_init(struct config_object *object, const struct json_value *value, const char *file,
                               const char *inside, struct error *err);
/** The member, taken; NULL when it is absent or null. */
const struct json_value *config_take(struct config_object *object, const char *name);
/** There is one, and it is not null; or it may be null as well. */
bool config_has(const struct config_object *object, const char *name);
bool config_says(const struct config_object *object, const char *name);
/** Whole numbers and others in [minimum, maximum]; absent or null: `fallback`, and with `required` a failure. */
enum status config_take_integer(struct config_object *object, const char *name, int64_t minimum, int64_t maximum,
                                bool required, int64_t fallback, int64_t *out, struct error *err);
enum status config_take_number(struct config_object *object, const char *name, double minimum, double maximum,
                               bool required, double fallback, double *out, struct error *err);
enum status config_take_flag(struct config_object *object, const char *name, bool fallback, bool *out,
                             struct error *err);
/** Whole numbers of an array of exactly `count`; null is 0. */
enum status config_read_integers(const struct config_object *object, const char *name, const struct json_value *array,
                                 int64_t count, int64_t minimum, int64_t maximum, int64_t *out, struct error *err);
/** False when the member is absent, null or no string. */
bool config_take_string(struct config_object *object, const char *name, struct bytes_view *out);
/** STATUS_UNIMPLEMENTED naming the first member that was not taken, is not in `harmless` (ended by NULL), does not begin with '_', and says
 *  anything but null, false, "", [] or {}. */
enum status config_refuse_rest(const struct config_object *object, const char *const *harmless, struct error *err);
/** STATUS_UNIMPLEMENTED when it says that weights are quantised: the message says by what (fp8, awq, gptq, bitsandbytes, MLX…). */
enum status config_refuse_quantised(const struct config_object *object, struct error *err);

#endif
