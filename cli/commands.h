/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** The commands. Each takes the words behind its name and gives the program's exit status. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

int command_key_create(int argc, char **argv);
int command_key_list(int argc, char **argv);
int command_key_revoke(int argc, char **argv);
int command_models(int argc, char **argv);
int command_model_inspect(int argc, char **argv);
int command_model_upcycle(int argc, char **argv);
int command_model_convert(int argc, char **argv);
int command_grammar_check(int argc, char **argv);
int command_grammar_walk(int argc, char **argv);
int command_chat(int argc, char **argv);

#endif
