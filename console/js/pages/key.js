// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
//
// One key: what it is, what it may, what it has used, and what can be done with it.
import { get } from "../api.js";
import { h } from "../dom.js";
import { badge, button, card, cardWith, emptyState, facts, live, load, pageHead, statusBadge } from "../widgets.js";
import { copyButton, toast } from "../dialog.js";
import { DAY_MS, dayStart, endOf, isoDay, timeAgo, timeAt } from "../format.js";
import { learnCurrency, place } from "../session.js";
import { changeKey, disableKey, enableKey, revokeKey, rotateKey } from "./key_form.js";
import { levelCards } from "./limit_levels.js";
import { usageFigures, usageOverTime } from "./usage_parts.js";

const REFRESH_MS = 5000;
const DAYS = 30;

function actions(info, refresh) {
  if (info.status === "revoked") return [];
  const act = (run) => async () => {
    try {
      if (await run(info) !== undefined) refresh();
    } catch (error) {
      toast(error.message, "bad");
    }
  };
  return [
    button("Change", act(changeKey), { focus: "change" }),
    button("Rotate", act(rotateKey), { focus: "rotate" }),
    info.disabled ? button("Enable", act(enableKey), { focus: "toggle" }) : button("Disable", act(disableKey), { focus: "toggle" }),
    button("Revoke", act(revokeKey), { kind: "danger-quiet" }),
  ];
}

function about(info) {
  const words = (list, nothing) => (list?.length > 0 ? list.map((one) => badge(one)) : nothing);
  return card("About",
    facts(
      ["Status", statusBadge(info.status)],
      ["Key", h("code", {}, info.hidden_key)],
      ["Prefix", h("span", { class: "inline" }, h("code", {}, info.prefix), h("span", { class: "hint" }, "public: name it when you ask for help"))],
      ["Id", h("code", {}, info.key_id)],
      ["Role", info.role],
      ["Workspace", info.workspace_name],
      ["Endpoints", words(info.scopes?.endpoints, "all that the role may")],
      ["Models", words(info.scopes?.models, "all")],
      ["Expires", endOf(info.expires_at)],
      info.previous_expires_at && ["Old secret", h("span", {}, "goes on until ", timeAt(info.previous_expires_at))],
      info.revoked_at && ["Revoked", timeAt(info.revoked_at)],
      ["Made", h("span", {}, timeAt(info.created_at), info.created_by && [" by ", h("code", {}, info.created_by)])],
      ["Last used", timeAgo(info.last_used)]),
    h("div", { class: "actions" }, copyButton(info.key_id, "Copy the id")));
}

function limitsCard(info, signal) {
  const levels = live({ everyMs: REFRESH_MS, signal, fetcher: async () => (await Promise.all([get("/v1/admin/rate-limit", { key_id: info.key_id }, { signal }), learnCurrency()]))[0], show: (answer) => levelCards(answer.levels) });
  return card("Limits now", h("p", { class: "hint" }, "All of these count. Refreshed every few seconds."), levels.element);
}

function usageCard(info, signal) {
  const holder = h("div", { class: "stack" });
  const query = { ...place(), key_id: info.key_id, from: isoDay(new Date(Date.now() - (DAYS - 1) * DAY_MS)), to: isoDay(new Date(dayStart(new Date()).getTime() + DAY_MS)), interval: "day", group_by: ["model"] };
  void load(holder, signal, () => get("/v1/admin/usage", query, { signal }), (usage) => (usage.rows.length === 0
    ? emptyState("Nothing was asked with this key in the last 30 days.")
    : [usageFigures(usage), usageOverTime(usage, { measure: "tokens", group: "model", signal })]));
  return cardWith("Last 30 days", h("a", { href: `#/usage?key=${encodeURIComponent(info.key_id)}` }, "More"), holder);
}

/** null where there is no such key: that is a page of its own, and trying again would not help. */
const fetchKey = (id, signal) => get(`/v1/admin/api-keys/${encodeURIComponent(id)}`, {}, { signal }).catch((error) => {
  if (error.status !== 404) throw error;
  return null;
});

const noSuchKey = () => [pageHead("There is no such key"), emptyState("No key of yours has this id.", "It may be one of another organisation.", h("a", { class: "button primary", href: "#/keys" }, "All keys"))];

export function render({ root, signal, argument }) {
  const refresh = () => {
    if (signal.aborted) return;
    void load(root, signal, () => fetchKey(argument, signal), (info) => (info === null ? noSuchKey() : [
      h("p", { class: "crumbs" }, h("a", { href: "#/keys" }, "Keys"), " / ", info.name || info.prefix),
      pageHead(info.name || "(no name)", null, ...actions(info, refresh)),
      h("div", { class: "columns" }, about(info), limitsCard(info, signal)),
      usageCard(info, signal),
    ])).then(() => { if (!root.contains(document.activeElement)) root.querySelector("h1")?.focus({ preventScroll: true }); });
  };
  refresh();
}
