/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/print.h"
#include "cli/terminal.h"
#include "engine/convert/convert.h"
#include "engine/convert/inspect.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static volatile bool stopped;
static void stop(int signal_number) {
    (void)signal_number;
    stopped = true;
}

/* ---- progress ------------------------------------------------------------------------------------------------------ */

/** A bar on a terminal; a line now and then elsewhere. */
struct shown {
    struct progress bar;
    int percent; /* last told in a line; -1: none */
    int64_t tensors;
    uint64_t bytes; /* of all tensors */
};

static void show_progress(void *context, const struct convert_progress *progress) {
    enum { LINE_STEP = 10 };
    struct shown *shown = context;
    double share = progress->bytes > 0 ? (double)progress->bytes_done / (double)progress->bytes : 1;
    double mega = 1.0 / (1 << 20), done = (double)progress->bytes_done * mega, all = (double)progress->bytes * mega;
    int percent = (int)(100 * share);
    shown->tensors = progress->tensors;
    shown->bytes = progress->bytes;
    if (shown->bar.shown) {
        char what[96];
        snprintf(what, sizeof what, "%.0f of %.0f MiB  %-.40s", done, all, progress->tensor);
        progress_show(&shown->bar, share, what);
        return;
    }
    bool soon = shown->percent >= 0 && percent < shown->percent + LINE_STEP && percent < 100;
    if (percent == shown->percent || soon) return;
    shown->percent = percent;
    fprintf(stderr, "%3d %%  %" PRId64 " of %" PRId64 " tensors, %.0f of %.0f MiB\n", percent, progress->tensors_done,
            progress->tensors, done, all);
}

/* ---- convert ------------------------------------------------------------------------------------------------------- */

static int convert(const char *in, const char *out, const struct convert_options *options) {
    struct checkpoint *checkpoint = NULL;
    struct error err = {0};
    struct bytes notes;
    bytes_init(&notes, 1 << 16);
    enum status status = checkpoint_open(in, &checkpoint, &err);
    if (status == STATUS_OK) status = convert_model(checkpoint, out, options, &notes, &err);
    struct shown *shown = options->progress_context;
    progress_end(&shown->bar);
    if (notes.length > 0) fputs((const char *)notes.data, stderr);
    if (status == STATUS_OK)
        fprintf(stderr, "Wrote %s: %" PRId64 " tensors, %.1f MiB.\n", out, shown->tensors,
                (double)shown->bytes / (1 << 20));
    else
        print_failure("%s", err.message);
    checkpoint_close(checkpoint);
    bytes_deinit(&notes);
    return status == STATUS_OK ? EXIT_OK : EXIT_FAILED;
}

/** --force and --threads, which all writers have. */
struct writing {
    struct shown shown;
    struct argument_integer threads;
    struct convert_options options;
};

static struct writing writing = {
    .shown = {.percent = -1},
    .options = {
        .progress = show_progress, .progress_context = &writing.shown, .stop = &stopped, .to = CONVERT_TO_GGUF}};
#define WRITING_ARGUMENTS                                                                   \
    {ARGUMENT_FLAG, "force", NULL, "replace OUT if it is there", &writing.options.force}, { \
        ARGUMENT_INTEGER, "threads", "N", "threads (all)", &writing.threads                 \
    }

static int write_model(const struct command_usage *usage, const char *const *words) {
    if (writing.threads.given && (writing.threads.value < 1 || writing.threads.value > 256))
        return usage_error(usage, "--threads: from 1 to 256");
    if (words[1][0] == 0) return usage_error(usage, "OUT is empty");
    writing.options.threads = (int)writing.threads.value;
    progress_init(&writing.shown.bar);
    const struct sigaction action = {.sa_handler = stop};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    return convert(words[0], words[1], &writing.options);
}

#define TYPES "keep|f32|f16|bf16|q8_0|q4_0|q4_1|q5_0|q5_1|q4_k|q5_k|q6_k"
static const char *type = "keep", *to = "gguf";
static const struct argument convert_arguments[] = {
    {ARGUMENT_TEXT, "type", "TYPE", "type of the matrices (keep)", &type},
    {ARGUMENT_CHOICE, "to", "gguf|safetensors", "form of OUT (gguf)", &to},
    WRITING_ARGUMENTS,
    {ARGUMENT_END, NULL, NULL, NULL, NULL},
};

static int run_convert(const struct command_usage *usage, const char *const *words, int count) {
    (void)count;
    struct convert_options *options = &writing.options;
    options->keep = strcmp(type, "keep") == 0;
    if (!options->keep && !convert_type_parse(type, &options->type)) /* knows q4_k_m too */
        return usage_error(usage, "--type: '%.64s' is not one of " TYPES, type);
    if (strcmp(to, "safetensors") == 0) options->to = CONVERT_TO_HUGGING_FACE;
    return write_model(usage, words);
}

/* ---- upcycle --------------------------------------------------------------------------------------------------------- */

static struct {
    struct argument_integer experts, used, seed;
    struct argument_number noise;
} making = {.experts = {.value = 8}, .used = {.value = 2}};
static const struct argument upcycle_arguments[] = {
    {ARGUMENT_INTEGER, "experts", "N", "experts of a layer (8)", &making.experts},
    {ARGUMENT_INTEGER, "experts-per-token", "N", "experts that a token is sent to (2)", &making.used},
    {ARGUMENT_NUMBER, "noise", "S", "noise in the experts' weights, relative to their size (0)", &making.noise},
    {ARGUMENT_INTEGER, "seed", "N", "of the routers and the noise (0)", &making.seed},
    WRITING_ARGUMENTS,
    {ARGUMENT_END, NULL, NULL, NULL, NULL},
};

static int run_upcycle(const struct command_usage *usage, const char *const *words, int count) {
    (void)count;
    int64_t experts = making.experts.value, used = making.used.value;
    double noise = making.noise.value;
    if (experts < 2 || experts > 256 || used < 1 || used > experts)
        return usage_error(usage, "--experts: from 2 to 256, and --experts-per-token from 1 to that");
    if (!(noise >= 0 && noise <= 1)) return usage_error(usage, "--noise: from 0 to 1");
    const struct convert_upcycle upcycle = {(int)experts, (int)used, noise, (uint64_t)making.seed.value};
    writing.options.keep = true;
    writing.options.upcycle = &upcycle;
    return write_model(usage, words);
}

/* ---- inspect --------------------------------------------------------------------------------------------------------- */

static struct inspect_options inspecting;
static const struct argument inspect_arguments[] = {
    {ARGUMENT_FLAG, "tensors", NULL, "list every tensor", &inspecting.tensors},
    {ARGUMENT_FLAG, "json", NULL, "for scripts", &inspecting.json},
    {ARGUMENT_END, NULL, NULL, NULL, NULL}};

static int run_inspect(const struct command_usage *usage, const char *const *words, int count) {
    (void)usage, (void)count;
    enum { OUTPUT_BYTES_MAX = 256 << 20 };
    struct bytes out;
    struct error err = {0};
    bytes_init(&out, OUTPUT_BYTES_MAX);
    enum status status = inspect_model(words[0], &inspecting, &out, &err);
    if (out.length > 0) fwrite(out.data, 1, out.length, stdout);
    bool out_failed = out.failed;
    bytes_deinit(&out);
    if (status == STATUS_OK) return EXIT_OK;
    if (!inspecting.json || out_failed) print_failure("%s", err.message);
    return EXIT_FAILED;
}

/* ---- the table ----------------------------------------------------------------------------------------------------- */

const struct command model_commands[] = {
    {.usage =
         {"model inspect", "PATH",
          "Say what a model is: its form, architecture and config, tokenizer, parameters, and bytes by type. PATH is a "
          ".gguf file\n"
          "or a folder. Of a damaged file as much as can be read is shown, and what is wrong.",
          1, 1},
     .help = "say what a model file or folder is",
     .arguments = inspect_arguments,
     .run = run_inspect},
    {.usage =
         {"model convert", "IN OUT",
          "Write a model anew: GGUF from a Hugging Face or native Mistral folder or another GGUF, or a Hugging Face "
          "folder\n"
          "(safetensors) from a GGUF. IN is a .gguf file or a folder. OUT appears only when it is whole.\n\n"
          "Types: keep, f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, q4_k, q5_k, q6_k. Vectors and routers stay "
          "F32; the\n"
          "output matrix gets Q6_K where the type has fewer bits; q4_k and q5_k are mixes as llama.cpp's q4_k_m and "
          "q5_k_m, which\n"
          "are names for them. Rows that a type's blocks do not divide get another, which is said.",
          2, 2},
     .help = "write a model in another form, with other weight types",
     .arguments = convert_arguments,
     .run = run_convert},
    {.usage = {"model upcycle", "DENSE OUT",
               "Make a mixture of experts (GGUF, as Mixtral) of a dense Llama or Mistral: every feed-forward network "
               "becomes copies of itself\n"
               "behind a random router. Without noise it computes what the dense model computes.",
               2, 2},
     .help = "make a mixture of experts of a dense model",
     .arguments = upcycle_arguments,
     .run = run_upcycle},
    {.usage = {NULL, NULL, NULL, 0, 0}}};
