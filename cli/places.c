/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/places.h"

#include "bora/v1/tenants.pb-c.h"
#include "cli/confirm.h"
#include "cli/fields.h"
#include "cli/print.h"
#include "cli/result.h"
#include "cli/suggest.h"
#include "cli/terminal.h"

#include <stdlib.h>
#include <string.h>

#define SERVICE "/bora.v1.TenantService/"
enum { PAGE = 1000, CANDIDATES_SHOWN = 8, UUID_CHARACTERS = 36, PLACE_NAME_BYTES = 128 };

/** What differs between the two kinds. */
static const struct kind {
    const char *title;
    struct result_list list;
    const char *own; /* of GetMe's reply */
} kinds[] = {
    [PLACE_WORKSPACE] = {"workspace",
                         {.method = SERVICE "ListWorkspaces",
                          .reply = &bora__v1__list_workspaces_response__descriptor,
                          .items = "workspaces",
                          .cursor = "offset",
                          .id = "id",
                          .page = PAGE},
                         "workspace"},
    [PLACE_ORGANIZATION] = {"organization",
                            {.method = SERVICE "ListOrganizations",
                             .reply = &bora__v1__list_organizations_response__descriptor,
                             .items = "organizations",
                             .cursor = "offset",
                             .id = "id",
                             .page = PAGE},
                            "organization"},
};

static bool is_id(const char *text) {
    static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    if (strlen(text) != UUID_CHARACTERS) return false;
    for (size_t i = 0; i < UUID_CHARACTERS; i++) {
        if (form[i] == '-' ? text[i] != '-' : strchr("0123456789abcdefABCDEF", text[i]) == NULL) return false;
    }
    return true;
}

/** Calls of this file are made on the way to something else: who may not make them is not told so. */
static int ask_quietly(struct connection *connection, const struct result_list *list, ProtobufCMessage *request,
                       ProtobufCMessage **out) {
    bool before = connection->quiet;
    connection->quiet = true;
    int result = result_fetch(connection, list, request, out);
    connection->quiet = before;
    return result;
}

static int fetch(struct connection *connection, enum place_kind kind, const char *organization,
                 ProtobufCMessage **out) {
    Bora__V1__ListWorkspacesRequest workspaces = BORA__V1__LIST_WORKSPACES_REQUEST__INIT;
    Bora__V1__ListOrganizationsRequest organizations = BORA__V1__LIST_ORGANIZATIONS_REQUEST__INIT;
    field_set_text(&workspaces.base, "organization_id", organization);
    return ask_quietly(connection, &kinds[kind].list, kind == PLACE_WORKSPACE ? &workspaces.base : &organizations.base,
                       out);
}

/* --- which one --------------------------------------------------------------------------------------------------- */

static bool is_called(const ProtobufCMessage *place, const char *text) {
    return strcmp(field_text(place, "name"), text) == 0;
}

static bool begins_with(const ProtobufCMessage *place, const char *text) {
    return strlen(text) >= PLACE_PREFIX_MIN && strncmp(field_text(place, "id"), text, strlen(text)) == 0;
}

typedef bool matches_fn(const ProtobufCMessage *place, const char *text);

static size_t count_of(const struct field_value *places, matches_fn *matches, const char *text,
                       const ProtobufCMessage **out_first) {
    size_t count = 0;
    for (size_t i = 0; i < places->count; i++) {
        if (!matches(places->items[i], text)) continue;
        if (count++ == 0) *out_first = places->items[i];
    }
    return count;
}

static int list_candidates(const struct field_value *places, matches_fn *matches, const char *text, size_t count) {
    size_t shown = 0;
    for (size_t i = 0; i < places->count && shown < CANDIDATES_SHOWN; i++) {
        const ProtobufCMessage *place = places->items[i];
        if (!matches(place, text)) continue;
        fprintf(stderr, "  %s  ", field_text(place, "id"));
        print_line(stderr, field_text(place, "name"));
        if (field_known(place, "organization_id")) {
            fputs("  (organization ", stderr);
            print_line(stderr, field_text(place, "organization_id"));
            fputc(')', stderr);
        }
        fputc('\n', stderr);
        shown++;
    }
    if (count > shown) fprintf(stderr, "  and %zu more\n", count - shown);
    return EXIT_USAGE;
}

static int explain_several(const struct kind *kind, const struct field_value *places, matches_fn *matches,
                           const char *text, size_t count) {
    print_failure("%zu %ss are meant by '%.64s'; give the id of one:", count, kind->title, text);
    return list_candidates(places, matches, text, count);
}

/** What is enough to look at a place is too little to end it. */
static int explain_too_short(const struct field_value *places, const char *text) {
    if (confirm_asks())
        print_failure("'%.64s' is too little of an id: give %d characters or more, or the name:", text,
                      PLACE_PREFIX_MIN_TO_END);
    else
        print_failure("'%.64s' is not the whole id: where nobody is asked, give all of it, or the name:", text);
    return list_candidates(places, begins_with, text, 1);
}

static int explain_none(const struct kind *kind, const struct field_value *places, const char *text) {
    const char *nearest = NULL;
    char shown[PLACE_NAME_BYTES];
    size_t distance = suggest_distance(text);
    for (size_t i = 0; i < places->count; i++)
        suggest_word(text, field_text(places->items[i], "name"), &nearest, &distance);
    if (nearest != NULL) {
        print_clean_to(nearest, shown, sizeof shown);
        print_failure("there is no %s '%.64s'; did you mean '%s'?", kind->title, text, shown);
    } else {
        print_failure("there is no %s '%.64s'", kind->title, text);
    }
    return EXIT_NOT_FOUND;
}

/** Who may not list places knows one of each kind: its own. What it calls otherwise is the service's to refuse. */
static const char *own_place(struct connection *connection, const struct kind *kind, const char *text) {
    Bora__V1__GetMeRequest request = BORA__V1__GET_ME_REQUEST__INIT;
    ProtobufCMessage *me = NULL;
    bool before = connection->quiet;
    connection->quiet = true;
    int result = connection_call(connection, SERVICE "GetMe", &request.base, &bora__v1__me__descriptor, &me);
    connection->quiet = before;
    const struct field_value own = result == GO_ON ? field_get(me, kind->own) : (struct field_value){0};
    return own.kind == FIELD_MESSAGE && is_called(own.message, text) ? field_text(own.message, "id") : text;
}

/** `prefix_min`: so much of an id stands for it. */
static int find(struct connection *connection, enum place_kind kind, const char *text, const char *organization,
                size_t prefix_min, const char **out_id) {
    static matches_fn *const ways[] = {is_called, begins_with};
    ProtobufCMessage *reply = NULL;
    *out_id = text;
    if (text == NULL || is_id(text)) return GO_ON;
    int result = fetch(connection, kind, organization, &reply);
    if (result == EXIT_NOT_AUTHORISED) {
        *out_id = own_place(connection, &kinds[kind], text);
        return GO_ON;
    }
    if (result != GO_ON) return GO_ON; /* the call that was meant says what is wrong */
    const struct field_value places = field_get(reply, kinds[kind].list.items);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        const ProtobufCMessage *found = NULL;
        size_t count = count_of(&places, ways[i], text, &found);
        if (count == 0) continue;
        bool too_short = ways[i] == begins_with && strlen(text) < prefix_min;
        if ((count > 1 || too_short) && kind == PLACE_WORKSPACE) places_name_organizations(connection, reply);
        if (count > 1) return explain_several(&kinds[kind], &places, ways[i], text, count);
        if (too_short) return explain_too_short(&places, text);
        *out_id = field_text(found, "id");
        return GO_ON;
    }
    return explain_none(&kinds[kind], &places, text);
}

int places_find(struct connection *connection, enum place_kind kind, const char *text, const char *organization,
                const char **out_id) {
    return find(connection, kind, text, organization, PLACE_PREFIX_MIN, out_id);
}

int places_find_to_end(struct connection *connection, enum place_kind kind, const char *text, const char *organization,
                       const char **out_id) {
    return find(connection, kind, text, organization, confirm_asks() ? PLACE_PREFIX_MIN_TO_END : UUID_CHARACTERS,
                out_id);
}

int places_find_both(struct connection *connection, const char **workspace, const char **organization) {
    int result = places_find(connection, PLACE_ORGANIZATION, *organization, NULL, organization);
    if (result != GO_ON) return result;
    return places_find(connection, PLACE_WORKSPACE, *workspace, *organization, workspace);
}

/* --- which one where none is named ------------------------------------------------------------------------------- */

static int compare_ids(const void *a, const void *b) {
    return strcmp(field_text(*(const ProtobufCMessage *const *)a, "id"),
                  field_text(*(const ProtobufCMessage *const *)b, "id"));
}

void places_name_organizations(struct connection *connection, const ProtobufCMessage *workspaces) {
    ProtobufCMessage *reply = NULL;
    const struct field_value list = field_get(workspaces, kinds[PLACE_WORKSPACE].list.items);
    if (list.count == 0 || fetch(connection, PLACE_ORGANIZATION, NULL, &reply) != GO_ON) return;
    const struct field_value found = field_get(reply, kinds[PLACE_ORGANIZATION].list.items);
    const ProtobufCMessage **sorted = arena_alloc_array(&connection->arena, found.count + 1, sizeof *sorted);
    if (sorted == NULL) return;
    for (size_t i = 0; i < found.count; i++) sorted[i] = found.items[i];
    qsort(sorted, found.count, sizeof *sorted, compare_ids);
    for (size_t i = 0; i < list.count; i++) {
        Bora__V1__Workspace *workspace = list.items[i];
        Bora__V1__Organization wanted = BORA__V1__ORGANIZATION__INIT;
        wanted.id = workspace->organization_id;
        const ProtobufCMessage *key = &wanted.base, *const * organization;
        organization = bsearch(&key, sorted, found.count, sizeof *sorted, compare_ids);
        if (organization != NULL) workspace->organization_id = (char *)field_text(*organization, "name");
    }
}

int places_first_workspace(struct connection *connection, const char *organization, const char **out_id) {
    Bora__V1__ListWorkspacesRequest request = BORA__V1__LIST_WORKSPACES_REQUEST__INIT;
    struct result_list list = kinds[PLACE_WORKSPACE].list;
    ProtobufCMessage *reply = NULL;
    list.most = 1;
    field_set_text(&request.base, "organization_id", organization);
    int result = result_fetch(connection, &list, &request.base, &reply);
    if (result != GO_ON) return result;
    const struct field_value workspaces = field_get(reply, list.items);
    if (workspaces.count == 0) {
        print_failure("the organization has no workspace");
        return EXIT_NOT_FOUND;
    }
    *out_id = field_text(workspaces.items[0], "id");
    return GO_ON;
}

void places_tell_default(struct connection *connection) {
    Bora__V1__ListOrganizationsRequest request = BORA__V1__LIST_ORGANIZATIONS_REQUEST__INIT;
    struct result_list list = kinds[PLACE_ORGANIZATION].list;
    ProtobufCMessage *reply = NULL;
    list.most = 2; /* the oldest comes first, and is the one that counts */
    if (connection_options.json || connection_options.quiet) return;
    if (ask_quietly(connection, &list, &request.base, &reply) != GO_ON) return; /* not the operator */
    const struct field_value organizations = field_get(reply, list.items);
    if (organizations.count < 2) return;
    char name[PLACE_NAME_BYTES];
    print_clean_to(field_text(organizations.items[0], "name"), name, sizeof name);
    terminal_note("bora: of the organization '%s', as none is named; --organization names another\n", name);
}
