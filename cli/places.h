/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Workspaces and organizations as people call them, and which one is meant where none is named. */
#ifndef CLI_PLACES_H
#define CLI_PLACES_H

#include "cli/connection.h"

enum place_kind { PLACE_WORKSPACE, PLACE_ORGANIZATION };

/**
 * The id of the place that `text` means: its id, its name, or the beginning of its id (PLACE_PREFIX_MIN characters or more). A name goes before an id's
 * beginning. A whole id is not looked up: the call that needs it says when there is no such thing.
 *
 * organization  of a workspace: an id, or NULL for any of those the key may see
 * out_id        in the connection's arena, or `text` itself; NULL where `text` is
 *
 * GO_ON, or how to end after a sentence: nobody is called so (with what may be meant), or several are (with their ids).
 */
int places_find(struct connection *connection, enum place_kind kind, const char *text, const char *organization,
                const char **out_id);
enum { PLACE_PREFIX_MIN = 4 };

/**
 * The same for what ends a place: of an id that is not whole PLACE_PREFIX_MIN_TO_END characters or more are needed, and somebody at a terminal who will
 * be asked (confirm_asks).
 */
int places_find_to_end(struct connection *connection, enum place_kind kind, const char *text, const char *organization,
                       const char **out_id);
enum { PLACE_PREFIX_MIN_TO_END = 8 };

/** Both options of a command, the workspace in the organization. Either may be NULL. */
int places_find_both(struct connection *connection, const char **workspace, const char **organization);

/** For people: the organizations of listed workspaces by their names, where the key may know them. */
void places_name_organizations(struct connection *connection, const ProtobufCMessage *workspaces);

/** The oldest workspace of an organization (an id): where keys are made that name none. GO_ON, or how to end after a sentence. */
int places_first_workspace(struct connection *connection, const char *organization, const char **out_id);

/** The operator's commands are about the first organization where none is named: a note says which that is, where there are several. */
void places_tell_default(struct connection *connection);

#endif
