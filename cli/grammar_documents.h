/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Documents that schemas may refer to: files that stand for addresses, as nothing is ever fetched. */
#ifndef CLI_GRAMMAR_DOCUMENTS_H
#define CLI_GRAMMAR_DOCUMENTS_H

#include "cli/grammar_lines.h"

/** `list`: DIR=URL each, or FILE=URL for one document. Fills run->options.documents and run->document_files. */
enum status grammar_documents_load(struct grammar_run *run, const struct argument_list *list, struct error *err);

#endif
