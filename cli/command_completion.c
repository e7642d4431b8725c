/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Completion scripts for shells, written from the table of commands. */
#include "cli/commands.h"
#include "cli/config.h"
#include "cli/connection.h"

#include <string.h>

/** How a value or a word is completed. COMPLETES_NAMES: by what a noun's `list --names` says. */
enum completes { COMPLETES_NOTHING, COMPLETES_FILES, COMPLETES_WORDS, COMPLETES_MODELS, COMPLETES_NAMES };

static const struct {
    const char *value_name, *noun;
} named[] = {{"KEY_ID", "keys"}, {"WORKSPACE", "workspaces"}, {"ORGANIZATION", "orgs"}};
enum { NAMED = sizeof named / sizeof *named };

/** The noun that lists such values, or NULL. */
static const char *noun_of(const char *value_name) {
    for (size_t i = 0; i < NAMED; i++) {
        if (strcmp(value_name, named[i].value_name) == 0) return named[i].noun;
    }
    return NULL;
}

/** "SETTING", "SETTING [VALUE]": a name of the configuration file. */
static bool is_setting(const char *value_name) {
    return strncmp(value_name, "SETTING", strlen("SETTING")) == 0;
}

static enum completes kind_of(const char *value_name) {
    static const char *const files[] = {"FILE", "PATH", "IN OUT", "DENSE OUT"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (strcmp(value_name, files[i]) == 0) return COMPLETES_FILES;
    }
    if (strcmp(value_name, "MODEL") == 0) return COMPLETES_MODELS;
    if (noun_of(value_name) != NULL) return COMPLETES_NAMES;
    if (is_setting(value_name)) return COMPLETES_WORDS;
    return strchr(value_name, '|') != NULL ? COMPLETES_WORDS : COMPLETES_NOTHING;
}

/** "a|b" as "a b", or the names of settings. */
static void print_words(const char *choices) {
    if (is_setting(choices)) {
        for (int i = 0; i < CONFIG_NAMES; i++) printf("%s%s", i > 0 ? " " : "", config_entries[i].name);
        return;
    }
    for (; *choices != 0; choices++) putchar(*choices == '|' ? ' ' : *choices);
}

static bool takes_two_words(const struct command *command) {
    return strchr(command->usage.words, ' ') != NULL;
}

/* --- bash ---------------------------------------------------------------------------------------------------------- */

static void bash_values(enum completes kind, const char *value_name) {
    switch (kind) {
    case COMPLETES_FILES:
        fputs("files=1", stdout);
        break;
    case COMPLETES_WORDS:
        fputs("values='", stdout);
        print_words(value_name);
        putchar('\'');
        break;
    case COMPLETES_MODELS:
        /* compgen -W expands what is in its words, and names come from a server. */
        fputs("values=$(bora models --quiet --timeout 2s 2>/dev/null | grep -E '^[A-Za-z0-9._:/@+-]+$')", stdout);
        break;
    case COMPLETES_NAMES:
        printf("names=%s", noun_of(value_name));
        break;
    default:
        fputs(":", stdout);
        break;
    }
}

/** Cases of `$prev` that take a value. */
static void bash_options(const struct argument *table, const char *indent) {
    for (; table->type != ARGUMENT_END; table++) {
        if (table->help == NULL || table->type == ARGUMENT_FLAG) continue;
        printf("%s--%s) value=1; ", indent, table->name);
        bash_values(kind_of(table->value_name), table->value_name);
        fputs(" ;;\n", stdout);
    }
}

static void bash_names(const struct argument *table) {
    for (; table->type != ARGUMENT_END; table++) {
        if (table->help != NULL) printf("--%s ", table->name);
    }
}

static void bash_command(const struct command *command, bool also_noun) {
    char first[COMMAND_NOUN_BYTES];
    const char *second;
    command_words(command, first, &second);
    printf("    '%s'%s%s%s)\n", command->usage.words, also_noun ? "|'" : "", also_noun ? first : "",
           also_noun ? "'" : "");
    fputs("      options='", stdout);
    bash_names(command->arguments);
    printf("--help'\n      common=%d\n      case $prev in\n", command->connects);
    bash_options(command->arguments, "        ");
    fputs("        *) ", stdout);
    bash_values(kind_of(command->usage.positionals), command->usage.positionals);
    fputs(" ;;\n      esac ;;\n", stdout);
}

static void bash_nouns(void) {
    char first[COMMAND_NOUN_BYTES];
    const char *second;
    fputs("  local nouns='", stdout);
    for (const struct command_noun *noun = command_nouns; noun->commands != NULL; noun++) {
        command_words(noun->commands, first, &second);
        printf("%s ", first);
    }
    fputs("--help --version' verbs=''\n  case $noun in\n", stdout);
    for (const struct command_noun *noun = command_nouns; noun->commands != NULL; noun++) {
        if (!takes_two_words(noun->commands)) continue;
        command_words(noun->commands, first, &second);
        printf("    %s) verbs='", first);
        for (const struct command *command = noun->commands; command->usage.words != NULL; command++) {
            command_words(command, first, &second);
            printf("%s ", second);
        }
        fputs("--help' ;;\n", stdout);
    }
    fputs("  esac\n", stdout);
}

static void print_bash(void) {
    fputs(
        "# bash completion of bora; written by `bora completion bash`\n"
        "_bora_names() { # of a noun's list: names may have blanks, and are matched as they are and as they are "
        "quoted\n"
        "  local name quoted\n"
        "  while IFS=$'\\t' read -r name _; do\n"
        "    printf -v quoted %q \"$name\"\n"
        "    if [[ $name == \"$cur\"* || $quoted == \"$cur\"* ]]; then COMPREPLY+=(\"$quoted\"); fi\n"
        "  done < <(bora \"$1\" list --names --timeout 2s 2>/dev/null)\n"
        "}\n"
        "_bora() {\n"
        "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
        "  if [[ $cur == = ]]; then cur=''; elif [[ $prev == = ]]; then prev=${COMP_WORDS[COMP_CWORD-2]}; fi\n"
        "  local noun=${COMP_WORDS[1]} verb=${COMP_WORDS[2]} options='' values='' names='' files=0 value=0 common=0\n",
        stdout);
    bash_nouns();
    fputs("  if ((COMP_CWORD == 1)); then COMPREPLY=($(compgen -W \"$nouns\" -- \"$cur\")); return; fi\n"
          "  if [[ $noun == help ]]; then\n"
          "    if ((COMP_CWORD == 2)); then COMPREPLY=($(compgen -W \"$nouns\" -- \"$cur\")); fi\n"
          "    return\n"
          "  fi\n"
          "  if [[ -n $verbs ]] && ((COMP_CWORD == 2)) && [[ $cur != -* ]]; then\n"
          "    COMPREPLY=($(compgen -W \"$verbs\" -- \"$cur\")); return\n"
          "  fi\n"
          "  local command=$noun\n"
          "  if [[ -n $verbs && $verb != -* ]]; then command=\"$noun $verb\"; fi\n"
          "  case $command in\n",
          stdout);
    for (const struct command_noun *noun = command_nouns; noun->commands != NULL; noun++) {
        for (const struct command *command = noun->commands; command->usage.words != NULL; command++)
            bash_command(command, command->is_default);
    }
    fputs("  esac\n  if ((common)); then\n    options+=' ", stdout);
    bash_names(connection_arguments);
    fputs("'\n    case $prev in\n", stdout);
    bash_options(connection_arguments, "      ");
    fputs("    esac\n  fi\n"
          "  if [[ $cur == -* ]] && ((!value)); then COMPREPLY=($(compgen -W \"$options\" -- \"$cur\")); return; fi\n"
          "  COMPREPLY=($(compgen -W \"$values\" -- \"$cur\"))\n"
          "  if [[ -n $names ]]; then _bora_names \"$names\"; fi\n"
          "  if ((files)); then compopt -o filenames 2>/dev/null; COMPREPLY+=($(compgen -f -- \"$cur\")); fi\n"
          "}\n"
          "complete -F _bora bora\n",
          stdout);
}

/* --- zsh ----------------------------------------------------------------------------------------------------------- */

/** Inside '...', where `special` has a meaning of its own. */
static void zsh_quoted(const char *text, const char *special) {
    for (; *text != 0; text++) {
        if (*text == '\'')
            fputs("'\\''", stdout);
        else if (strchr(special, *text) != NULL)
            printf("\\%c", *text);
        else
            putchar(*text);
    }
}

static void zsh_action(const char *value_name) {
    switch (kind_of(value_name)) {
    case COMPLETES_FILES:
        fputs("_files", stdout);
        break;
    case COMPLETES_WORDS:
        putchar('(');
        print_words(value_name);
        putchar(')');
        break;
    case COMPLETES_MODELS:
        fputs("_bora_models", stdout);
        break;
    case COMPLETES_NAMES:
        printf("_bora_%s", noun_of(value_name));
        break;
    default:
        putchar(' ');
        break;
    }
}

static void zsh_options(const struct argument *table) {
    for (; table->type != ARGUMENT_END; table++) {
        if (table->help == NULL) continue;
        printf("        '%s--%s%s[", table->type == ARGUMENT_LIST ? "*" : "", table->name,
               table->type == ARGUMENT_FLAG ? "" : "=");
        zsh_quoted(table->help, "[]\\:");
        putchar(']');
        if (table->type != ARGUMENT_FLAG) {
            putchar(':');
            zsh_quoted(table->value_name, "[]\\:");
            putchar(':');
            zsh_action(table->value_name);
        }
        fputs("' \\\n", stdout);
    }
}

static void zsh_command(const struct command *command) {
    char first[COMMAND_NOUN_BYTES];
    const char *second;
    command_words(command, first, &second);
    printf("    '%s'%s%s%s)\n      _arguments \\\n", command->usage.words, command->is_default ? "|'" : "",
           command->is_default ? first : "", command->is_default ? "'" : "");
    zsh_options(command->arguments);
    fputs("        '--help[show this]'", stdout);
    if (command->connects) fputs(" \\\n        \"${common[@]}\"", stdout);
    if (command->usage.positional_max > 0) {
        fputs(" \\\n        '*:", stdout);
        zsh_quoted(command->usage.positionals, "[]\\:");
        putchar(':');
        zsh_action(command->usage.positionals);
        putchar('\'');
    }
    fputs(" ;;\n", stdout);
}

static void zsh_lists(void) {
    char first[COMMAND_NOUN_BYTES];
    const char *second;
    fputs("  nouns=(\n", stdout);
    for (const struct command_noun *noun = command_nouns; noun->commands != NULL; noun++) {
        command_words(noun->commands, first, &second);
        printf("    '%s:", first);
        zsh_quoted(noun->commands->help, ":\\");
        fputs("'\n", stdout);
    }
    fputs("  )\n  case $words[2] in\n", stdout);
    for (const struct command_noun *noun = command_nouns; noun->commands != NULL; noun++) {
        if (!takes_two_words(noun->commands)) continue;
        command_words(noun->commands, first, &second);
        printf("    %s) verbs=(\n", first);
        for (const struct command *command = noun->commands; command->usage.words != NULL; command++) {
            command_words(command, first, &second);
            printf("      '%s:", second);
            zsh_quoted(command->help, ":\\");
            fputs("'\n", stdout);
        }
        fputs("    ) ;;\n", stdout);
    }
    fputs("  esac\n", stdout);
}

static void print_zsh(void) {
    fputs("#compdef bora\n# zsh completion of bora; written by `bora completion zsh`\n"
          "_bora_models() { compadd -- ${(f)\"$(bora models --quiet --timeout 2s 2>/dev/null)\"} }\n"
          "_bora_names() {\n"
          "  local -a names\n"
          "  names=(${(f)\"$(bora $1 list --names --timeout 2s 2>/dev/null)\"})\n"
          "  names=(\"${(@)names//:/\\\\:}\")\n"
          "  names=(\"${(@)names/$'\\t'/:}\")\n"
          "  _describe $1 names\n"
          "}\n",
          stdout);
    for (size_t i = 0; i < NAMED; i++) printf("_bora_%s() { _bora_names %s }\n", named[i].noun, named[i].noun);
    fputs("_bora() {\n  local -a nouns verbs common\n  local command\n  common=(\n", stdout);
    zsh_options(connection_arguments);
    fputs("  )\n", stdout);
    zsh_lists();
    fputs(
        "  if (( CURRENT == 2 )); then _describe command nouns; return; fi\n"
        "  if [[ $words[2] == help ]]; then _describe command nouns; return; fi\n"
        "  if (( CURRENT == 3 && $#verbs )) && [[ $words[3] != -* ]]; then _describe command verbs; return; fi\n"
        "  command=$words[2]\n"
        "  if (( $#verbs )) && [[ $words[3] != -* ]]; then command+=\" $words[3]\"; shift words; (( CURRENT-- )); fi\n"
        "  shift words; (( CURRENT-- ))\n"
        "  case $command in\n",
        stdout);
    for (const struct command_noun *noun = command_nouns; noun->commands != NULL; noun++) {
        for (const struct command *command = noun->commands; command->usage.words != NULL; command++)
            zsh_command(command);
    }
    fputs("  esac\n}\n"
          "if [[ $funcstack[1] == _bora ]]; then _bora \"$@\"; else compdef _bora bora; fi\n",
          stdout);
}

/* --- fish ---------------------------------------------------------------------------------------------------------- */

static void fish_quoted(const char *text) {
    putchar('\'');
    for (; *text != 0; text++) {
        if (*text == '\'' || *text == '\\') putchar('\\');
        putchar(*text);
    }
    putchar('\'');
}

static void fish_values(const char *value_name) {
    switch (kind_of(value_name)) {
    case COMPLETES_FILES:
        fputs(" -F", stdout);
        break;
    case COMPLETES_WORDS:
        fputs(" -f -a '", stdout);
        print_words(value_name);
        putchar('\'');
        break;
    case COMPLETES_MODELS:
        fputs(" -f -a '(bora models --quiet --timeout 2s 2>/dev/null)'", stdout);
        break;
    case COMPLETES_NAMES:
        printf(" -f -a '(bora %s list --names --timeout 2s 2>/dev/null)'", noun_of(value_name));
        break;
    default:
        fputs(" -f", stdout);
        break;
    }
}

static void fish_options(const char *condition, const struct argument *table) {
    for (; table->type != ARGUMENT_END; table++) {
        if (table->help == NULL) continue;
        printf("complete -c bora -n '%s' -l %s", condition, table->name);
        if (table->type != ARGUMENT_FLAG) {
            fputs(" -r", stdout);
            fish_values(table->value_name);
        }
        fputs(" -d ", stdout);
        fish_quoted(table->help);
        putchar('\n');
    }
}

/** When the options of a command are offered: behind its words, or, of a noun's default command, behind the noun and none of its other words. */
static void fish_condition(const struct command *commands, const struct command *command, char *out, size_t size) {
    char first[COMMAND_NOUN_BYTES];
    const char *second;
    command_words(command, first, &second);
    int length = snprintf(out, size, "__fish_seen_subcommand_from %s", first);
    if (second[0] == 0) return;
    length += snprintf(out + length, size - (size_t)length, "; and %s__fish_seen_subcommand_from",
                       command->is_default ? "not " : "");
    for (const struct command *other = commands; other->usage.words != NULL; other++) {
        command_words(other, first, &second);
        if ((other == command) != command->is_default)
            length += snprintf(out + length, size - (size_t)length, " %s", second);
    }
}

static void fish_command(const struct command *commands, const struct command *command, const char *noun) {
    char condition[256], first[COMMAND_NOUN_BYTES];
    const char *second;
    fish_condition(commands, command, condition, sizeof condition);
    command_words(command, first, &second);
    if (second[0] != 0) {
        printf("complete -c bora -n '__bora_needs_verb %s' -a %s -d ", noun, second);
        fish_quoted(command->help);
        putchar('\n');
    }
    fish_options(condition, command->arguments);
    if (command->usage.positional_max > 0 && kind_of(command->usage.positionals) != COMPLETES_NOTHING) {
        printf("complete -c bora -n '%s'", condition);
        fish_values(command->usage.positionals);
        putchar('\n');
    }
}

static void print_fish(void) {
    char first[COMMAND_NOUN_BYTES], local[256] = "not __fish_seen_subcommand_from";
    const char *second;
    fputs("# fish completion of bora; written by `bora completion fish`\n"
          "function __bora_needs_verb\n"
          "    set -l words (commandline -opc)\n"
          "    test (count $words) -eq 2; and test $words[2] = $argv[1]\n"
          "end\n"
          "complete -c bora -f\ncomplete -c bora -l help -d 'show help'\n",
          stdout);
    for (const struct command_noun *noun = command_nouns; noun->commands != NULL; noun++) {
        command_words(noun->commands, first, &second);
        printf("complete -c bora -n __fish_use_subcommand -a %s -d ", first);
        fish_quoted(noun->commands->help);
        putchar('\n');
        if (!noun->commands->connects) {
            size_t length = strlen(local);
            snprintf(local + length, sizeof local - length, " %s", first);
        }
        for (const struct command *command = noun->commands; command->usage.words != NULL; command++)
            fish_command(noun->commands, command, first);
    }
    fish_options(local, connection_arguments);
}

/* --- the command --------------------------------------------------------------------------------------------------- */

static int run(const struct command_usage *usage, const char *const *words, int count) {
    (void)count;
    static const struct {
        const char *shell;
        void (*print)(void);
    } shells[] = {{"bash", print_bash}, {"zsh", print_zsh}, {"fish", print_fish}};
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++) {
        if (strcmp(words[0], shells[i].shell) != 0) continue;
        shells[i].print();
        return EXIT_OK;
    }
    return usage_error(usage, "'%.64s' is not one of bash, zsh, fish", words[0]);
}

const struct command completion_commands[] = {
    {.usage = {"completion", "bash|zsh|fish",
               "Write a script that lets a shell complete commands, options, models and key ids:\n\n"
               "  bash   source <(bora completion bash)             in ~/.bashrc\n"
               "  zsh    source <(bora completion zsh)              in ~/.zshrc, behind compinit\n"
               "  fish   bora completion fish | source              in ~/.config/fish/config.fish",
               1, 1},
     .help = "a completion script: bash, zsh or fish",
     .arguments = no_arguments,
     .run = run},
    {.usage = {NULL, NULL, NULL, 0, 0}}};
