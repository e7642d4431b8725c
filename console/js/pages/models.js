// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
import { get, put } from "../api.js";
import { formDialog, toast } from "../dialog.js";
import { h, replace, svg } from "../dom.js";
import { field, textInput } from "../form.js";
import { ago, compact, integer, money, parseAmount, percent, plural, share, toDate } from "../format.js";
import { isAdmin, isOperator, session } from "../session.js";
import { badge, button, cardWith, emptyState, live, load, meter, pageHead, simpleTable } from "../widgets.js";
import { byModel, fetchLive, sumOf } from "./live_models.js";

const LIVE_MS = 2000;
const HISTORY = 60; // points of a sparkline: two minutes
const CAPABILITIES = { completion_chat: "chat", completion_fim: "fill in the middle", function_calling: "tools", reasoning: "reasoning", vision: "vision", fine_tuning: "fine-tuning", classification: "classification" };

/** Tokens per second of each worker, from its counters between two looks. */
class Rates {
  before = new Map();
  history = new Map();

  look(workers) {
    const now = performance.now();
    for (const worker of workers) {
      const last = this.before.get(worker.worker_id);
      const total = Number(worker.completion_tokens ?? 0);
      if (last !== undefined && total >= last.total && now > last.at) {
        const line = this.history.get(worker.worker_id) ?? [];
        line.push(((total - last.total) / (now - last.at)) * 1000);
        this.history.set(worker.worker_id, line.slice(-HISTORY));
      }
      this.before.set(worker.worker_id, { total, at: now });
    }
  }
}

function sparkline(values) {
  if (values.length < 2) return null;
  const most = Math.max(...values, 1);
  const points = values.map((value, i) => `${((i + HISTORY - values.length) / (HISTORY - 1)) * 100},${23 - (value / most) * 21}`).join(" ");
  return svg("svg", { class: "spark", viewBox: "0 0 100 24", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("polyline", { points }));
}

function bar(part, words, name) {
  return h("div", { class: "bar-cell" }, h("span", {}, words), meter(part, `${name}: ${words}`, { quiet: true }));
}

function workersTable(model, rates) {
  return simpleTable({ caption: `Workers of ${model.id}`, rows: model.workers, columns: [
    { name: "Worker", head: true, cell: (worker) => [h("code", {}, worker.worker_id), worker.draining && [" ", badge("draining", "warn")]] },
    { name: "Answers", cell: (worker) => bar(share(worker.running, worker.sequences_max), `${integer(worker.running)} of ${integer(worker.sequences_max)}`, "Answers under way") },
    { name: "Queue", numeric: true, cell: (worker) => integer(worker.waiting) },
    { name: "KV cache", cell: (worker) => bar(share(worker.kv_tokens_used, worker.kv_tokens_total), `${compact(worker.kv_tokens_used)} of ${compact(worker.kv_tokens_total)} tokens`, "KV cache") },
    { name: "Tokens/s", numeric: true, cell: (worker) => {
      const line = rates.history.get(worker.worker_id) ?? [];
      return h("span", { class: "rate" }, sparkline(line), h("span", {}, line.length === 0 ? "–" : line.at(-1).toFixed(1)));
    } },
    { name: "Runs on", cell: (worker) => [worker.device, worker.kernel_variant && worker.kernel_variant !== worker.device && `, ${worker.kernel_variant}`, worker.region && `, ${worker.region}`].filter(Boolean) },
    { name: "Since", cell: (worker) => { const date = toDate(worker.started_at); return date === null ? "–" : ago(date); } },
    { name: "Version", wideOnly: true, cell: (worker) => worker.version || "–" },
  ] });
}

function modelCard(model, now, rates) {
  const { card } = model;
  const able = Object.entries(CAPABILITIES).filter(([name]) => card?.capabilities?.[name]).map(([, words]) => badge(words));
  const running = sumOf(model.workers, "running");
  const most = sumOf(model.workers, "sequences_max");
  return h("section", { class: "card", "aria-label": model.id },
    h("div", { class: "card-head" },
      h("h2", {}, model.id, model.tier && [" ", badge(model.tier, "accent")]),
      now.workers !== null && h("span", { class: "quiet" }, `${integer(running)} of ${plural(most, "answer")}, ${integer(sumOf(model.workers, "waiting"))} waiting, ${percent(share(sumOf(model.workers, "kv_tokens_used"), sumOf(model.workers, "kv_tokens_total")))} of the KV cache`)),
    card?.description && h("p", { class: "lead" }, card.description),
    h("p", { class: "chips" }, able, card?.max_context_length > 0 && badge(`${integer(card.max_context_length)} tokens of context`), model.aliases.map((alias) => badge(`also ${alias}`, "outline")), card?.deprecation && badge(`until ${card.deprecation}`, "warn")),
    model.workers.length > 0 && workersTable(model, rates),
    h("div", { class: "actions" }, h("a", { class: "button", href: `#/playground?model=${encodeURIComponent(model.id)}`, "data-focus": `try-${model.id}`, "aria-label": `Try it: ${model.id}` }, "Try it"), h("a", { class: "button", href: `#/usage?model=${encodeURIComponent(model.id)}`, "data-focus": `usage-${model.id}`, "aria-label": `Its usage: ${model.id}` }, "Its usage")));
}

/* ---- prices -------------------------------------------------------------------------------------------------------- */

async function changePrices(prices) {
  const currency = field("Currency", textInput({ value: prices.currency, maxlength: "3", placeholder: "EUR" }), { hint: "Three letters." });
  const holder = h("div", { class: "stack" });
  const rows = [];
  const add = (price, focus) => {
    const fields = [["model", "Model", price.model], ["input_per_million", "Input", price.input_per_million], ["cached_input_per_million", "Cached input", price.cached_input_per_million], ["output_per_million", "Output", price.output_per_million]]
      .map(([name, label, value]) => ({ name, ...field(label, textInput({ value: value ?? "", inputmode: name === "model" ? null : "decimal", placeholder: name === "cached_input_per_million" ? "as input" : null })) }));
    const element = h("fieldset", { class: "price-row" }, h("legend", { class: "unseen" }, "Price of a model"), fields.map((one) => one.element),
      button("Remove", () => {
        rows.splice(rows.indexOf(fields), 1);
        element.remove();
        more.focus();
      }));
    rows.push(fields);
    holder.append(element);
    if (focus) fields[0].input.focus();
  };
  const more = button("Add a model", () => add({}, true), { iconName: "plus" });
  for (const price of prices.prices) add(price, false);
  const read = () => {
    const result = [];
    for (const fields of rows) {
      const price = {};
      for (const one of fields) {
        const text = one.input.value.trim();
        const value = one.name === "model" ? text : parseAmount(text);
        if (one.name === "model" ? value === "" : Number.isNaN(value)) return one.fail(one.name === "model" ? "Which model?" : "An amount such as 0.25, with a point.");
        if (value !== null) price[one.name] = value;
      }
      result.push(price);
    }
    return result;
  };
  return formDialog({ title: "Prices", wide: true, submitLabel: "Save", content: h("div", { class: "stack" }, h("p", { class: "hint" }, "For a million tokens. A model's name, an alias or a tier; the most particular one counts. Answers that are under way keep their price."), currency.element, holder, more),
    submit: async () => {
      const list = read();
      if (list === false) return false;
      const changed = await put("/v1/admin/prices", { currency: currency.input.value.trim().toUpperCase(), prices: list });
      session.currency = changed.currency;
      toast("Prices saved.");
      return changed;
    } });
}

function pricesCard(signal) {
  const holder = h("div", { class: "stack" });
  const aside = h("span");
  const show = () => void load(holder, signal, () => get("/v1/admin/prices", {}, { signal }), (prices) => {
    replace(aside, isOperator() && button("Change", async () => { if (await changePrices(prices) !== undefined) show(); }));
    if (prices.prices.length === 0) return h("p", { class: "quiet" }, "No prices are set: nothing costs anything.");
    const amount = (value) => money(value, prices.currency);
    return simpleTable({ caption: "Prices for a million tokens", rows: prices.prices, columns: [
      { name: "Model", head: true, cell: (price) => price.model },
      { name: "Input", numeric: true, cell: (price) => amount(price.input_per_million) },
      { name: "Cached input", numeric: true, cell: (price) => amount(price.cached_input_per_million ?? price.input_per_million) },
      { name: "Output", numeric: true, cell: (price) => amount(price.output_per_million) },
    ] });
  });
  show();
  return cardWith("Prices for a million tokens", aside, holder);
}

export function render({ root, signal }) {
  const rates = new Rates();
  const models = live({ everyMs: LIVE_MS, signal, fetcher: () => fetchLive(signal), show: (now) => {
    rates.look(now.workers ?? []);
    const served = byModel(now);
    return served.length === 0 ? emptyState("No model is served now.", "Start a worker; it announces itself and appears here.") : served.map((model) => modelCard(model, now, rates));
  } });
  replace(root, pageHead("Models", isAdmin() ? "What is served, by whom, and how busy they are. Refreshed every two seconds." : "What is served now."), models.element, isAdmin() && pricesCard(signal));
}
