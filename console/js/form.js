// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
//
// Fields of forms: a label, a hint, a place for what is wrong, and how the value is read.
import { freshId, h } from "./dom.js";
import { exact, integer, money, parseAmount, parseCount } from "./format.js";
import { session } from "./session.js";
import { button } from "./widgets.js";

/** {element, input, fail(text)}; `fail` marks the field and puts the focus there, `clear` takes that back. */
export function field(label, input, { hint } = {}) {
  const id = input.id || freshId("field");
  const hintId = `${id}-hint`;
  const errorId = `${id}-error`;
  const error = h("p", { class: "field-error", id: errorId });
  input.id = id;
  input.setAttribute("aria-describedby", hint ? `${hintId} ${errorId}` : errorId);
  const element = h("div", { class: "field" }, h("label", { for: id }, label), input, hint && h("p", { class: "hint", id: hintId }, hint), error);
  const clear = () => {
    input.removeAttribute("aria-invalid");
    error.textContent = "";
  };
  input.addEventListener("input", clear);
  return {
    element,
    input,
    clear,
    fail(text) {
      input.setAttribute("aria-invalid", "true");
      error.textContent = text;
      for (let folded = input.closest("details"); folded !== null; folded = folded.parentElement.closest("details")) folded.open = true;
      input.focus();
      return false;
    },
  };
}

export const textInput = (attributes) => h("input", { type: "text", autocomplete: "off", spellcheck: "false", ...attributes });
export const select = (options, value) => h("select", { value }, options.map(([key, text]) => h("option", { value: key }, text)));

export function checkbox(label, checked, { hint } = {}) {
  const id = freshId("check");
  const input = h("input", { type: "checkbox", id, checked, "aria-describedby": hint ? `${id}-hint` : null });
  return { input, element: h("div", { class: "check" }, input, h("label", { for: id }, label), hint && h("p", { class: "hint", id: `${id}-hint` }, hint)) };
}

/** Several of a few. read() -> [value] */
export function checkboxes(legend, options, chosen, { hint } = {}) {
  const boxes = options.map(([value, label]) => ({ value, ...checkbox(label, chosen.includes(value)) }));
  const hintId = freshId("hint");
  return {
    element: h("fieldset", { class: "checks", "aria-describedby": hint ? hintId : null }, h("legend", {}, legend), hint && h("p", { class: "hint", id: hintId }, hint), h("div", { class: "check-grid" }, boxes.map((box) => box.element))),
    read: () => boxes.filter((box) => box.input.checked).map((box) => box.value),
  };
}

/* ---- limits (proto/bora/v1/keys.proto, Limits) --------------------------------------------------------------------- */

export const LIMITS = [
  { name: "requests_per_second", label: "Requests per second", unit: "req/s" },
  { name: "requests_per_minute", label: "Requests per minute", unit: "req/min" },
  { name: "tokens_per_minute", label: "Tokens per minute", unit: "tok/min" },
  { name: "input_tokens_per_minute", label: "Input tokens per minute", unit: "in tok/min" },
  { name: "output_tokens_per_minute", label: "Output tokens per minute", unit: "out tok/min" },
  { name: "tokens_per_day", label: "Tokens per day", unit: "tok/day" },
  { name: "tokens_per_month", label: "Tokens per month", unit: "tok/month" },
  { name: "concurrent_streams", label: "Answers at a time", unit: "at a time" },
  { name: "spend_per_month", label: "Spend per month", amount: true },
];

export const limitsSet = (limits) => LIMITS.filter((limit) => limits?.[limit.name] !== null && limits?.[limit.name] !== undefined);

/** "60 req/min, 1.5M tok/day", which breaks at the commas; [] for none. */
const limitsWords = (limits) => limitsSet(limits).map((limit, i) => [i > 0 && ", ", h("span", { class: "limit-words" }, limit.amount ? `${money(limits[limit.name], session.currency)}/month` : `${exact(limits[limit.name])} ${limit.unit}`)]);

/** Those over all models, then a line for each model that has its own; `nothing` where there are none. */
export function limitsSummary(limits, modelLimits, nothing = "none") {
  const own = limitsWords(limits);
  const lines = [...(own.length > 0 ? [own] : []), ...(modelLimits ?? []).map((one) => [`${one.model}: `, limitsWords(one.limits)])];
  return lines.length === 0 ? nothing : h("div", { class: "limits-words" }, lines.map((line) => h("div", {}, line)));
}

/** Nine fields; digits come in groups, as they may be typed (and k, M: a keyboard of digits alone would not do). read() -> {…} with what is set, or false when a field must be mended. */
export function limitsFields(limits, nothing = "unlimited") {
  const fields = LIMITS.map((limit) => {
    const value = limits?.[limit.name];
    const label = limit.amount && session.currency ? `${limit.label}, ${session.currency}` : limit.label;
    return { limit, ...field(label, textInput({ inputmode: limit.amount ? "decimal" : "text", placeholder: nothing, value: value === null || value === undefined ? "" : limit.amount ? value : integer(value), "data-limit": limit.name })) };
  });
  return {
    element: h("div", { class: "limits-grid" }, fields.map((one) => one.element)),
    read() {
      const result = {};
      for (const one of fields) {
        const value = one.limit.amount ? parseAmount(one.input.value) : parseCount(one.input.value);
        if (Number.isNaN(value)) return one.fail(one.limit.amount ? "An amount such as 25 or 0.5, with a point, or nothing." : "A whole number such as 600, 20k or 1.5m, or nothing.");
        if (value !== null) result[one.limit.name] = value;
      }
      return result;
    },
  };
}

export const LIMITS_HINT = "Empty: unlimited. 0: nothing may pass. 20k and 1.5m are understood. Days and months are those of UTC.";

/** Limits for single models, as many as wanted. read() -> [{model, limits}] or false. */
export function modelLimitsFields(list, models) {
  const rows = [];
  const holder = h("div", { class: "model-limits" });
  const datalist = h("datalist", { id: freshId("models") }, models.map((name) => h("option", { value: name })));
  const add = (one, focus) => {
    const model = field("Model", textInput({ value: one.model, list: datalist.id, placeholder: "name, alias or tier" }));
    const limits = limitsFields(one.limits);
    const row = { model, limits };
    const element = h("fieldset", { class: "model-limit" }, h("legend", {}, "For one model"),
      h("div", { class: "model-limit-head" }, model.element, button("Remove", () => {
        rows.splice(rows.indexOf(row), 1);
        element.remove();
        more.focus();
      })),
      limits.element);
    rows.push(row);
    holder.append(element);
    if (focus) model.input.focus();
  };
  const more = button("Add limits for a model", () => add({ model: "", limits: {} }, true), { iconName: "plus" });
  for (const one of list ?? []) add(one, false);
  return {
    element: h("div", { class: "stack" }, datalist, holder, more),
    read() {
      const result = [];
      for (const row of rows) {
        if (row.model.input.value.trim() === "") return row.model.fail("Which model is this for?");
        const limits = row.limits.read();
        if (limits === false) return false;
        result.push({ model: row.model.input.value.trim(), limits });
      }
      return result;
    },
  };
}

export function details(summary, content, { open = false } = {}) {
  return h("details", { class: "more", open }, h("summary", {}, summary), h("div", { class: "stack" }, content));
}
