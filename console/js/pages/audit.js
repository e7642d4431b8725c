// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
import { get } from "../api.js";
import { h, replace } from "../dom.js";
import { timeAt } from "../format.js";
import { place, session } from "../session.js";
import { button, emptyState, load, pageHead, picker, problemBox, table } from "../widgets.js";

const PAGE = 50;
const SHOWN_NAMES = 2;
const KINDS = [["", "Everything"], ["key", "Keys"], ["workspace", "Workspaces"], ["organization", "Organisations"], ["limits", "Limits"], ["price", "Prices"]];

const text = (value) => (value === undefined ? "nothing" : JSON.stringify(value));

function summary(names) {
  if (names.length === 0) return "Where from";
  return names.length <= SHOWN_NAMES ? names.join(", ") : `${names.slice(0, SHOWN_NAMES).join(", ")} and ${names.length - SHOWN_NAMES} more`;
}

/** {"limits": {"before": …, "after": …}} as lines; other details as JSON. */
function detail(entry) {
  const pairs = Object.entries(entry.detail ?? {});
  const more = [entry.request_id && `request ${entry.request_id}`, entry.address && `from ${entry.address}`].filter(Boolean).join(", ");
  return h("details", { class: "audit-detail" }, h("summary", {}, summary(pairs.map(([name]) => name))),
    pairs.map(([name, value]) => (value !== null && typeof value === "object" && ("before" in value || "after" in value)
      ? h("dl", { class: "change" }, h("dt", {}, name), h("dd", {}, h("del", {}, text(value.before)), " ", h("ins", {}, text(value.after))))
      : h("dl", { class: "change" }, h("dt", {}, name), h("dd", {}, h("code", {}, text(value)))))),
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
  const shown = (entries) => entries.filter((entry) => kind === "" || entry.action.startsWith(`${kind}.`));
  const show = () => void load(holder, signal, () => get("/v1/admin/audit", { ...place(), limit: PAGE }, { signal }), (page) => {
    if (page.entries.length === 0) return emptyState("Nothing was changed yet.", "Every administrative act leaves an entry here.");
    const { element, add } = table({ caption: "Audit trail, newest first", columns: COLUMNS, rows: shown(page.entries) });
    const problems = h("div");
    const none = h("p", { class: "quiet padded" }, "None of that kind among the newest.");
    const showRows = (any) => { none.hidden = any; element.hidden = !any; };
    showRows(shown(page.entries).length > 0);
    let last = page.entries.at(-1).id;
    const more = button("Load more", async () => {
      more.disabled = true;
      problems.replaceChildren();
      try {
        const next = await get("/v1/admin/audit", { ...place(), limit: PAGE, before: last }, { signal });
        add(shown(next.entries));
        if (shown(next.entries).length > 0) showRows(true);
        last = next.entries.at(-1)?.id ?? last;
        more.hidden = !next.has_more;
      } catch (error) {
        if (error.name !== "AbortError") replace(problems, problemBox(error));
      }
      more.disabled = false;
    });
    more.hidden = !page.has_more;
    return [none, element, problems, h("div", { class: "table-foot" }, more)];
  });
  replace(root,
    pageHead("Audit", `Every administrative act${session.organization ? ` in ${session.organization.name}` : ""}, who did it and from where. Never a secret.`),
    h("div", { class: "toolbar" }, picker({ label: "Show", options: KINDS, value: kind, onchange: (value) => { kind = value; show(); } }), button("Refresh", show)),
    holder);
  show();
}
