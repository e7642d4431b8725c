// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
//
// What pages are put together from: heads, cards, figures, bars, tables, and the three states of what is not there (yet).
import { announce, append, freshId, h, poll, redraw, replace } from "./dom.js";
import { waitWords } from "./format.js";
import { icon } from "./icons.js";

export function pageHead(title, lead, ...actions) {
  return h("header", { class: "page-head" },
    h("div", {}, h("h1", { tabindex: "-1" }, title), lead && h("p", { class: "lead" }, lead)),
    actions.length > 0 && h("div", { class: "actions" }, actions));
}

export function card(title, ...children) {
  const id = freshId("card");
  return h("section", { class: "card", "aria-labelledby": title ? id : null }, title && h("h2", { id }, title), children);
}

/** A card whose head has something on its right. */
export function cardWith(title, aside, ...children) {
  const id = freshId("card");
  return h("section", { class: "card", "aria-labelledby": id }, h("div", { class: "card-head" }, h("h2", { id }, title), aside), children);
}

/** `of`: what it acts on, for who hears one of many alike. `focus`: by what it is known when its list was drawn again (dom.js). */
export const button = (label, onclick, { kind = "", iconName = null, of = null, focus = null } = {}) =>
  h("button", { type: "button", class: `button ${kind}`, onclick, "aria-label": of && `${label}: ${of}`, "data-focus": focus }, iconName && icon(iconName), label);

export const badge = (text, kind = "") => h("span", { class: `badge ${kind}` }, text);

const STATUS_KINDS = { active: "good", disabled: "warn", expired: "", revoked: "bad" };
export const statusBadge = (status) => badge(status, STATUS_KINDS[status] ?? "");

/** A number with its name; `note` stands below. */
export function figure(label, value, note) {
  return h("div", { class: "figure" }, h("dt", {}, label), h("dd", {}, value, note && h("span", { class: "figure-note" }, note)));
}
export const figures = (...items) => h("dl", { class: "figures" }, items);

/** How much of something is taken. `words` say it to who does not see the bar. */
export function meter(part, words, { quiet = false } = {}) {
  const kind = quiet ? "" : part >= 1 ? "full" : part >= 0.8 ? "high" : "";
  const fill = h("div", { class: "meter-fill" });
  fill.style.width = `${Math.max(part * 100, part > 0 ? 1.5 : 0)}%`;
  return h("div", { class: `meter ${kind}`, role: "meter", "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": Math.round(part * 100), "aria-valuetext": words, "aria-label": words }, fill);
}

export function facts(...pairs) {
  return h("dl", { class: "facts" }, pairs.filter(Boolean).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

const classesOf = (column) => [column.numeric && "numeric", column.plain && "plain", column.named && "named", column.wideOnly && "wide-only"].filter(Boolean).join(" ") || null;

/**
 * A table that becomes a list of cards on a narrow screen.
 * columns: [{name, cell(row) -> node or text, numeric, head: this cell names the row, plain: no label on a narrow screen,
 *   named: what somebody called something, as long as it may be, wideOnly: left out where a table just fits}]
 */
export function table({ caption, columns, rows, showCaption = false }) {
  // The roles are said again because the narrow layout (display: block) takes them away.
  const body = h("tbody", { role: "rowgroup" });
  const element = h("table", { role: "table", class: "stacking" },
    h("caption", { class: showCaption ? "" : "unseen" }, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, columns.map((column) =>
      h("th", { role: "columnheader", scope: "col", class: classesOf(column) }, column.name || h("span", { class: "unseen" }, "Actions"))))),
    body);
  const add = (more) => {
    for (const row of more) {
      body.append(h("tr", { role: "row" }, columns.map((column) =>
        h(column.head ? "th" : "td", { role: column.head ? "rowheader" : "cell", scope: column.head ? "row" : null, class: classesOf(column), "data-name": column.name || null },
          h("div", { class: "cell" }, column.cell(row))))));
    }
  };
  add(rows);
  return { element, add };
}

/** A table whose rows come in pages. first and next(last): {items, has_more, last}, as nextThat (api.js) gives them. */
export function pagedTable({ caption, columns, first, next }) {
  const { element, add } = table({ caption, columns, rows: first.items });
  const problems = h("div");
  let { last } = first;
  const more = button("Load more", async () => {
    more.disabled = true;
    problems.replaceChildren();
    try {
      const page = await next(last);
      const before = element.tBodies[0].rows.length;
      add(page.items);
      last = page.last;
      more.hidden = !page.has_more;
      announce(`${page.items.length} more.`);
      const row = element.tBodies[0].rows[before] ?? element.tBodies[0].rows[before - 1];
      row.tabIndex = -1;
      row.focus(); // reading and tabbing go on where the new ones begin
    } catch (error) {
      if (error.name !== "AbortError") replace(problems, problemBox(error));
    }
    more.disabled = false;
  });
  more.hidden = !first.has_more;
  return [element, problems, h("div", { class: "table-foot" }, more)];
}

export const simpleTable = (options) => table(options).element;

export function loading(words = "Loading…") {
  return h("div", { class: "loading", role: "status" }, h("span", { class: "spinner", "aria-hidden": "true" }), words);
}

export function emptyState(title, text, ...actions) {
  return h("div", { class: "empty" }, h("p", { class: "empty-title" }, title), text && h("p", {}, text), actions.length > 0 && h("div", { class: "actions" }, actions));
}

/** What the server said, place by place where it named them. */
export function problemBox(error) {
  return h("div", { class: "notice bad", role: "alert" }, icon("warning"),
    h("div", {},
      h("p", {}, error.message),
      error.problems?.length > 0 && h("ul", {}, error.problems.map((one) => h("li", {}, one.place && h("code", {}, one.place), one.place && ": ", one.message))),
      error.retryAfter && h("p", {}, `Try again in ${waitWords(error.retryAfter)}.`),
      error.requestId && h("p", { class: "small" }, "Request ", h("code", {}, error.requestId))));
}

export const notice = (kind, ...content) => h("div", { class: `notice ${kind}` }, icon(kind === "good" ? "check" : kind === "" ? "info" : "warning"), h("div", {}, content));

/** Where the focus was in `container`, to be given back once that is drawn anew: to the same control, or, where it is gone, to the page's head. */
function keepFocus(container) {
  if (!container.contains(document.activeElement)) return () => {};
  const name = document.activeElement.closest("[data-focus]")?.dataset.focus;
  return () => {
    if (document.activeElement !== document.body) return; // somebody went on
    const same = name === undefined ? null : container.querySelector(`[data-focus="${CSS.escape(name)}"]`);
    (same ?? document.querySelector("main h1"))?.focus({ preventScroll: true });
  };
}

/** Shows that it loads, then what came, or why nothing did with a way to try again. */
export async function load(container, signal, fetcher, show) {
  const giveBack = keepFocus(container);
  container.setAttribute("aria-busy", "true");
  replace(container, loading());
  try {
    const data = await fetcher();
    if (signal.aborted) return;
    replace(container, show(data));
  } catch (error) {
    if (signal.aborted || error.name === "AbortError") return;
    if (error.status === undefined) throw error; // a mistake of ours: main.js reports it
    replace(container, problemBox(error), append(h("div", { class: "actions" }), button("Try again", () => load(container, signal, fetcher, show), { focus: "again" })));
  } finally {
    container.removeAttribute("aria-busy");
    if (!signal.aborted) giveBack();
  }
}

/**
 * What changes while it is looked at: fetched again `everyMs` after each answer. After a failure what was there stays, and is said to be older.
 * Gives its element, and `look`, which fetches at once.
 */
export function live({ everyMs, signal, fetcher, show }) {
  const problems = h("div", { hidden: true });
  const holder = h("div", { class: "stack" }, loading());
  let shown = false;
  const look = async () => {
    try {
      const drawn = show(await fetcher());
      if (drawn !== holder.firstChild) redraw(holder, drawn); // the same one: nothing has changed
      problems.hidden = true;
      shown = true;
    } catch (error) {
      if (error.name === "AbortError") return;
      replace(problems, shown ? notice("warn", h("p", {}, `${error.message} What is below is older.`)) : problemBox(error));
      problems.hidden = false;
      if (!shown) holder.replaceChildren();
    }
  };
  void poll(everyMs, signal, look);
  return { element: h("div", { class: "stack" }, problems, holder), look };
}

/** One of a few, as a row of buttons that behave as radio buttons. */
export function segments({ legend, options, value, onchange }) {
  const name = freshId("choice");
  return h("fieldset", { class: "segments" }, h("legend", { class: "unseen" }, legend),
    options.map(([key, label]) => {
      const id = freshId("option");
      return [h("input", { type: "radio", name, id, value: key, checked: key === value, onchange: () => onchange(key) }), h("label", { for: id }, label)];
    }));
}

/** A <select> with a label before it. options: [[value, label]] */
export function picker({ label, options, value, onchange, hideLabel = false }) {
  const id = freshId("picker");
  return h("div", { class: "picker" }, h("label", { for: id, class: hideLabel ? "unseen" : null }, label),
    h("select", { id, value, "data-focus": label, onchange: (event) => onchange(event.target.value) }, options.map(([key, text]) => h("option", { value: key }, text))));
}
