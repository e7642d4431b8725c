// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
//
// Today at a glance. Every card loads for itself, so that one part of the house that is away hides no other.
import { get } from "../api.js";
import { h, replace } from "../dom.js";
import { compact, DAY_MS, dayStart, integer, isoDay, money, moneyHeadline, percent, share } from "../format.js";
import { isAdmin, place, usagePath, whose } from "../session.js";
import { cardWith, card, emptyState, figure, figures, live, meter, pageHead } from "../widgets.js";
import { liveModels } from "./live_models.js";
import { usageOverTime, usageTable } from "./usage_parts.js";

const LIVE_MS = 2000;
const USAGE_MS = 5000;
const FIGURES = { requests: "Requests", input_tokens: "Input tokens", output_tokens: "Output tokens", cost: "Spend" };

function sumOf(rows) {
  const sum = Object.fromEntries(Object.keys(FIGURES).map((name) => [name, 0]));
  for (const row of rows) for (const name of Object.keys(sum)) sum[name] += Number(row[name]);
  return sum;
}

function fetchTwoDays(signal) {
  const today = dayStart(new Date()).getTime();
  return get(usagePath(), { ...place(), from: isoDay(new Date(today - DAY_MS)), to: isoDay(new Date(today + DAY_MS)), interval: "hour", group_by: ["model"] }, { signal });
}

/** `show(data, signal)` again only when the data are others, and nobody is reading a chart's table; its charts end when it is drawn again. */
function whenChanged(signal, show) {
  let drawn = null;
  return (data) => {
    const text = JSON.stringify(data);
    if (drawn !== null && (drawn.text === text || drawn.element.querySelector("details[open]") !== null)) return drawn.element;
    drawn?.end.abort();
    const end = new AbortController();
    signal.addEventListener("abort", () => end.abort(), { signal: end.signal });
    drawn = { text, end, element: h("div", { class: "stack" }, show(data, end.signal)) };
    return drawn.element;
  };
}

function todayCard(signal) {
  const card = live({ everyMs: USAGE_MS, signal, fetcher: () => fetchTwoDays(signal), show: whenChanged(signal, (usage, drawn) => {
    const today = dayStart(new Date());
    const isToday = (row) => new Date(row.start) >= today;
    const now = sumOf(usage.rows.filter(isToday));
    const before = sumOf(usage.rows.filter((row) => !isToday(row)));
    const text = (name, value) => (name === "cost" ? moneyHeadline(value, usage.currency) : integer(value));
    const todays = { ...usage, from: today.toISOString(), rows: usage.rows.filter(isToday) };
    return [
      figures(Object.entries(FIGURES).map(([name, label]) => figure(label, text(name, now[name]), ["yesterday ", name !== "cost" && before[name] >= 1e5 ? compact(before[name]) : text(name, before[name])]))),
      todays.rows.length === 0
        ? emptyState("Nothing was asked today.", isAdmin() ? "Make a key and let a program use it, or try a model yourself." : "Let a program use your key, or try a model yourself.", h("a", { class: "button primary", href: "#/playground" }, "Open the playground"), isAdmin() && h("a", { class: "button", href: "#/keys" }, "Keys"))
        : [usageOverTime(todays, { measure: "tokens", group: "model", signal: drawn }), usageTable(todays, "model")],
    ];
  }) });
  return cardWith("Today, UTC", h("a", { href: "#/usage" }, "All usage"), card.element);
}

function spendCard(signal) {
  const card = live({ everyMs: USAGE_MS, signal, fetcher: () => get("/v1/admin/spend-limit", place(), { signal }), show: whenChanged(signal, (spend) => {
    const limited = spend.spend_per_month !== null && spend.spend_per_month !== undefined;
    const part = limited ? share(spend.spent, spend.spend_per_month) : 0;
    return [
      h("p", { class: "big" }, moneyHeadline(spend.spent, spend.currency), limited && h("span", { class: "quiet" }, ` of ${money(spend.spend_per_month, spend.currency)}`)),
      limited ? meter(part, `${percent(part)} of this month's spend limit`) : h("p", { class: "quiet" }, "No spend limit is set."),
    ];
  }) });
  return cardWith("Spend this month", h("a", { href: "#/limits" }, "Limits"), card.element);
}

function liveCard(signal) {
  const models = live({ everyMs: LIVE_MS, signal, fetcher: () => liveModels(signal), show: (list) => list });
  return cardWith("Models now", h("a", { href: "#/models" }, "All about them"), models.element);
}

export function render({ root, signal }) {
  replace(root,
    pageHead("Overview", `What happens ${whose()}.`),
    h("div", { class: "columns wide-left" },
      todayCard(signal),
      h("div", { class: "stack" }, isAdmin() && spendCard(signal), liveCard(signal),
        card("Next", h("ul", { class: "links" },
          h("li", {}, h("a", { href: "#/playground" }, "Try a model in the playground")),
          isAdmin() && h("li", {}, h("a", { href: "#/keys" }, "Make a key for a program")),
          h("li", {}, h("a", { href: "#/limits" }, "See what is limited")))))));
}
