/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* bora(1), written from the table of commands. */
#include "cli/commands.h"
#include "cli/config.h"
#include "cli/connection.h"
#include "cli/help.h"

#include <ctype.h>
#include <string.h>

/* Of the text, not of the build, which stays reproducible. */
#define MANUAL_DATE "2026-11-30"

/** Text for roff: its escape character, hyphens that are minus signs, and what begins a line as a request does. */
static void print_escaped(FILE *file, const char *text, bool line_begins) {
    for (; *text != 0; text++) {
        if (line_begins && (*text == '.' || *text == '\'')) fputs("\\&", file);
        line_begins = *text == '\n';
        if (*text == '\\')
            fputs("\\e", file);
        else if (*text == '-')
            fputs("\\-", file);
        else
            fputc(*text, file);
    }
}

/** A summary: lines that are indented, or stand alone between empty ones of these, are kept as they are. */
static void print_summary(FILE *file, const char *text) {
    bool kept = false;
    while (*text != 0) {
        size_t length = strcspn(text, "\n");
        char line[512];
        snprintf(line, sizeof line, "%.*s", (int)length, text);
        bool indented = line[0] == ' ';
        if (indented && !kept) fputs(".nf\n", file);
        if (!indented && kept) fputs(".fi\n", file);
        kept = indented;
        if (length == 0)
            fputs(".sp\n", file);
        else
            print_escaped(file, line, true), fputc('\n', file);
        text += length + (text[length] == '\n');
    }
    if (kept) fputs(".fi\n", file);
}

static void print_options(FILE *file, const struct argument *table) {
    for (; table->type != ARGUMENT_END; table++) {
        if (table->help == NULL) continue;
        fputs(".TP\n.B \\-\\-", file);
        print_escaped(file, table->name, false);
        if (table->value_name != NULL) {
            fputs(" \\fI", file);
            print_escaped(file, table->value_name, false);
            fputs("\\fR", file);
        }
        fputc('\n', file);
        print_escaped(file, table->help, true);
        fputc('\n', file);
    }
}

static void print_command(FILE *file, const struct command *command) {
    fputs(".SS \"bora ", file);
    print_escaped(file, command->usage.words, false);
    for (const char *c = command->usage.positionals; *c != 0; c++) {
        if (c == command->usage.positionals) fputc(' ', file);
        if (*c == '"') fputs("\\(dq", file);
        if (*c == '-') fputc('\\', file);
        if (*c != '"') fputc(*c, file);
    }
    fputs("\"\n", file);
    print_summary(file, command->usage.summary);
    print_options(file, command->arguments);
}

static void print_entries(FILE *file, const struct help_entry *entries) {
    for (; entries->name != NULL; entries++) {
        fprintf(file, ".TP\n.B %s\n", entries->name);
        print_escaped(file, entries->text, true);
        fputc('\n', file);
    }
}

static void print_commands(FILE *file) {
    const char *group = "";
    for (const struct command_noun *noun = command_nouns; noun->commands != NULL; noun++) {
        if (strcmp(group, noun->group) != 0) {
            fputs(".SH \"", file);
            for (const char *c = noun->group; *c != 0; c++) fputc(toupper((unsigned char)*c), file);
            fputs("\"\n", file);
        }
        group = noun->group;
        for (const struct command *command = noun->commands; command->usage.words != NULL; command++)
            print_command(file, command);
    }
}

static void print_files(FILE *file) {
    fputs(".SH FILES\n.TP\n.I ${XDG_CONFIG_HOME:\\-~/.config}/bora/config\n"
          "Sections are profiles, [default] the one that is used unless told otherwise. A flag goes before the "
          "environment, that before this file.\nThe settings:\n",
          file);
    for (int i = 0; i < CONFIG_NAMES; i++) {
        fputs(".RS\n.TP\n.B ", file);
        print_escaped(file, config_entries[i].name, false);
        fputc('\n', file);
        print_escaped(file, config_entries[i].help, true);
        fputs("\n.RE\n", file);
    }
}

void manual_print(FILE *file) {
    fprintf(file,
            ".\\\" Copyright Bora contributors\n.\\\" SPDX-License-Identifier: Apache-2.0\n.\\\" Written by `bora help "
            "--man`.\n.TH BORA 1 \"" MANUAL_DATE
            "\" \"bora %s\" \"Bora\"\n.SH NAME\nbora \\- ask, administer and inspect a Bora "
            "gateway\n.SH SYNOPSIS\n.B bora\n.I COMMAND\n[\\fIoptions\\fR]\n.SH DESCRIPTION\nA client of a Bora "
            "gateway, and a tool for model files and grammars.\nResults go to standard output, notes and errors to "
            "standard error.\n",
            BORA_VERSION);
    print_commands(file);
    fputs(".SH \"OPTIONS OF EVERY COMMAND THAT ASKS A GATEWAY\"\n", file);
    print_options(file, connection_arguments);
    fputs(".SH ENVIRONMENT\n", file);
    print_entries(file, help_variables);
    print_files(file);
    fputs(".SH \"EXIT STATUS\"\n", file);
    print_entries(file, help_exits);
}
