/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/gateway/admin_routes.h"

#include "bora/v1/keys.pb-c.h"
#include "bora/v1/tenants.pb-c.h"
#include "bora/v1/usage.pb-c.h"

#include <string.h>

#define KEYS "/bora.v1.KeyService/"
#define TENANTS "/bora.v1.TenantService/"
#define USAGE "/bora.v1.UsageService/"
#define TYPES(request, response) &bora__v1__##request##__descriptor, &bora__v1__##response##__descriptor

const struct admin_method admin_methods[] = {
    {"create_key", KEYS "CreateKey", TYPES(create_key_request, create_key_response), false},
    {"get_key", KEYS "GetKey", TYPES(get_key_request, api_key), false},
    {"list_keys", KEYS "ListKeys", TYPES(list_keys_request, list_keys_response), false},
    {"update_key", KEYS "UpdateKey", TYPES(update_key_request, api_key), false},
    {"rotate_key", KEYS "RotateKey", TYPES(rotate_key_request, create_key_response), false},
    {"revoke_key", KEYS "RevokeKey", TYPES(revoke_key_request, revoke_key_response), false},
    {"list_organizations", TENANTS "ListOrganizations", TYPES(list_organizations_request, list_organizations_response),
     false},
    {"create_organization", TENANTS "CreateOrganization", TYPES(create_organization_request, organization), false},
    {"get_organization", TENANTS "GetOrganization", TYPES(get_organization_request, organization), false},
    {"update_organization", TENANTS "UpdateOrganization", TYPES(update_organization_request, organization), false},
    {"delete_organization", TENANTS "DeleteOrganization",
     TYPES(delete_organization_request, delete_organization_response), false},
    {"list_workspaces", TENANTS "ListWorkspaces", TYPES(list_workspaces_request, list_workspaces_response), false},
    {"create_workspace", TENANTS "CreateWorkspace", TYPES(create_workspace_request, workspace), false},
    {"get_workspace", TENANTS "GetWorkspace", TYPES(get_workspace_request, workspace), false},
    {"update_workspace", TENANTS "UpdateWorkspace", TYPES(update_workspace_request, workspace), false},
    {"delete_workspace", TENANTS "DeleteWorkspace", TYPES(delete_workspace_request, delete_workspace_response), false},
    {"list_audit", TENANTS "ListAudit", TYPES(list_audit_request, list_audit_response), false},
    {"get_me", TENANTS "GetMe", TYPES(get_me_request, me), true},
    {"get_usage", USAGE "GetUsage", TYPES(get_usage_request, usage_report), true},
    {"list_ledger", USAGE "ListLedger", TYPES(list_ledger_request, list_ledger_response), true},
    {"get_rate_limit", USAGE "GetRateLimit", TYPES(get_rate_limit_request, rate_limit), true},
    {"get_spend_limit", USAGE "GetSpendLimit", TYPES(get_spend_limit_request, spend_limit), true},
    {"set_spend_limit", USAGE "SetSpendLimit", TYPES(set_spend_limit_request, spend_limit), false},
    {"get_prices", USAGE "GetPrices", TYPES(get_prices_request, prices), true},
    {"set_prices", USAGE "SetPrices", TYPES(set_prices_request, prices), false},
};
const size_t admin_method_count = sizeof admin_methods / sizeof admin_methods[0];

const struct admin_route admin_routes[] = {
    {"POST", "/v1/admin/api-keys", KEYS "CreateKey", ADMIN_BODY_NEEDED},
    {"GET", "/v1/admin/api-keys", KEYS "ListKeys"},
    {"GET", "/v1/admin/api-keys/{key_id}", KEYS "GetKey"},
    {"PATCH", "/v1/admin/api-keys/{key_id}", KEYS "UpdateKey", ADMIN_BODY_NEEDED},
    {"DELETE", "/v1/admin/api-keys/{key_id}", KEYS "RevokeKey"},
    {"POST", "/v1/admin/api-keys/{key_id}/rotate", KEYS "RotateKey", ADMIN_BODY_OPTIONAL},
    {"GET", "/v1/admin/organizations", TENANTS "ListOrganizations"},
    {"POST", "/v1/admin/organizations", TENANTS "CreateOrganization", ADMIN_BODY_NEEDED},
    {"GET", "/v1/admin/organizations/{organization_id}", TENANTS "GetOrganization"},
    {"PATCH", "/v1/admin/organizations/{organization_id}", TENANTS "UpdateOrganization", ADMIN_BODY_NEEDED},
    {"DELETE", "/v1/admin/organizations/{organization_id}", TENANTS "DeleteOrganization"},
    {"GET", "/v1/admin/workspaces", TENANTS "ListWorkspaces"},
    {"POST", "/v1/admin/workspaces", TENANTS "CreateWorkspace", ADMIN_BODY_NEEDED},
    {"GET", "/v1/admin/workspaces/{workspace_id}", TENANTS "GetWorkspace"},
    {"PATCH", "/v1/admin/workspaces/{workspace_id}", TENANTS "UpdateWorkspace", ADMIN_BODY_NEEDED},
    {"DELETE", "/v1/admin/workspaces/{workspace_id}", TENANTS "DeleteWorkspace"},
    {"GET", "/v1/admin/audit", TENANTS "ListAudit"},
    {"GET", "/v1/users/me", TENANTS "GetMe"},
    {"GET", "/v1/admin/usage", USAGE "GetUsage", .exports = ADMIN_EXPORT_USAGE},
    {"GET", "/v1/usage", USAGE "GetUsage", .exports = ADMIN_EXPORT_USAGE},
    {"GET", "/v1/admin/usage/ledger", USAGE "ListLedger", .exports = ADMIN_EXPORT_LEDGER},
    {"GET", "/v1/admin/rate-limit", USAGE "GetRateLimit"},
    {"GET", "/v1/admin/spend-limit", USAGE "GetSpendLimit"},
    {"POST", "/v1/admin/spend-limit", USAGE "SetSpendLimit", ADMIN_BODY_NEEDED},
    {"GET", "/v1/admin/prices", USAGE "GetPrices"},
    {"PUT", "/v1/admin/prices", USAGE "SetPrices", ADMIN_BODY_NEEDED},
};
const size_t admin_route_count = sizeof admin_routes / sizeof admin_routes[0];

const struct admin_method *admin_find_method(const char *path) {
    for (size_t i = 0; i < admin_method_count; i++) {
        if (strcmp(admin_methods[i].path, path) == 0) return &admin_methods[i];
    }
    return NULL;
}

/** The next segment in braces: false at the end. Both point behind it afterwards; what is no brace is equal in both. */
static bool next_segment(const char **pattern, const char **path, struct bytes_view *name, struct bytes_view *value) {
    while (**pattern != 0 && **pattern != '{' && **pattern == **path) {
        ++*pattern;
        ++*path;
    }
    if (**pattern != '{') return false;
    size_t name_length = strcspn(*pattern, "}") - 1, length = strcspn(*path, "/");
    *name = bytes_view_of(*pattern + 1, name_length);
    *value = bytes_view_of(*path, length);
    *pattern += name_length + 2;
    *path += length;
    return true;
}

bool admin_route_matches(const struct admin_route *route, const char *path) {
    const char *pattern = route->pattern;
    struct bytes_view name, value;
    while (next_segment(&pattern, &path, &name, &value)) {
        if (value.length == 0) return false;
    }
    return *pattern == 0 && *path == 0;
}

int admin_route_segments(const struct admin_route *route, const char *path, struct arena *arena,
                         struct transcode_parameter *out, int max) {
    const char *pattern = route->pattern;
    struct bytes_view name, value;
    int count = 0;
    while (count < max && next_segment(&pattern, &path, &name, &value)) {
        out[count].name = arena_copy(arena, name.data, name.length);
        out[count].value = arena_copy(arena, value.data, value.length);
        if (out[count].name == NULL || out[count].value == NULL) return -1;
        count++;
    }
    return count;
}
