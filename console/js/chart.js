// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
//
// Charts: Chart.js (vendor/, MIT), fetched when the first one is drawn. Each has the same numbers as a table.
import { freshId, h, replace } from "./dom.js";
import { load, simpleTable } from "./widgets.js";

// Told apart by colour-blind people too, in light and in dark; the table says the same without colours.
const COLOURS = ["#12908f", "#e08a2b", "#6b6bdc", "#d1558a", "#7f9c1c", "#3b8fe0", "#b27b4a", "#8a94a3"];
const SERIES_MAX = COLOURS.length;

async function library() {
  await import("../vendor/chart.min.js");
  return globalThis.Chart;
}

/** A token of the style sheet as a colour that a canvas knows. */
function colour(token) {
  const probe = h("span", { class: "unseen" });
  probe.style.color = `var(${token})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

/** The largest series by name, the others as one. */
function topSeries(series) {
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const sorted = [...series].sort((a, b) => sum(b.values) - sum(a.values));
  if (sorted.length <= SERIES_MAX) return sorted;
  const rest = sorted.slice(SERIES_MAX - 1);
  return [...sorted.slice(0, SERIES_MAX - 1), { name: `${rest.length} others`, values: rest[0].values.map((_, i) => sum(rest.map((one) => one.values[i]))) }];
}

function options(Chart, { format, legend, whole }) {
  const text = colour("--muted");
  const line = colour("--line");
  const font = { family: getComputedStyle(document.body).fontFamily, size: 12 };
  return {
    responsive: true,
    maintainAspectRatio: false,
    animation: matchMedia("(prefers-reduced-motion: reduce)").matches ? false : { duration: 250 },
    interaction: { mode: "index", intersect: false },
    scales: {
      x: { stacked: true, grid: { display: false }, border: { color: line }, ticks: { color: text, font, maxRotation: 0, autoSkipPadding: 16 } },
      y: { stacked: true, beginAtZero: true, grid: { color: line, drawBorder: false }, ticks: { color: text, font, maxTicksLimit: 5, ...(whole ? { precision: 0 } : {}), callback: (value) => format(value) } },
    },
    plugins: {
      legend: { display: legend, position: "bottom", labels: { color: text, font, boxWidth: 10, boxHeight: 10, useBorderRadius: true } },
      tooltip: { callbacks: { label: (item) => `${item.dataset.label}: ${format(item.parsed.y)}` }, filter: (item) => item.parsed.y > 0 },
    },
  };
}

/**
 * Stacked bars. labels: ["1 Nov", …]; series: [{name, values}]; format(value) -> text; `whole`: values are whole numbers.
 * The picture is decoration; the sentence and the table are what everybody can read. Ends with the signal.
 */
export function barChart({ title, summary, labels, series, format, axisFormat = format, whole = true, labelName, signal }) {
  const shown = topSeries(series);
  const canvas = h("canvas", { role: "img", "aria-label": `${title}. ${summary}` });
  const holder = h("div", { class: "chart" }, canvas);
  const tableId = freshId("chart-table");
  const tableHolder = h("div", { id: tableId, class: "chart-table", hidden: true, tabindex: "0", role: "region", "aria-label": `${title}, as a table` });
  const toggle = h("button", { type: "button", class: "link-button", "aria-expanded": "false", "aria-controls": tableId, onclick: () => {
    tableHolder.hidden = !tableHolder.hidden;
    toggle.setAttribute("aria-expanded", String(!tableHolder.hidden));
    toggle.textContent = tableHolder.hidden ? "Show as a table" : "Hide the table";
    if (!tableHolder.hidden && tableHolder.childElementCount === 0) {
      replace(tableHolder, simpleTable({ caption: title, rows: labels.map((label, i) => ({ label, i })), columns: [
        { name: labelName, head: true, cell: (row) => row.label },
        ...shown.map((one) => ({ name: one.name, numeric: true, cell: (row) => format(one.values[row.i]) })),
      ] }));
    }
  } }, "Show as a table");
  let chart = null;
  const draw = async () => {
    const Chart = await library();
    if (signal.aborted || !canvas.isConnected) return;
    chart?.destroy();
    chart = new Chart(canvas, {
      type: "bar",
      data: { labels, datasets: shown.map((one, i) => ({ label: one.name, data: one.values, backgroundColor: COLOURS[i], borderRadius: 2, maxBarThickness: 36, categoryPercentage: 0.85 })) },
      options: options(Chart, { format, legend: shown.length > 1, whole }),
    });
    chart.options.scales.y.ticks.callback = (value) => axisFormat(value);
    chart.update("none");
  };
  requestAnimationFrame(() => void load(h("div"), signal, draw, () => null));
  const redraw = () => { if (chart !== null) void draw(); };
  window.addEventListener("bora-theme", redraw, { signal });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw, { signal });
  signal.addEventListener("abort", () => chart?.destroy());
  return h("figure", { class: "chart-figure" }, holder, h("figcaption", {}, h("span", {}, summary), toggle), tableHolder);
}
