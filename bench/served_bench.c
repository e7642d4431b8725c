/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * bora-bench-served: what schemas cost a model that answers many at a time. Schemas as lines {"schema"} on standard input.
 *
 *   free    the same number of tokens for each request, without a grammar
 *   masks   a schema for each request, every token drawn under its mask
 *   jump    ... but for text that the schema leaves no choice about (engine_options.jump_forward)
 *
 * Each mode answers all requests, `--batch` at a time; rounds go through the modes in turn, the other way round every other time. Grammars are compiled anew
 * for each round, outside of the time. No speculation. A line for each round and mode, numbers only:
 *
 *   mode=masks round=0 tokens=5012 wall_us=8912345 cpu_us=17500123
 */
#include "base/arena.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/settings.h"
#include "engine/engine.h"
#include "engine/grammar/grammar.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { REQUESTS_MAX = 4096, DEPTH_MAX = 4096, VALUES_MAX = 1 << 26, PROMPT_MAX = 64, ENDS_MAX = 8 };
enum mode { FREE, MASKS, JUMP, MODES };
static const char *const MODE_NAMES[MODES] = {"free", "masks", "jump"};
static const char PROMPT[] = "Answer in JSON, with an example that could be real. The answer:\n";

struct served_settings {
    char *model_file;
    int64_t threads, batch, requests, max_tokens, rounds;
};

#define S struct served_settings
static const struct setting settings_table[] = {
    SETTING_STRING(S, model_file, "model-file", NULL, "FILE", "GGUF model"),
    SETTING_INTEGER(S, threads, "threads", "0", 0, LIMIT_THREADS, "N", "0: all processors"),
    SETTING_INTEGER(S, batch, "batch", "8", 1, 256, "N", "requests that are answered at a time"),
    SETTING_INTEGER(S, requests, "requests", "48", 1, REQUESTS_MAX, "N", "at most; each has a schema of its own"),
    SETTING_INTEGER(S, max_tokens, "max-tokens", "160", 1, 1 << 20, "N", "of an answer"),
    SETTING_INTEGER(S, rounds, "rounds", "3", 1, 100, "N", "of all modes"),
    {0}};
#undef S

struct request {
    const struct json_value *schema;
    int64_t tokens; /* that its answer had in mode MASKS */
    struct generation *generation;
};

struct bench {
    const struct served_settings *settings;
    struct engine *engines[2]; /* drawing all; jumping forward */
    struct grammar_vocabulary *vocabularies[2];
    struct token_list prompt;
    struct request requests[REQUESTS_MAX];
    int count;
    enum mode mode;
    int64_t tokens;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    int open;
    bool failed;
};
static struct bench bench = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void on_event(void *context, const struct generation_event *event) {
    struct request *request = context;
    if (event->finish == FINISH_NONE) return;
    pthread_mutex_lock(&bench.mutex);
    if (bench.mode == MASKS) request->tokens = event->completion_tokens;
    bench.tokens += event->completion_tokens;
    bench.failed = bench.failed || finish_is_failure(event->finish);
    bench.open--;
    pthread_cond_signal(&bench.changed);
    pthread_mutex_unlock(&bench.mutex);
}

static enum status compile(int side, const struct json_value *schema, struct grammar **out, struct error *err) {
    struct grammar_problem problem = {0};
    enum status status = grammar_compile_schema(bench.vocabularies[side], schema, NULL, out, &problem);
    return status == STATUS_OK ? status : error_set(err, status, "%s: %s", problem.pointer, problem.reason);
}

static int64_t cpu_us(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (int64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 + usage.ru_utime.tv_usec +
           usage.ru_stime.tv_usec;
}

/** Answer all requests; those of mode FREE have as many tokens as they had under masks. */
static enum status run_mode(enum mode mode, int round, struct error *err) {
    static struct grammar *grammars[REQUESTS_MAX];
    int side = mode == JUMP;
    struct logit_bias no_ends[ENDS_MAX];
    size_t end_count = 0;
    const struct tokenizer *tokenizer = engine_tokenizer(bench.engines[side]);
    for (int32_t id = 0; id < tokenizer_vocabulary(tokenizer) && end_count < ENDS_MAX; id++)
        if (tokenizer_is_end(tokenizer, id)) no_ends[end_count++] = (struct logit_bias){id, -100};
    for (int i = 0; i < bench.count; i++) {
        grammars[i] = NULL;
        if (mode != FREE) TRY(compile(side, bench.requests[i].schema, &grammars[i], err));
    }
    bench.mode = mode;
    bench.tokens = 0;
    int64_t wall = clock_monotonic_ns(clock_system()), cpu = cpu_us();
    for (int i = 0; i < bench.count; i++) {
        struct request *mine = &bench.requests[i];
        struct generation_request request = {
            .prompt = bench.prompt.ids,
            .prompt_count = bench.prompt.count,
            .max_tokens = mode == FREE ? mine->tokens : bench.settings->max_tokens,
            .tenant = "bench",
            .grammar = grammars[i],
            .sampling = {.temperature = 1, .top_p = 1, .seed = (uint64_t)i, .top_logprobs = -1},
            .on_event = on_event,
            .context = mine};
        if (mode == FREE) request.sampling.logit_bias = no_ends;
        if (mode == FREE) request.sampling.logit_bias_count = end_count;
        pthread_mutex_lock(&bench.mutex);
        bench.open++;
        pthread_mutex_unlock(&bench.mutex);
        TRY(engine_submit(bench.engines[side], &request, &mine->generation, err));
    }
    pthread_mutex_lock(&bench.mutex);
    while (bench.open > 0) pthread_cond_wait(&bench.changed, &bench.mutex);
    pthread_mutex_unlock(&bench.mutex);
    wall = clock_monotonic_ns(clock_system()) - wall;
    cpu = cpu_us() - cpu;
    for (int i = 0; i < bench.count; i++) {
        engine_release(bench.engines[side], bench.requests[i].generation);
        grammar_unref(grammars[i]);
    }
    if (bench.failed) return error_set(err, STATUS_INTERNAL, "an answer failed");
    if (round >= 0)
        printf("mode=%s round=%d tokens=%lld wall_us=%lld cpu_us=%lld\n", MODE_NAMES[mode], round,
               (long long)bench.tokens, (long long)(wall / 1000), (long long)cpu);
    fflush(stdout);
    return STATUS_OK;
}

static enum status read_schemas(struct arena *arena, struct error *err) {
    char *line = NULL;
    size_t capacity = 0;
    enum status status = STATUS_OK;
    for (ssize_t length; status == STATUS_OK && bench.count < bench.settings->requests &&
                         (length = getline(&line, &capacity, stdin)) > 0;) {
        struct json_value *value;
        struct json_problem problem = {0};
        char *copy = arena_copy(arena, line, (size_t)length);
        if (copy == NULL) status = error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
        if (copy == NULL) break;
        struct bytes_view text = bytes_view_of(copy, (size_t)length);
        status = json_read(text, DEPTH_MAX, VALUES_MAX, arena, &value, &problem);
        if (status != STATUS_OK) status = error_set(err, status, "a line is no JSON");
        struct grammar *grammar = NULL;
        struct error declined = {0};
        if (status != STATUS_OK || compile(0, json_member(value, "schema"), &grammar, &declined) != STATUS_OK) continue;
        grammar_unref(grammar);
        bench.requests[bench.count++].schema = json_member(value, "schema");
    }
    free(line);
    return status;
}

static enum status open_engines(struct error *err) {
    for (int side = 0; side < 2; side++) {
        struct engine_options options = {.model_path = bench.settings->model_file,
                                         .device = "cpu",
                                         .variant = "auto",
                                         .threads = (int)bench.settings->threads,
                                         .kv_type = "f16",
                                         .sequences_max = (int)bench.settings->batch,
                                         .step_tokens_max = 512,
                                         .queue_max = REQUESTS_MAX,
                                         .jump_forward = side == 1};
        TRY(engine_open(&options, &bench.engines[side], err));
        TRY(grammar_vocabulary_create(engine_tokenizer(bench.engines[side]), &bench.vocabularies[side], err));
    }
    bench.prompt.max_count = PROMPT_MAX;
    return tokenizer_encode(engine_tokenizer(bench.engines[0]), bytes_view_string(PROMPT), &bench.prompt, err);
}

static enum status run_all(struct error *err) {
    struct arena arena;
    TRY(open_engines(err));
    arena_init(&arena, SIZE_MAX / 2);
    TRY(read_schemas(&arena, err));
    TRY(run_mode(MASKS, -1, err)); /* tells how many tokens answers have */
    for (int round = 0; round < bench.settings->rounds; round++)
        for (int i = 0; i < MODES; i++) TRY(run_mode((enum mode)(round % 2 == 0 ? i : MODES - 1 - i), round, err));
    arena_deinit(&arena);
    token_list_deinit(&bench.prompt);
    for (int side = 0; side < 2; side++) {
        engine_close(bench.engines[side]);
        grammar_vocabulary_destroy(bench.vocabularies[side]);
    }
    return STATUS_OK;
}

int main(int argc, char **argv) {
    static struct served_settings settings;
    enum settings_outcome outcome;
    struct error err = {0};
    enum status status = settings_load(settings_table, "bora-bench-served",
                                       "Measures what schemas cost a model that answers many at a time.", argc, argv,
                                       &settings, &outcome, &err);
    if (status == STATUS_OK && outcome == SETTINGS_RUN) {
        bench.settings = &settings;
        status = settings.model_file != NULL ? run_all(&err)
                                             : error_set(&err, STATUS_INVALID_ARGUMENT, "--model-file is needed");
        settings_free(settings_table, &settings);
    }
    if (status == STATUS_OK) return 0;
    fprintf(stderr, "bora-bench-served: %s\n", err.message);
    return status == STATUS_INVALID_ARGUMENT ? 2 : 1;
}
