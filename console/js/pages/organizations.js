// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
//
// For the operator: who pays.
import { post } from "../api.js";
import { formDialog, toast } from "../dialog.js";
import { h, replace } from "../dom.js";
import { details, field, LIMITS_HINT, limitsFields, limitsSummary, textInput } from "../form.js";
import { dateOf, isolated } from "../format.js";
import { chooseOrganization, refreshOrganizations, session } from "../session.js";
import { badge, button, emptyState, load, pageHead, simpleTable } from "../widgets.js";
import { changeLimits } from "./limits.js";
import { acting, rename, toggle } from "./workspaces.js";

async function createOrganization() {
  const name = field("Name", textInput({ maxlength: "64", required: true }), { hint: "It gets a workspace named “default”." });
  const limits = limitsFields({});
  return formDialog({
    title: "New organisation",
    wide: true,
    submitLabel: "Create organisation",
    content: h("div", { class: "stack" }, name.element, details("Limits of all its keys together", [h("p", { class: "hint" }, LIMITS_HINT), limits.element])),
    submit: async () => {
      if (name.input.value.trim() === "") return name.fail("An organisation needs a name.");
      const body = { name: name.input.value.trim(), limits: limits.read() };
      if (body.limits === false) return false;
      const made = await post("/v1/admin/organizations", body);
      toast(`Organisation “${isolated(made.name)}” is made.`);
      return made;
    },
  });
}

function switchTo(organization) {
  chooseOrganization(organization.id);
  window.dispatchEvent(new Event("bora-organizations"));
  location.hash = "#/overview";
}

export function render({ root, signal }) {
  const holder = h("div", { class: "card flush" });
  const createButton = () => button("New organisation", acting(createOrganization, show), { kind: "primary", iconName: "plus" });
  const rowActions = (one) => {
    const path = `/v1/admin/organizations/${encodeURIComponent(one.id)}`;
    return h("div", { class: "row-actions" },
      one.id !== session.organization?.id && button("Switch to it", () => switchTo(one), { kind: "small", of: one.name, focus: `switch-${one.id}` }),
      button("Limits", acting(() => changeLimits("organization", one.id, one.name), show), { kind: "small", of: one.name, focus: `limits-${one.id}` }),
      button("Rename", acting(() => rename(path, one, "organisation"), show), { kind: "small", of: one.name, focus: `rename-${one.id}` }),
      button(one.disabled ? "Enable" : "Disable", acting(() => toggle(path, one, "organisation"), show), { kind: one.disabled ? "small" : "small danger-quiet", of: one.name, focus: `toggle-${one.id}` }));
  };
  function show() {
    if (signal.aborted) return;
    void load(holder, signal, async () => {
      await refreshOrganizations();
      window.dispatchEvent(new Event("bora-organizations"));
      return session.organizations;
    }, (organizations) => (organizations.length === 0
      ? emptyState("No organisations yet.", "An organisation has workspaces, and pays for them.", createButton())
      : simpleTable({ caption: "Organisations", rows: organizations, columns: [
        { name: "Name", head: true, cell: (one) => [one.name, one.id === session.organization?.id && [" ", badge("chosen", "accent")], one.disabled && [" ", badge("disabled", "warn")]] },
        { name: "Limits", cell: (one) => limitsSummary(one.limits, one.model_limits) },
        { name: "Made", cell: (one) => dateOf(one.created_at) },
        { name: "", plain: true, cell: rowActions },
      ] })));
  }
  replace(root, pageHead("Organisations", "Each has its own workspaces, keys, limits and accounts, and sees nothing of the others.", createButton()), holder);
  show();
}
