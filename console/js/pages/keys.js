// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
import { all, get, nextThat } from "../api.js";
import { debounce, h, redraw, replace } from "../dom.js";
import { field, limitsSummary, textInput } from "../form.js";
import { endOf, isolated, timeAgo } from "../format.js";
import { icon } from "../icons.js";
import { learnCurrency, place, session } from "../session.js";
import { badge, button, emptyState, load, pagedTable, pageHead, picker, statusBadge } from "../widgets.js";
import { createKey } from "./key_form.js";

const PAGE = 50;
const SEARCHED = 500; // keys that are looked through at a time where only some of them are shown
const COLUMNS = [
  { name: "Name", head: true, cell: (key) => h("a", { href: `#/keys/${encodeURIComponent(key.key_id)}` }, key.name || "(no name)") },
  { name: "Key", wideOnly: true, cell: (key) => h("code", { class: "key-text" }, key.hidden_key) },
  { name: "Status", cell: (key) => statusBadge(key.status) },
  { name: "Role", cell: (key) => (key.role === "admin" ? badge("admin", "accent") : key.role) },
  { name: "Workspace", named: true, cell: (key) => key.workspace_name },
  { name: "Limits", cell: (key) => limitsSummary(key.limits, key.model_limits, "workspace's") },
  { name: "Expires", cell: (key) => endOf(key.expires_at, { short: true }) },
  { name: "Last used", cell: (key) => timeAgo(key.last_used) },
];

/** `made`: a key that was made a moment ago; it stands first, and not behind all that are older. */
function list(filter, signal, create, made) {
  const holder = h("div", { class: "card flush" });
  const query = (after) => ({ ...place(), limit: filter.status === "" ? PAGE : SEARCHED, name: filter.name, workspace_id: filter.workspace, after });
  const isMade = (key) => key.key_id === made?.key_id;
  const fits = (key) => !isMade(key) && ( filter.status === "" || key.status === filter.status);
  const page = async (after) => {
    const { keys, has_more } = await get("/v1/admin/api-keys", query(after), { signal });
    return { items: keys, has_more, last: keys.at(-1)?.key_id };
  };
  const fetcher = async () => (await Promise.all([nextThat(fits, page, null, PAGE), learnCurrency()]))[0];
  void load(holder, signal, fetcher, (first) => {
    if (made !== null) first.items.unshift(made);
    const searched = filter.name !== "" || filter.workspace !== "" || filter.status !== "";
    if (first.items.length === 0 && !searched) return emptyState("No keys yet.", "A key is what a program shows to be let in.", create());
    if (first.items.length === 0) return emptyState("No key fits.", "Look for another part of the name, or the key's last four characters.");
    return pagedTable({ caption: "API keys", columns: COLUMNS, first, next: (last) => nextThat(fits, page, last, PAGE) });
  });
  return holder;
}

export function render({ root, signal, query }) {
  const filter = { name: query.get("name") ?? "", workspace: query.get("workspace") ?? "", status: "" };
  let workspaces = [];
  const holder = h("div");
  const tools = h("div", { class: "toolbar" });
  const show = (made = null) => replace(holder, list(filter, signal, createButton, made));
  const create = async () => {
    const made = await createKey(await comingWorkspaces, filter.workspace);
    if (made !== undefined && !signal.aborted) show(made);
  };
  const createButton = () => button("New key", create, { kind: "primary", iconName: "plus" });
  const search = field("Search", textInput({ type: "search", value: filter.name, placeholder: "name or last four characters" }));
  search.input.addEventListener("input", debounce(250, () => {
    filter.name = search.input.value.trim();
    if (!signal.aborted) show();
  }));
  replace(root, pageHead("Keys", `Who may ask, for what, and how much${session.organization ? `, in ${isolated(session.organization.name)}` : ""}.`, createButton()), tools, holder);
  const drawTools = () => redraw(tools,
    h("div", { class: "search" }, icon("search"), search.element),
    picker({ label: "Workspace", options: [["", "All"], ...workspaces.map((one) => [one.id, one.name])], value: filter.workspace, onchange: (id) => { filter.workspace = id; show(); } }),
    picker({ label: "Status", options: [["", "Any"], ["active", "Active"], ["disabled", "Disabled"], ["expired", "Expired"], ["revoked", "Revoked"]], value: filter.status, onchange: (status) => { filter.status = status; show(); } }));
  drawTools();
  show();
  const comingWorkspaces = all("/v1/admin/workspaces", "workspaces", place(), { signal }).then((found) => {
    workspaces = found;
    if (!search.element.contains(document.activeElement)) drawTools();
    return found;
  }).catch(() => []); // the list of keys says what is wrong
}
