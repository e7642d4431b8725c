/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/arguments.h"
#include "cli/commands.h"
#include "engine/convert/convert.h"
#include "engine/convert/inspect.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile bool stopped;
static void stop(int signal_number) {
    (void)signal_number;
    stopped = true;
}

/* ---- progress ------------------------------------------------------------------------------------------------------ */

/** A bar that is drawn again on a terminal; a line now and then elsewhere. */
struct shown {
    bool terminal;
    int percent; /* last shown; -1: none */
    int64_t tensors;
    uint64_t bytes; /* of all tensors */
};

static void show_progress(void *context, const struct convert_progress *progress) {
    enum { WIDTH = 30, LINE_STEP = 10 };
    struct shown *shown = context;
    int percent = progress->bytes > 0 ? (int)(100 * progress->bytes_done / progress->bytes) : 100;
    double mega = 1.0 / (1 << 20);
    shown->tensors = progress->tensors;
    shown->bytes = progress->bytes;
    bool soon = shown->percent >= 0 && percent < shown->percent + LINE_STEP && percent < 100;
    if (percent == shown->percent || (!shown->terminal && soon)) return;
    shown->percent = percent;
    if (!shown->terminal) {
        fprintf(stderr, "%3d %%  %" PRId64 " of %" PRId64 " tensors, %.0f of %.0f MiB\n", percent,
                progress->tensors_done, progress->tensors, (double)progress->bytes_done * mega,
                (double)progress->bytes * mega);
        return;
    }
    char bar[WIDTH + 1];
    for (int i = 0; i < WIDTH; i++) bar[i] = i * 100 < percent * WIDTH ? '#' : '.';
    bar[WIDTH] = 0;
    fprintf(stderr, "\r[%s] %3d %%  %.0f of %.0f MiB  %-40.40s", bar, percent, (double)progress->bytes_done * mega,
            (double)progress->bytes * mega, progress->tensor);
    fflush(stderr);
}

/* ---- convert ------------------------------------------------------------------------------------------------------- */

static const struct command_usage convert_usage = {
    "model convert", "IN OUT",
    "Write a model anew: GGUF from a Hugging Face or native Mistral folder or another GGUF, or a Hugging Face folder\n"
    "(safetensors) from a GGUF. IN is a .gguf file or a folder. OUT appears only when it is whole.\n\n"
    "Types: keep, f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, q4_k, q5_k, q6_k. Vectors and routers stay F32; the\n"
    "output matrix gets Q6_K where the type has fewer bits; q4_k and q5_k are mixes as llama.cpp's q4_k_m and q5_k_m, "
    "which\n"
    "are names for them. Rows that a type's blocks do not divide get another, which is said.",
    2, 2};

static int convert(const char *in, const char *out, const struct convert_options *options) {
    struct checkpoint *checkpoint = NULL;
    struct error err = {0};
    struct bytes notes;
    bytes_init(&notes, 1 << 16);
    enum status status = checkpoint_open(in, &checkpoint, &err);
    if (status == STATUS_OK) status = convert_model(checkpoint, out, options, &notes, &err);
    const struct shown *shown = options->progress_context;
    if (shown->terminal && shown->percent >= 0) fprintf(stderr, "\n");
    if (notes.length > 0) fputs((const char *)notes.data, stderr);
    if (status == STATUS_OK)
        fprintf(stderr, "Wrote %s: %" PRId64 " tensors, %.1f MiB.\n", out, shown->tensors,
                (double)shown->bytes / (1 << 20));
    else
        fprintf(stderr, "bora: %s\n", err.message);
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

static void writing_init(struct writing *writing) {
    *writing = (struct writing){.shown = {.terminal = isatty(STDERR_FILENO) != 0, .percent = -1}};
    writing->options = (struct convert_options){
        .progress = show_progress, .progress_context = &writing->shown, .stop = &stopped, .to = CONVERT_TO_GGUF};
}

static int write_model(const struct command_usage *usage, struct writing *writing, const char *const words[2]) {
    if (writing->threads.given && (writing->threads.value < 1 || writing->threads.value > 256))
        return usage_error(usage, "--threads: from 1 to 256");
    if (words[1][0] == 0) return usage_error(usage, "OUT is empty");
    writing->options.threads = (int)writing->threads.value;
    const struct sigaction action = {.sa_handler = stop};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    return convert(words[0], words[1], &writing->options);
}

int command_model_convert(int argc, char **argv) {
    const char *words[2], *type = "keep", *to = "gguf";
    struct writing writing;
    writing_init(&writing);
    struct convert_options *options = &writing.options;
    const struct argument own[] = {
        {ARGUMENT_TEXT, "type", "TYPE", "type of the matrices (keep)", &type},
        {ARGUMENT_TEXT, "to", "FORM", "gguf or safetensors (gguf)", &to},
        {ARGUMENT_FLAG, "force", NULL, "replace OUT if it is there", &options->force},
        {ARGUMENT_INTEGER, "threads", "N", "threads (all)", &writing.threads},
        {ARGUMENT_END, NULL, NULL, NULL, NULL},
    };
    const struct argument none[] = {{ARGUMENT_END, NULL, NULL, NULL, NULL}};
    int count = 0, result = arguments_parse(&convert_usage, own, none, argc, argv, words, &count);
    if (result != GO_ON) return result;
    options->keep = strcmp(type, "keep") == 0;
    if (!options->keep && !convert_type_parse(type, &options->type))
        return usage_error(&convert_usage,
                           "--type: '%.64s' is none of keep, f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, q4_k, q5_k, "
                           "q6_k",
                           type);
    if (strcmp(to, "safetensors") == 0)
        options->to = CONVERT_TO_HUGGING_FACE;
    else if (strcmp(to, "gguf") != 0)
        return usage_error(&convert_usage, "--to: '%.64s' is neither gguf nor safetensors", to);
    return write_model(&convert_usage, &writing, words);
}

/* ---- upcycle --------------------------------------------------------------------------------------------------------- */

static const struct command_usage upcycle_usage = {
    "model upcycle", "DENSE OUT",
    "Make a mixture of experts (GGUF, as Mixtral) of a dense Llama or Mistral: every feed-forward network becomes "
    "copies of itself\n"
    "behind a random router. Without noise it computes what the dense model computes.",
    2, 2};

int command_model_upcycle(int argc, char **argv) {
    const char *words[2];
    struct argument_integer experts = {.value = 8}, used = {.value = 2}, seed = {0};
    struct argument_number noise = {0};
    struct writing writing;
    writing_init(&writing);
    const struct argument own[] = {
        {ARGUMENT_INTEGER, "experts", "N", "experts of a layer (8)", &experts},
        {ARGUMENT_INTEGER, "experts-per-token", "N", "experts that a token is sent to (2)", &used},
        {ARGUMENT_NUMBER, "noise", "S", "noise in the experts' weights, relative to their size (0)", &noise},
        {ARGUMENT_INTEGER, "seed", "N", "of the routers and the noise (0)", &seed},
        {ARGUMENT_FLAG, "force", NULL, "replace OUT if it is there", &writing.options.force},
        {ARGUMENT_INTEGER, "threads", "N", "threads (all)", &writing.threads},
        {ARGUMENT_END, NULL, NULL, NULL, NULL},
    };
    const struct argument none[] = {{ARGUMENT_END, NULL, NULL, NULL, NULL}};
    int count = 0, result = arguments_parse(&upcycle_usage, own, none, argc, argv, words, &count);
    if (result != GO_ON) return result;
    if (experts.value < 2 || experts.value > 256 || used.value < 1 || used.value > experts.value)
        return usage_error(&upcycle_usage, "--experts: from 2 to 256, and --experts-per-token from 1 to that");
    if (!(noise.value >= 0 && noise.value <= 1)) return usage_error(&upcycle_usage, "--noise: from 0 to 1");
    const struct convert_upcycle upcycle = {(int)experts.value, (int)used.value, noise.value, (uint64_t)seed.value};
    writing.options.keep = true;
    writing.options.upcycle = &upcycle;
    return write_model(&upcycle_usage, &writing, words);
}

/* ---- inspect --------------------------------------------------------------------------------------------------------- */

static const struct command_usage inspect_usage = {
    "model inspect", "PATH",
    "Say what a model is: its form, architecture and config, tokenizer, parameters, and bytes by type. PATH is a .gguf "
    "file\n"
    "or a folder. Of a damaged file as much as can be read is shown, and what is wrong.",
    1, 1};

int command_model_inspect(int argc, char **argv) {
    enum { OUTPUT_BYTES_MAX = 256 << 20 };
    const char *path = NULL;
    struct inspect_options options = {0};
    const struct argument own[] = {{ARGUMENT_FLAG, "tensors", NULL, "list every tensor", &options.tensors},
                                   {ARGUMENT_FLAG, "json", NULL, "for scripts", &options.json},
                                   {ARGUMENT_END, NULL, NULL, NULL, NULL}};
    const struct argument none[] = {{ARGUMENT_END, NULL, NULL, NULL, NULL}};
    int count = 0, result = arguments_parse(&inspect_usage, own, none, argc, argv, &path, &count);
    if (result != GO_ON) return result;
    struct bytes out;
    struct error err = {0};
    bytes_init(&out, OUTPUT_BYTES_MAX);
    enum status status = inspect_model(path, &options, &out, &err);
    if (out.length > 0) fwrite(out.data, 1, out.length, stdout);
    bool out_failed = out.failed;
    bytes_deinit(&out);
    if (status == STATUS_OK) return EXIT_OK;
    if (!options.json || out_failed) fprintf(stderr, "bora: %s\n", err.message);
    return EXIT_FAILED;
}
