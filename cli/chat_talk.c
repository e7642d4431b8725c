/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * A conversation on a terminal. libedit edits the lines and keeps their history; Ctrl-C on a line drops it, in an answer it ends the answer; Ctrl-D on
 * an empty line ends the program.
 */
#include "base/limits.h"
#include "cli/chat.h"
#include "cli/print.h"
#include "cli/served.h"
#include "cli/terminal.h"

#include <fcntl.h>
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TURNS_MAX = LIMIT_MESSAGES - 1, HISTORY_LINES = 1000, PATH_BYTES_MAX = 4096 };
static const char block_mark[] = "\"\"\"";

static volatile sig_atomic_t interrupted;

struct talk {
    const struct command_usage *usage;
    struct connection *connection;
    struct chat_options *options;
    char *model, *system; /* what /model and /system set; the options point here */
    struct chat_turn turns[TURNS_MAX];
    size_t count;
    struct sigaction usual_interrupt;
    EditLine *line;
    History *history;
    char history_path[PATH_BYTES_MAX]; /* "": none is kept */
    struct bytes input;                /* lines that belong together */
    bool in_block, goes_on, ended;
};

/* --- lines --------------------------------------------------------------------------------------------------------- */

static char *prompt(EditLine *line) {
    static char first[] = ">>> ", further[] = "... ";
    void *client = NULL;
    el_get(line, EL_CLIENTDATA, &client);
    const struct talk *talk = client;
    return talk->in_block || talk->goes_on ? further : first;
}

/** Ctrl-C on a line: away with it, and with those before that it belongs to. */
static unsigned char drop_line(EditLine *line, int character) {
    (void)character;
    void *client = NULL;
    el_get(line, EL_CLIENTDATA, &client);
    struct talk *talk = client;
    const LineInfo *info = el_line(line);
    bool empty = info->lastchar == info->buffer && !talk->in_block && !talk->goes_on;
    talk->in_block = talk->goes_on = false;
    bytes_reset(&talk->input);
    el_cursor(line, (int)(info->lastchar - info->cursor));
    el_deletestr(line, (int)(info->lastchar - info->buffer));
    fputs(empty ? "^C  (Ctrl-D or /exit ends)\n" : "^C\n", stdout);
    fflush(stdout);
    return CC_REDISPLAY;
}

/** Where lines are kept: ${XDG_STATE_HOME:-~/.local/state}/bora/history, for their owner alone. */
static void find_history(struct talk *talk) {
    const char *base = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    char *path = talk->history_path;
    int length = base != NULL && base[0] == '/' ? snprintf(path, PATH_BYTES_MAX, "%s/bora/history", base)
                 : home != NULL                 ? snprintf(path, PATH_BYTES_MAX, "%s/.local/state/bora/history", home)
                                                : 0;
    if (length <= 0 || length >= PATH_BYTES_MAX) {
        path[0] = 0;
        return;
    }
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        (void)!mkdir(path, 0700);
        *slash = '/';
    }
    int descriptor = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600); /* libedit would make it readable for all */
    if (descriptor < 0)
        path[0] = 0;
    else
        close(descriptor);
}

static void on_interrupt(int signal_number) {
    (void)signal_number;
    interrupted = 1;
}

static bool open_lines(struct talk *talk, bool keep_history) {
    /* Between answers as well: the program's end by a signal would leave the terminal as the editor has set it. */
    const struct sigaction stop = {.sa_handler = on_interrupt, .sa_flags = SA_RESTART};
    HistEvent event;
    sigaction(SIGINT, &stop, &talk->usual_interrupt);
    setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0) setlocale(LC_CTYPE, "C.UTF-8"); /* models answer in it */
    talk->line = el_init("bora", stdin, stdout, stderr);
    talk->history = history_init();
    if (talk->line == NULL || talk->history == NULL) return false;
    history(talk->history, &event, H_SETSIZE, HISTORY_LINES);
    history(talk->history, &event, H_SETUNIQUE, 1);
    if (keep_history) find_history(talk);
    if (talk->history_path[0] != 0) history(talk->history, &event, H_LOAD, talk->history_path);
    el_set(talk->line, EL_CLIENTDATA, talk);
    el_set(talk->line, EL_PROMPT, prompt);
    el_set(talk->line, EL_EDITOR, "emacs");
    el_set(talk->line, EL_HIST, history, talk->history);
    el_set(talk->line, EL_SETTY, "-d", "-isig", NULL); /* Ctrl-C is a key while a line is edited */
    /* Between lines too, what is typed waits as keys: as an end of input Ctrl-D would be lost on its way to the editor. */
    el_set(talk->line, EL_SETTY, "-x", "-icanon", NULL);
    el_set(talk->line, EL_ADDFN, "bora-drop-line", "drop the line", drop_line);
    el_set(talk->line, EL_BIND, "^C", "bora-drop-line", NULL);
    el_set(talk->line, EL_BIND, "^R", "em-inc-search-prev", NULL);
    return true;
}

static void close_lines(struct talk *talk) {
    HistEvent event;
    if (talk->history_path[0] != 0) history(talk->history, &event, H_SAVE, talk->history_path);
    if (talk->line != NULL) el_end(talk->line);
    if (talk->history != NULL) history_end(talk->history);
    sigaction(SIGINT, &talk->usual_interrupt, NULL);
}

/** All of what was typed, or NULL while more lines belong to it: a line that ends with a backslash goes on, """ opens and closes a block of lines. */
static const char *take_line(struct talk *talk, const char *line, size_t length) {
    HistEvent event;
    if (length > 0 && line[length - 1] == '\n') length--;
    char *text = strndup(line, length);
    if (text == NULL) return NULL;
    if (text[strspn(text, " ")] != 0) history(talk->history, &event, H_ENTER, text);
    const char *from = text;
    size_t mark = sizeof block_mark - 1;
    if (!talk->in_block && !talk->goes_on) bytes_reset(&talk->input);
    if (!talk->in_block && !talk->goes_on && strncmp(from, block_mark, mark) == 0) {
        talk->in_block = true;
        from += mark;
        length -= mark;
    }
    bool closes = talk->in_block && length >= mark && strcmp(from + length - mark, block_mark) == 0;
    talk->goes_on = !talk->in_block && length > 0 && from[length - 1] == '\\';
    (void)!bytes_append(&talk->input, from, closes ? length - mark : talk->goes_on ? length - 1 : length);
    if (closes) talk->in_block = false;
    free(text);
    if (!talk->in_block && !talk->goes_on) {
        (void)!bytes_append(&talk->input, "", 0); /* an empty line is a text too */
        return talk->input.data != NULL ? (const char *)talk->input.data : "";
    }
    (void)!bytes_append_byte(&talk->input, '\n');
    return NULL;
}

/* --- turns --------------------------------------------------------------------------------------------------------- */

static void forget(struct talk *talk, size_t from) {
    for (size_t i = from; i < talk->count; i++) free(talk->turns[i].text);
    talk->count = from;
}

static bool remember(struct talk *talk, bool assistant, const char *text) {
    char *copy = talk->count < TURNS_MAX ? strdup(text) : NULL;
    if (copy == NULL) {
        print_failure("the conversation is too long: /clear begins a new one");
        return false;
    }
    talk->turns[talk->count++] = (struct chat_turn){.assistant = assistant, .text = copy};
    return true;
}

/** A turn of each side. What cannot be asked is forgotten; an answer that was ended stays as far as it came. */
static void ask(struct talk *talk, const char *question) {
    struct bytes request, answer;
    size_t before = talk->count;
    const struct chat_reader reader = {.model = talk->options->model,
                                       .max_tokens =
                                           talk->options->max_tokens.given ? talk->options->max_tokens.value : -1,
                                       .usage = talk->options->usage,
                                       .transcript = &answer,
                                       .stopped = &interrupted};
    bytes_init(&request, LIMIT_REQUEST_BODY_BYTES_MAX);
    bytes_init(&answer, LIMIT_ANSWER_BYTES);
    bool asked = remember(talk, false, question) &&
                 chat_pack(talk->usage, talk->options, talk->turns, talk->count, &request) == GO_ON;
    int result = asked ? chat_stream(talk->connection, bytes_view(&request), &reader) : EXIT_FAILED;
    arena_reset(&talk->connection->arena); /* lists of models that were told after a refusal */
    if (result == EXIT_INTERRUPTED) terminal_note("(ended)\n");
    bool answered = (result == EXIT_OK || result == EXIT_INTERRUPTED) && answer.length > 0;
    if (!answered || !remember(talk, true, (const char *)answer.data)) forget(talk, before);
    bytes_deinit(&request);
    bytes_deinit(&answer);
}

/* --- commands ------------------------------------------------------------------------------------------------------ */

static void help(struct talk *talk, const char *rest) {
    (void)talk, (void)rest;
    fputs("/clear           forget what was said\n"
          "/model [NAME]    ask another model, or list what is served\n"
          "/system [TEXT]   instructions from the next turn on; without a text, none\n"
          "/usage           token counts behind answers, on and off\n"
          "/exit            end; Ctrl-D too\n"
          "A line that ends with \\ goes on; \"\"\" opens and closes several lines. Ctrl-C ends an answer, or drops a "
          "line.\n",
          stdout);
}

static void clear(struct talk *talk, const char *rest) {
    (void)rest;
    forget(talk, 0);
}

static void set_model(struct talk *talk, const char *rest) {
    const Bora__V1__ModelList *list = NULL;
    if (rest[0] == 0) {
        if (served_fetch(talk->connection, &list) != GO_ON) return;
        fputs("asked: ", stdout);
        print_line(stdout, talk->options->model);
        fputs("; served: ", stdout);
        served_print_names(stdout, list);
        printf("\n");
        arena_reset(&talk->connection->arena);
        return;
    }
    talk->connection->quiet = true;
    bool known = served_fetch(talk->connection, &list) != GO_ON || served_has(list, rest);
    talk->connection->quiet = false;
    if (!known) {
        fputs("no model is served as ", stdout);
        print_line(stdout, rest);
        fputs(", so the next question goes to ", stdout);
        print_line(stdout, talk->options->model);
        fputs("; served: ", stdout);
        served_print_names(stdout, list);
        printf("\n");
    }
    arena_reset(&talk->connection->arena);
    if (!known) return;
    free(talk->model);
    talk->model = strdup(rest);
    if (talk->model != NULL) talk->options->model = talk->model;
}

static void set_system(struct talk *talk, const char *rest) {
    free(talk->system);
    talk->system = rest[0] != 0 ? strdup(rest) : NULL;
    talk->options->system = talk->system;
}

static void toggle_usage(struct talk *talk, const char *rest) {
    (void)rest;
    talk->options->usage = !talk->options->usage;
    printf("token counts: %s\n", talk->options->usage ? "on" : "off");
}

static void end(struct talk *talk, const char *rest) {
    (void)rest;
    talk->ended = true;
}

static void run_command(struct talk *talk, const char *text) {
    static const struct {
        const char *word;
        void (*run)(struct talk *talk, const char *rest);
    } commands[] = {
        {"/help", help},          {"/?", help},   {"/clear", clear}, {"/model", set_model}, {"/system", set_system},
        {"/usage", toggle_usage}, {"/exit", end}, {"/quit", end},    {"/bye", end}};
    size_t length = strcspn(text, " ");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strlen(commands[i].word) != length || memcmp(commands[i].word, text, length) != 0) continue;
        commands[i].run(talk, text + length + strspn(text + length, " "));
        return;
    }
    fprintf(stderr, "there is no %.*s here; /help says what there is\n", (int)(length < 32 ? length : 32), text);
}

/* --- the conversation ---------------------------------------------------------------------------------------------- */

static void talk_on(struct talk *talk) {
    terminal_note("%s. /help tells more.\n", talk->options->model);
    while (!talk->ended) {
        int length = 0;
        interrupted = 0; /* from here on: a Ctrl-C that comes as soon as the line is complete ends its answer */
        const char *line = el_gets(talk->line, &length);
        if (line == NULL || length <= 0) break; /* Ctrl-D */
        const char *text = take_line(talk, line, (size_t)length);
        if (text == NULL || text[strspn(text, " \n")] == 0) continue;
        if (text[0] == '/' && strchr(text, '\n') == NULL)
            run_command(talk, text);
        else
            ask(talk, text);
    }
    if (!talk->ended) printf("\n");
}

int chat_talk(const struct command_usage *usage, struct connection *connection, struct chat_options *options,
              bool keep_history) {
    struct talk *talk = calloc(1, sizeof *talk);
    if (talk == NULL) return EXIT_FAILED;
    *talk = (struct talk){.usage = usage, .connection = connection, .options = options};
    bytes_init(&talk->input, LIMIT_REQUEST_BODY_BYTES_MAX);
    int result = chat_choose_model(connection, options);
    if (result == GO_ON) {
        /* a copy: the list it may point into is in the connection's arena */
        talk->model = strdup(options->model);
        options->model = talk->model != NULL ? talk->model : "";
        bool opened = open_lines(talk, keep_history);
        if (opened)
            talk_on(talk);
        else
            print_failure("this terminal cannot be used");
        close_lines(talk);
        result = opened ? EXIT_OK : EXIT_FAILED;
    }
    forget(talk, 0);
    bytes_deinit(&talk->input);
    free(talk->model);
    free(talk->system);
    free(talk);
    return result;
}
