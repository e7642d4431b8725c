// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
//
// The dialogs of keys: make, change, rotate, disable, revoke, and the one time that a secret is shown.
import { patch, post, remove } from "../api.js";
import { confirmDialog, copyButton, formDialog, openDialog, toast } from "../dialog.js";
import { freshId, h } from "../dom.js";
import { checkboxes, details, field, LIMITS_HINT, limitsFields, limitsSet, modelLimitsFields, select, textInput } from "../form.js";
import { isoDay, isolated, timeAt, toDate } from "../format.js";
import { byModel, fetchLive } from "./live_models.js";
import { handOver } from "./playground_key.js";
import { button, notice } from "../widgets.js";

const ROLES = [["service", "Service: asks models"], ["member", "Member: sees its workspace's usage besides"], ["admin", "Administrator: manages the organisation"]];
const ENDPOINTS = [["chat", "Chat"], ["completions", "Completions"], ["embeddings", "Embeddings"], ["fim", "Fill in the middle"], ["models", "Models"], ["files", "Files"], ["fine_tuning", "Fine-tuning"], ["usage", "Usage"], ["admin", "Administration"]];
const DAY_S = 86400;
const KEY_LIMITS_HINT = LIMITS_HINT.replace("Empty: unlimited.", "Empty: the workspace's for its keys, if it has one.");

export async function modelNames() {
  try {
    return byModel(await fetchLive()).flatMap((model) => [model.id, ...model.aliases]);
  } catch {
    return []; // names can be typed
  }
}

function scopeFields(scopes, names) {
  const endpoints = checkboxes("Endpoints", ENDPOINTS, scopes?.endpoints ?? [], { hint: "None chosen: all that the role may." });
  const models = field("Models", textInput({ value: (scopes?.models ?? []).join(", "), placeholder: "all", list: null }), { hint: `Names, aliases or tiers, with commas between. Empty: all.${names.length > 0 ? ` Served now: ${names.slice(0, 6).join(", ")}.` : ""}` });
  return {
    elements: [endpoints.element, models.element],
    read: () => ({ endpoints: endpoints.read(), models: models.input.value.split(",").map((one) => one.trim()).filter((one) => one !== "") }),
  };
}

/** The last day on which a key works: one that ends at midnight ends with the day before. */
const lastDay = (end) => isoDay(new Date(end.getTime() - 1));

/** Never, in some days, or on a day of one's own. read() -> "YYYY-MM-DD", "" for never, or false. */
function expiryFields(current) {
  const choice = field("Expires", select([["", "Never"], ["7", "In 7 days"], ["30", "In 30 days"], ["90", "In 90 days"], ["365", "In a year"], ["day", "On a day…"]], current === null ? "" : "day"));
  const day = field("Last day", h("input", { type: "date", min: isoDay(new Date()), value: current === null ? "" : lastDay(current) }), { hint: "The key works until the end of this day, UTC." });
  const show = () => { day.element.hidden = choice.input.value !== "day"; };
  choice.input.addEventListener("change", show);
  show();
  return {
    elements: [choice.element, day.element],
    read() {
      if (choice.input.value === "") return "";
      if (choice.input.value !== "day") return isoDay(new Date(Date.now() + Number(choice.input.value) * DAY_S * 1000));
      return day.input.value === "" ? day.fail("Choose a day.") : day.input.value;
    },
  };
}

/** The whole key, this once. Escape asks to copy first; "Done" always closes. */
async function showSecret(made, title) {
  const id = freshId("secret");
  const reminder = h("p", { class: "field-error", "aria-live": "polite" });
  let copied = false;
  const copy = copyButton(made.key, "Copy the key");
  copy.classList.add("primary");
  copy.addEventListener("click", () => { copied = true; });
  const { dialog, closed } = openDialog({
    title,
    closable: false,
    content: h("div", { class: "dialog-body" },
      notice("warn", h("p", {}, "This is the only time the key is shown. Store it where your program reads its secrets.")),
      h("label", { for: id }, "API key"),
      h("textarea", { id, class: "code secret", rows: "2", readonly: true, spellcheck: "false", value: made.key, onfocus: (event) => event.target.select() }),
      reminder),
    actions: [
      button("Try it in the playground", () => {
        handOver(made.key, made.info?.name || made.info?.prefix);
        dialog.close();
        location.hash = "#/playground";
      }),
      button("Done", () => dialog.close()),
      copy,
    ],
  });
  dialog.addEventListener("cancel", (event) => {
    if (copied) return;
    event.preventDefault();
    reminder.textContent = "Copy the key first, or press Done.";
    copy.focus();
    copied = true; // asked once is enough
  });
  copy.focus();
  await closed;
}

/** Resolves with the new key's record. `chosen`: id of the workspace that is looked at, or "". */
export async function createKey(workspaces, chosen = "") {
  const names = await modelNames();
  const name = field("Name", textInput({ maxlength: "255", placeholder: "what it is for" }), { hint: "Shown in lists, usage and the audit trail." });
  const workspace = field("Workspace", select(workspaces.map((one) => [one.id, one.name]), chosen || workspaces[0]?.id));
  const role = field("Role", select(ROLES, "service"));
  const expiry = expiryFields(null);
  const scopes = scopeFields(null, names);
  const limits = limitsFields({}, "workspace's");
  const modelLimits = modelLimitsFields([], names);
  const made = await formDialog({
    title: "New key",
    wide: true,
    submitLabel: "Create key",
    content: h("div", { class: "stack" },
      h("div", { class: "form-grid" }, name.element, workspaces.length > 0 && workspace.element, role.element, expiry.elements),
      details("Limits", [h("p", { class: "hint" }, KEY_LIMITS_HINT), limits.element]),
      details("Limits for single models", modelLimits.element),
      details("Scopes", scopes.elements)),
    submit: async () => {
      const expiration = expiry.read();
      const own = expiration === false ? false : limits.read();
      const perModel = own === false ? false : modelLimits.read();
      if (perModel === false) return false;
      const body = { name: name.input.value.trim() || null, role: role.input.value, scopes: scopes.read() };
      if (workspace.input.value) body.workspace_uuid = workspace.input.value;
      if (expiration !== "") body.expiration = expiration;
      if (Object.keys(own).length > 0) body.limits = own;
      if (perModel.length > 0) body.model_limits = perModel;
      return post("/v1/admin/api-keys", body);
    },
  });
  if (made === undefined) return undefined;
  await showSecret(made, `Key “${isolated(made.info.name || made.info.prefix)}” is made`);
  return made.info;
}

/** Resolves with the record as it is then. */
export async function changeKey(info) {
  const names = await modelNames();
  const name = field("Name", textInput({ maxlength: "255", value: info.name }));
  const role = field("Role", select(ROLES, info.role));
  const expiry = expiryFields(toDate(info.expires_at));
  const scopes = scopeFields(info.scopes, names);
  const limits = limitsFields(info.limits, "workspace's");
  const modelLimits = modelLimitsFields(info.model_limits, names);
  return formDialog({
    title: `Change “${isolated(info.name || info.prefix)}”`,
    wide: true,
    submitLabel: "Save",
    content: h("div", { class: "stack" },
      h("div", { class: "form-grid" }, name.element, role.element, expiry.elements),
      details("Limits", [h("p", { class: "hint" }, KEY_LIMITS_HINT), limits.element], { open: limitsSet(info.limits).length > 0 }),
      details("Limits for single models", modelLimits.element, { open: info.model_limits.length > 0 }),
      details("Scopes", scopes.elements, { open: (info.scopes?.models?.length ?? 0) + (info.scopes?.endpoints?.length ?? 0) > 0 })),
    submit: async () => {
      const expiration = expiry.read();
      const own = expiration === false ? false : limits.read();
      const perModel = own === false ? false : modelLimits.read();
      if (perModel === false) return false;
      const body = { name: name.input.value.trim(), role: role.input.value, scopes: scopes.read(), limits: own, model_limits: perModel };
      const before = toDate(info.expires_at);
      if (expiration !== (before === null ? "" : lastDay(before))) body.expiration = expiration;
      const changed = await patch(`/v1/admin/api-keys/${encodeURIComponent(info.key_id)}`, body);
      toast("Saved.");
      return changed;
    },
  });
}

export function disableKey(info) {
  return confirmDialog({
    title: `Disable “${isolated(info.name || info.prefix)}”?`,
    sentences: ["Requests with this key are refused everywhere at once, and answers that are under way end. It can be enabled again."],
    submitLabel: "Disable",
    submit: () => patch(`/v1/admin/api-keys/${encodeURIComponent(info.key_id)}`, { disabled: true }),
  });
}

export async function enableKey(info) {
  const changed = await patch(`/v1/admin/api-keys/${encodeURIComponent(info.key_id)}`, { disabled: false });
  toast("The key is enabled.");
  return changed;
}

export async function rotateKey(info) {
  const older = info.previous_expires_at && toDate(info.previous_expires_at) > new Date();
  const overlap = field("The secret that is in use now goes on for", select([["0", "No time: it ends at once"], ["3600", "An hour"], ["86400", "A day"], ["604800", "A week"], ["2592000", "30 days"]], "86400"), { hint: "Long enough for every program to get the new one." });
  const made = await formDialog({
    title: `Rotate “${isolated(info.name || info.prefix)}”`,
    submitLabel: "Rotate",
    content: h("div", { class: "stack" }, h("p", {}, "A new secret is made under the same id, with the same limits and scopes."), older && notice("warn", h("p", {}, "The secret before the one in use, which was to go on until ", timeAt(info.previous_expires_at), ", is refused at once: one old secret goes on at a time.")), overlap.element),
    submit: () => post(`/v1/admin/api-keys/${encodeURIComponent(info.key_id)}/rotate`, { overlap_seconds: Number(overlap.input.value) }),
  });
  if (made === undefined) return undefined;
  await showSecret(made, "The new secret");
  return made.info;
}

export function revokeKey(info) {
  return confirmDialog({
    title: `Revoke “${isolated(info.name || info.prefix)}”?`,
    sentences: ["Requests with this key are refused everywhere at once, and answers that are under way end.", "This cannot be taken back. To stop it for a while, disable it."],
    submitLabel: "Revoke",
    submit: async () => {
      await remove(`/v1/admin/api-keys/${encodeURIComponent(info.key_id)}`);
      toast(`“${isolated(info.name || info.prefix)}” is revoked.`);
    },
  });
}
