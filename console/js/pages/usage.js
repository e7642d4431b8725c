// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
import { download, get } from "../api.js";
import { h, replace } from "../dom.js";
import { toast } from "../dialog.js";
import { field } from "../form.js";
import { DAY_MS, dayStart, isoDay } from "../format.js";
import { isAdmin, place, usagePath, whose } from "../session.js";
import { button, card, cardWith, emptyState, load, notice, pageHead, picker, segments } from "../widgets.js";
import { MEASURES, usageFigures, usageOverTime, usageTable } from "./usage_parts.js";

const RANGES = [["today", "Today"], ["7", "Last 7 days"], ["30", "Last 30 days"], ["month", "This month"], ["last-month", "Last month"], ["own", "From … to …"]];
const GROUPS = [["", "Nothing"], ["model", "Model"], ["key", "Key"], ["workspace", "Workspace"]];
const HOURS_DAYS_MAX = 31; // more hours than a chart can show

function rangeOf(choice) {
  const today = dayStart(new Date());
  const tomorrow = new Date(today.getTime() + DAY_MS);
  const monthStart = (back) => new Date(Date.UTC(today.getUTCFullYear(), today.getUTCMonth() - back, 1));
  if (choice.range === "own") return { from: choice.from, to: isoDay(new Date(new Date(choice.to).getTime() + DAY_MS)) };
  if (choice.range === "month") return { from: isoDay(monthStart(0)), to: isoDay(tomorrow) };
  if (choice.range === "last-month") return { from: isoDay(monthStart(1)), to: isoDay(monthStart(0)) };
  const days = choice.range === "today" ? 1 : Number(choice.range);
  return { from: isoDay(new Date(tomorrow.getTime() - days * DAY_MS)), to: isoDay(tomorrow) };
}

const queryOf = (choice) => ({ ...place(), ...rangeOf(choice), interval: choice.interval, group_by: choice.group ? [choice.group] : [], key_id: choice.key, model: choice.model });

function exportButtons(choice) {
  const save = (path, query, name) => async () => {
    try {
      await download(path, query, name);
    } catch (error) {
      toast(error.message, "bad");
    }
  };
  const { from, to } = rangeOf(choice);
  const sums = queryOf(choice);
  const ledger = { ...place(), from, to, key_id: choice.key, model: choice.model };
  return h("div", { class: "actions" },
    button("Sums as CSV", save(usagePath(), { ...sums, format: "csv" }, `usage-${from}.csv`), { iconName: "download" }),
    button("Sums as JSON", save(usagePath(), sums, `usage-${from}.json`), { iconName: "download" }),
    isAdmin() && button("Every answer as CSV", save("/v1/admin/usage/ledger", { ...ledger, format: "csv" }, `ledger-${from}.csv`), { iconName: "download" }),
    isAdmin() && button("Every answer as JSON lines", save("/v1/admin/usage/ledger", { ...ledger, format: "jsonl" }, `ledger-${from}.jsonl`), { iconName: "download" }));
}

function results(choice, signal) {
  const holder = h("div", { class: "stack" });
  const linkOf = (sum) => (choice.group === "key" && isAdmin() && sum.id ? h("a", { href: `#/keys/${encodeURIComponent(sum.id)}` }, sum.row.key_name || sum.id) : null);
  void load(holder, signal, () => get(usagePath(), queryOf(choice), { signal }), (usage) => {
    const chart = h("div");
    const draw = (measure) => {
      choice.measure = measure;
      replace(chart, usageOverTime(usage, { measure, group: choice.group, signal }));
    };
    if (usage.rows.length === 0) return card(null, emptyState("Nothing was used in this time.", "Answers appear here within two seconds of their end.", h("a", { class: "button primary", href: "#/playground" }, "Open the playground")));
    draw(choice.measure);
    return [
      card("Total", usageFigures(usage)),
      cardWith("Over time", segments({ legend: "What the chart shows", options: Object.entries(MEASURES), value: choice.measure, onchange: draw }), chart),
      choice.group !== "" && card(`By ${choice.group}`, usageTable(usage, choice.group, linkOf)),
    ];
  });
  return holder;
}

export function render({ root, signal, query }) {
  const today = isoDay(new Date());
  const choice = { range: "30", from: isoDay(new Date(Date.now() - 6 * DAY_MS)), to: today, interval: "day", group: query.get("group_by") ?? "model", key: query.get("key"), model: query.get("model"), measure: "tokens" };
  const holder = h("div", { class: "stack" });
  const saves = h("div");
  const dates = [field("From", h("input", { type: "date", value: choice.from, max: today })), field("To", h("input", { type: "date", value: choice.to, max: today }))];
  const own = h("div", { class: "inline-fields", hidden: true }, dates.map((one) => one.element));
  const show = () => {
    own.hidden = choice.range !== "own";
    if (choice.range === "own") [choice.from, choice.to] = dates.map((one) => one.input.value);
    if (choice.range === "own" && (choice.from === "" || choice.to === "" || choice.from > choice.to)) {
      replace(holder, notice("warn", h("p", {}, "Choose two days, the earlier one first.")));
      return;
    }
    const { from, to } = rangeOf(choice);
    const days = (new Date(to) - new Date(from)) / DAY_MS;
    if (choice.interval === "hour" && days > HOURS_DAYS_MAX) {
      replace(holder, notice("warn", h("p", {}, `By the hour, at most ${HOURS_DAYS_MAX} days are shown. Choose a shorter time, or days.`)));
      return;
    }
    replace(holder, results(choice, signal));
    replace(saves, exportButtons(choice));
  };
  for (const one of dates) one.input.addEventListener("change", show);
  const change = (name) => (value) => {
    choice[name] = value;
    if (name === "range" && value === "today") choice.interval = "hour";
    if (name === "range" && value !== "today" && value !== "7") choice.interval = "day";
    interval.querySelector("select").value = choice.interval;
    show();
  };
  const interval = picker({ label: "By", options: [["hour", "Hour"], ["day", "Day"]], value: choice.interval, onchange: change("interval") });
  replace(root,
    pageHead("Usage", `What was asked ${whose()}, and what it costs. Days and hours are UTC.`),
    choice.key && notice("", h("p", {}, "One key only. ", h("a", { href: "#/usage" }, "Show all keys"))),
    choice.model && notice("", h("p", {}, "One model only: ", h("code", {}, choice.model), ". ", h("a", { href: "#/usage" }, "Show all models"))),
    h("div", { class: "toolbar" },
      picker({ label: "Time", options: RANGES, value: choice.range, onchange: change("range") }),
      own, interval,
      picker({ label: "Grouped by", options: GROUPS, value: choice.group, onchange: change("group") })),
    holder,
    card("Take it with you", saves));
  show();
}
