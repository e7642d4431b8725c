// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
//
// What is limited at which level, how much of it is taken, and the spend limits.
import { all, get, patch, post } from "../api.js";
import { formDialog, toast } from "../dialog.js";
import { h, redraw, replace } from "../dom.js";
import { details, field, LIMITS_HINT, limitsFields, modelLimitsFields, textInput } from "../form.js";
import { isolated, money, moneyHeadline, parseAmount, percent, share } from "../format.js";
import { isAdmin, isOperator, learnCurrency, place, session } from "../session.js";
import { button, cardWith, emptyState, live, load, meter, pageHead, picker } from "../widgets.js";
import { modelNames } from "./key_form.js";
import { levelCards } from "./limit_levels.js";

const REFRESH_MS = 5000;

const PATHS = { organization: (id) => `/v1/admin/organizations/${id}`, workspace: (id) => `/v1/admin/workspaces/${id}`, key: (id) => `/v1/admin/api-keys/${id}` };

/** Changes the limits of an organisation, a workspace or a key: all of them, and those for single models. */
export async function changeLimits(scope, id, name) {
  const path = PATHS[scope](encodeURIComponent(id));
  const [record, names] = await Promise.all([get(path), modelNames()]);
  const limits = limitsFields(record.limits);
  const modelLimits = modelLimitsFields(record.model_limits, names);
  const defaults = scope === "workspace" ? limitsFields(record.key_limits) : null;
  return formDialog({
    title: `Limits of ${isolated(name)}`,
    wide: true,
    submitLabel: "Save",
    content: h("div", { class: "stack" },
      h("p", { class: "hint" }, LIMITS_HINT),
      h("fieldset", { class: "plain" }, h("legend", {}, scope === "key" ? "Of this key" : "Of all its keys together"), limits.element),
      details("For single models", modelLimits.element, { open: (record.model_limits ?? []).length > 0 }),
      defaults && details("What each of its keys has where the key says nothing itself", defaults.element)),
    submit: async () => {
      const body = { limits: limits.read() };
      if (body.limits === false) return false;
      body.model_limits = modelLimits.read();
      if (body.model_limits === false) return false;
      if (defaults !== null) body.key_limits = defaults.read();
      if (body.key_limits === false) return false;
      const changed = await patch(path, body);
      toast("Limits saved. They count from now on.");
      return changed;
    },
  });
}

async function changeSpend(spend, where, name) {
  const limit = field(`Spend limit for a month, ${spend.currency || "in units of the currency"}`, textInput({ inputmode: "decimal", value: spend.spend_per_month ?? "", placeholder: "none" }), { hint: "What is under way counts at its worst case, so it is never exceeded. Empty: no limit." });
  return formDialog({
    title: `Spend limit of ${isolated(name)}`,
    submitLabel: "Save",
    content: limit.element,
    submit: async () => {
      const value = parseAmount(limit.input.value);
      if (Number.isNaN(value)) return limit.fail("An amount such as 25 or 0.5, or nothing.");
      const changed = await post("/v1/admin/spend-limit", { ...where, spend_per_month: value });
      toast("Spend limit saved.");
      return changed;
    },
  });
}

function spendCard(where, name, signal) {
  const holder = h("div", { class: "stack" });
  const aside = h("span");
  const show = () => void load(holder, signal, () => get("/v1/admin/spend-limit", where, { signal }), (spend) => {
    replace(aside, button("Change", async () => { if (await changeSpend(spend, where, name) !== undefined) show(); }));
    const limited = spend.spend_per_month !== null && spend.spend_per_month !== undefined;
    const part = limited ? share(spend.spent, spend.spend_per_month) : 0;
    return [
      h("p", { class: "big" }, moneyHeadline(spend.spent, spend.currency), limited && h("span", { class: "quiet" }, ` of ${money(spend.spend_per_month, spend.currency)}, ${percent(part)}`)),
      limited ? meter(part, `${percent(part)} of the spend limit`) : h("p", { class: "quiet" }, "No spend limit is set."),
    ];
  });
  show();
  return cardWith(`Spend of ${isolated(name)} this month`, aside, holder);
}

/** Levels, refreshed while they are looked at. `own`: {scope, id, name} whose limits can be changed here, or null. */
function levelsCard(query, own, signal) {
  const levels = live({ everyMs: REFRESH_MS, signal, fetcher: async () => (await Promise.all([get("/v1/admin/rate-limit", query, { signal }), learnCurrency()]))[0], show: (answer) => levelCards(answer.levels) });
  const change = own !== null && button("Change limits", async () => {
    try {
      if (await changeLimits(own.scope, own.id, own.name) !== undefined) await levels.look();
    } catch (error) {
      toast(error.message, "bad");
    }
  });
  return cardWith("Used now", change, h("p", { class: "hint" }, "A request must fit into every one of these. What answers under way may still use counts already. Refreshed every few seconds."), levels.element);
}

function memberView(root, signal) {
  replace(root, pageHead("Limits", "What counts for the key that you are signed in with."), levelsCard({}, null, signal));
}

export function render({ root, signal, query }) {
  if (!isAdmin()) return memberView(root, signal);
  if (isOperator() && session.organization === null) {
    replace(root, pageHead("Limits"), emptyState("There is no organisation yet."));
    return undefined;
  }
  const chosen = { workspace: query.get("workspace") ?? "", key: query.get("key") ?? "" };
  const holder = h("div", { class: "stack" });
  const tools = h("div", { class: "toolbar" });
  const organizationName = session.organization?.name ?? "the organisation";
  let workspaces = [];
  let keys = [];
  let part = new AbortController(); // of what is shown below the choice
  const show = () => {
    part.abort();
    part = new AbortController();
    const both = AbortSignal.any([signal, part.signal]);
    const workspace = workspaces.find((one) => one.id === chosen.workspace);
    const where = { ...place(), ...(workspace ? { workspace_id: workspace.id } : {}) };
    const levels = chosen.key ? { key_id: chosen.key } : workspace ? { workspace_id: workspace.id } : { organization_id: session.organization?.id };
    const key = keys.find((one) => one.key_id === chosen.key);
    const organization = isOperator() ? { scope: "organization", ...session.organization } : null; // which the operator alone may limit
    const own = key ? { scope: "key", id: key.key_id, name: key.name || key.prefix } : workspace ? { scope: "workspace", id: workspace.id, name: workspace.name } : organization;
    replace(holder, levelsCard(levels, own, both), spendCard(where, workspace?.name ?? organizationName, both));
  };
  const loadKeys = async () => {
    keys = chosen.workspace === "" ? [] : (await all("/v1/admin/api-keys", "keys", { ...place(), workspace_id: chosen.workspace }, { signal })).filter((key) => key.status !== "revoked");
  };
  const draw = () => redraw(tools,
    picker({ label: "Workspace", options: [["", "All of them together"], ...workspaces.map((one) => [one.id, one.name])], value: chosen.workspace, onchange: async (id) => {
      Object.assign(chosen, { workspace: id, key: "" });
      show();
      await loadKeys().catch(() => { keys = []; });
      draw();
    } }),
    chosen.workspace !== "" && picker({ label: "Key", options: [["", "All of them together"], ...keys.map((key) => [key.key_id, key.name || key.prefix])], value: chosen.key, onchange: (id) => {
      chosen.key = id;
      show();
    } }));
  replace(root, pageHead("Limits", `What is limited in ${isolated(organizationName)}, and how much of it is taken.`), tools, holder);
  const start = async () => {
    workspaces = await all("/v1/admin/workspaces", "workspaces", place(), { signal });
    await loadKeys();
  };
  void load(holder, signal, start, () => {
    draw();
    queueMicrotask(show);
    return null;
  });
  return undefined;
}
