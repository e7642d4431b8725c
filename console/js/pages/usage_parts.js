// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
//
// Usage sums (proto/bora/v1/usage.proto) as figures, chart and table.
import { barChart } from "../chart.js";
import { compact, DAY_MS, HOUR_MS, integer, intervalName, money, moneyHeadline } from "../format.js";
import { figure, figures, simpleTable } from "../widgets.js";

export const MEASURES = { tokens: "Tokens", requests: "Requests", cost: "Spend" };
const NAMES = {
  key: (row) => row.key_name || row.key_id || "(no key)",
  workspace: (row) => row.workspace_name || row.workspace_id || "(no workspace)",
  model: (row) => row.model || "(no model)",
};
const IDS = { key: "key_id", workspace: "workspace_id", model: "model" };
const tokensOf = (row) => Number(row.input_tokens) + Number(row.output_tokens);
const POINTS_MAX = 800;

function formatOf(measure, currency) {
  if (measure === "cost") return (value) => money(value, currency);
  return integer;
}

export function usageFigures(usage) {
  const total = usage.total ?? { requests: 0, input_tokens: 0, output_tokens: 0, cached_tokens: 0, cost: 0 };
  return figures(
    figure("Requests", integer(total.requests)),
    figure("Input tokens", integer(total.input_tokens), Number(total.cached_tokens) > 0 && `${integer(total.cached_tokens)} from the cache`),
    figure("Output tokens", integer(total.output_tokens)),
    figure("Spend", moneyHeadline(total.cost, usage.currency)));
}

/** All starts of the range, also those that nothing happened in. */
function starts(usage) {
  const found = [];
  const end = new Date(usage.to).getTime();
  let time = new Date(usage.from).getTime();
  while (time < end && found.length < POINTS_MAX) {
    found.push(new Date(time).toISOString());
    if (usage.interval === "month") {
      const date = new Date(time);
      time = Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1, 1);
    } else {
      time += usage.interval === "hour" ? HOUR_MS : DAY_MS;
    }
  }
  return found;
}

function seriesOf(rows, points, measure, group) {
  const at = new Map(points.map((start, i) => [start, i]));
  const series = new Map();
  const add = (name, row, value) => {
    const i = at.get(new Date(row.start).toISOString());
    if (i === undefined) return;
    if (!series.has(name)) series.set(name, points.map(() => 0));
    series.get(name)[i] += value;
  };
  for (const row of rows) {
    if (group) {
      add(NAMES[group](row), row, measure === "tokens" ? tokensOf(row) : Number(row[measure]));
    } else if (measure === "tokens") {
      add("Input", row, Number(row.input_tokens) - Number(row.cached_tokens));
      add("Input from the cache", row, Number(row.cached_tokens));
      add("Output", row, Number(row.output_tokens));
    } else {
      add(MEASURES[measure], row, Number(row[measure]));
    }
  }
  const found = [...series].map(([name, values]) => ({ name, values })).filter((one) => one.values.some((value) => value !== 0));
  return found.length > 0 ? found : [{ name: MEASURES[measure], values: points.map(() => 0) }];
}

export function usageOverTime(usage, { measure, group, signal }) {
  const points = starts(usage);
  const series = seriesOf(usage.rows, points, measure, group);
  const format = formatOf(measure, usage.currency);
  const sum = series.reduce((total, one) => total + one.values.reduce((a, b) => a + b, 0), 0);
  const by = { hour: "hour", day: "day", month: "month" }[usage.interval] ?? "interval";
  return barChart({
    title: `${MEASURES[measure]} by ${by}`,
    summary: `${format(sum)} ${measure === "cost" ? "spent" : MEASURES[measure].toLowerCase()} by ${by} (UTC).`,
    labels: points.map((start) => intervalName(start, usage.interval, new Date(usage.to) - new Date(usage.from) <= DAY_MS)),
    labelName: by[0].toUpperCase() + by.slice(1),
    series,
    format,
    axisFormat: measure === "cost" ? format : compact,
    whole: measure !== "cost",
    signal,
  });
}

/** One line for each of what they are grouped by, the largest first. */
export function usageTable(usage, group, link = () => null) {
  const sums = new Map();
  for (const row of usage.rows) {
    const id = row[IDS[group]] ?? "";
    const sum = sums.get(id) ?? { id, row, requests: 0, input_tokens: 0, cached_tokens: 0, output_tokens: 0, cost: 0 };
    for (const name of ["requests", "input_tokens", "cached_tokens", "output_tokens", "cost"]) sum[name] += Number(row[name]);
    sums.set(id, sum);
  }
  const rows = [...sums.values()].sort((a, b) => b.cost - a.cost || tokensOf(b) - tokensOf(a));
  return simpleTable({ caption: `Usage by ${group}`, rows, columns: [
    { name: group[0].toUpperCase() + group.slice(1), head: true, cell: (sum) => link(sum) ?? NAMES[group](sum.row) },
    { name: "Requests", numeric: true, cell: (sum) => integer(sum.requests) },
    { name: "Input", numeric: true, cell: (sum) => integer(sum.input_tokens) },
    { name: "Cached", numeric: true, cell: (sum) => integer(sum.cached_tokens) },
    { name: "Output", numeric: true, cell: (sum) => integer(sum.output_tokens) },
    { name: "Spend", numeric: true, cell: (sum) => money(sum.cost, usage.currency) },
  ] });
}
