// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
import { all, patch, post, remove } from "../api.js";
import { confirmDialog, formDialog, toast } from "../dialog.js";
import { h, replace } from "../dom.js";
import { details, field, LIMITS_HINT, limitsFields, limitsSummary, textInput } from "../form.js";
import { dateOf, isolated } from "../format.js";
import { place, session } from "../session.js";
import { badge, button, emptyState, load, pageHead, simpleTable } from "../widgets.js";
import { changeLimits } from "./limits.js";

const NAME = { maxlength: "64", required: true };

async function createWorkspace() {
  const name = field("Name", textInput(NAME));
  const limits = limitsFields({});
  const defaults = limitsFields({});
  return formDialog({
    title: "New workspace",
    wide: true,
    submitLabel: "Create workspace",
    content: h("div", { class: "stack" }, name.element,
      details("Limits of all its keys together", [h("p", { class: "hint" }, LIMITS_HINT), limits.element]),
      details("What each of its keys has where the key says nothing itself", defaults.element)),
    submit: async () => {
      if (name.input.value.trim() === "") return name.fail("A workspace needs a name.");
      const body = { ...place(), name: name.input.value.trim(), limits: limits.read() };
      if (body.limits === false) return false;
      body.key_limits = defaults.read();
      if (body.key_limits === false) return false;
      const made = await post("/v1/admin/workspaces", body);
      toast(`Workspace “${isolated(made.name)}” is made.`);
      return made;
    },
  });
}

export async function rename(path, record, what) {
  const name = field("Name", textInput({ ...NAME, value: record.name }));
  return formDialog({
    title: `Rename ${what} “${isolated(record.name)}”`,
    submitLabel: "Rename",
    content: name.element,
    submit: () => (name.input.value.trim() === "" ? name.fail("A name, please.") : patch(path, { name: name.input.value.trim() })),
  });
}

/** Disables after a question, enables without one. */
export async function toggle(path, record, what) {
  if (record.disabled) {
    const changed = await patch(path, { disabled: false });
    toast(`“${isolated(record.name)}” is enabled.`);
    return changed;
  }
  return confirmDialog({ title: `Disable “${isolated(record.name)}”?`, sentences: [`All keys of this ${what} are refused at once, and their answers under way end. It can be enabled again.`], submitLabel: "Disable", submit: () => patch(path, { disabled: true }) });
}

/** Runs what a button stands for; `refresh` when something changed. */
export const acting = (run, refresh) => async () => {
  try {
    if (await run() !== undefined) refresh();
  } catch (error) {
    toast(error.message, "bad");
  }
};

export function render({ root, signal }) {
  const holder = h("div", { class: "card flush" });
  const createButton = () => button("New workspace", acting(createWorkspace, show), { kind: "primary", iconName: "plus" });
  const rowActions = (one) => {
    const path = `/v1/admin/workspaces/${encodeURIComponent(one.id)}`;
    return h("div", { class: "row-actions" },
      button("Limits", acting(() => changeLimits("workspace", one.id, one.name), show), { kind: "small", of: one.name, focus: `limits-${one.id}` }),
      button("Rename", acting(() => rename(path, one, "workspace"), show), { kind: "small", of: one.name, focus: `rename-${one.id}` }),
      button(one.disabled ? "Enable" : "Disable", acting(() => toggle(path, one, "workspace"), show), { kind: "small", of: one.name, focus: `toggle-${one.id}` }),
      button("Delete", acting(() => confirmDialog({ title: `Delete “${isolated(one.name)}”?`, sentences: ["Only a workspace whose keys are all revoked can be deleted. Its usage stays in the ledger."], submitLabel: "Delete", submit: () => remove(path) }), show), { kind: "small danger-quiet", of: one.name, focus: `delete-${one.id}` }));
  };
  function show() {
    if (signal.aborted) return;
    void load(holder, signal, () => all("/v1/admin/workspaces", "workspaces", place(), { signal }), (workspaces) => (workspaces.length === 0
      ? emptyState("No workspaces yet.", "A workspace holds keys, and what they share: limits, fairness, cached prompts.", createButton())
      : simpleTable({ caption: "Workspaces", rows: workspaces, columns: [
        { name: "Name", head: true, cell: (one) => [h("a", { href: `#/keys?workspace=${encodeURIComponent(one.id)}` }, one.name), one.disabled && [" ", badge("disabled", "warn")]] },
        { name: "Limits", cell: (one) => limitsSummary(one.limits, one.model_limits) },
        { name: "Its keys' default", cell: (one) => limitsSummary(one.key_limits) },
        { name: "Made", cell: (one) => dateOf(one.created_at) },
        { name: "", plain: true, cell: rowActions },
      ] })));
  }
  replace(root, pageHead("Workspaces", `Keys that belong together${session.organization ? `, in ${isolated(session.organization.name)}` : ""}. Turns, accounts and cached prompts are shared inside one and with no other.`, createButton()), holder);
  show();
}
