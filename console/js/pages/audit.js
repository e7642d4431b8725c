// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
import { get, nextThat } from "../api.js";
import { h, replace } from "../dom.js";
import { isolated, timeAt, toDate } from "../format.js";
import { place, session } from "../session.js";
import { button, emptyState, load, pagedTable, pageHead, picker } from "../widgets.js";

const PAGE = 50;
const SEARCHED = 1000; // entries that are looked through at a time where only some of them are shown
const SHOWN_NAMES = 2;
const KINDS = [["", "Everything"], ["key", "Keys"], ["workspace", "Workspaces"], ["organization", "Organisations"], ["limits", "Limits"], ["price", "Prices"]];

/** A value in words: ends of keys are kept in seconds. */
function text(value, name) {
  if (value === undefined || value === null) return "nothing";
  if (name === "expires_at" && typeof value === "number") return toDate(value).toISOString();
  return typeof value === "string" ? value : JSON.stringify(value);
}

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

/** [name, before, after] of what differs: of limits, each that does, and not all of them twice. */
function differences(name, { before, after }) {
  if (!isObject(before ?? {}) || !isObject(after ?? {})) return [[name, text(before, name), text(after, name)]];
  const names = [...new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])];
  const found = names.filter((one) => JSON.stringify(before?.[one]) !== JSON.stringify(after?.[one]));
  return found.flatMap((one) => differences(`${name}: ${one}`, { before: before?.[one], after: after?.[one] }));
}

function summary(names) {
  if (names.length === 0) return "Where from";
  return names.length <= SHOWN_NAMES ? names.join(", ") : `${names.slice(0, SHOWN_NAMES).join(", ")} and ${names.length - SHOWN_NAMES} more`;
}

/** {"limits": {"before": …, "after": …}} as a line for each difference; other details as they are. */
function detail(entry) {
  const pairs = Object.entries(entry.detail ?? {});
  const more = [entry.request_id && `request ${entry.request_id}`, entry.address && `from ${entry.address}`].filter(Boolean).join(", ");
  return h("details", { class: "audit-detail" }, h("summary", {}, summary(pairs.map(([name]) => name))),
    pairs.map(([name, value]) => (isObject(value) && ("before" in value || "after" in value)
      ? differences(name, value).map(([what, before, after]) => h("dl", { class: "change" }, h("dt", {}, what), h("dd", {}, h("del", {}, before), " ", h("ins", {}, after))))
      : h("dl", { class: "change" }, h("dt", {}, name), h("dd", {}, h("code", {}, text(value, name)))))),
    more && h("p", { class: "small quiet" }, more));
}

function target(entry) {
  const words = entry.target_name || entry.target || "–";
  return entry.action.startsWith("key.") && entry.target ? h("a", { href: `#/keys/${encodeURIComponent(entry.target)}` }, words) : words;
}

const COLUMNS = [
  { name: "When", head: true, cell: (entry) => timeAt(entry.time, "–") },
  { name: "Who", cell: (entry) => h("code", { class: "actor" }, entry.actor) },
  { name: "Did", cell: (entry) => h("code", { class: "action" }, entry.action) },
  { name: "To", named: true, cell: target },
  { name: "Detail", cell: detail },
];

export function render({ root, signal }) {
  const holder = h("div", { class: "card flush" });
  let kind = "";
  const show = () => {
    const prefix = kind === "" ? "" : `${kind}.`;
    const fits = (entry) => entry.action.startsWith(prefix);
    const page = async (before) => {
      const { entries, has_more } = await get("/v1/admin/audit", { ...place(), limit: prefix === "" ? PAGE : SEARCHED, before }, { signal });
      return { items: entries, has_more, last: entries.at(-1)?.id };
    };
    void load(holder, signal, () => nextThat(fits, page, null, PAGE), (first) => {
      if (first.items.length === 0) return kind === "" ? emptyState("Nothing was changed yet.", "Every administrative act leaves an entry here.") : emptyState("None of that kind.", "All entries of the audit trail were looked through.");
      return pagedTable({ caption: "Audit trail, newest first", columns: COLUMNS, first, next: (last) => nextThat(fits, page, last, PAGE) });
    });
  };
  replace(root,
    pageHead("Audit", `Every administrative act${session.organization ? ` in ${isolated(session.organization.name)}` : ""}, who did it and from where. Never a secret.`),
    h("div", { class: "toolbar" }, picker({ label: "Show", options: KINDS, value: kind, onchange: (value) => { kind = value; show(); } }), button("Refresh", show)),
    holder);
  show();
}
