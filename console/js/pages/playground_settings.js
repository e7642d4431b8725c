// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
//
// The right side of the playground: what is asked besides the conversation. read() makes the request of it.
import { get } from "../api.js";
import { h, replace } from "../dom.js";
import { details, field, select, textInput } from "../form.js";
import { parseAmount, parseCount } from "../format.js";
import { isOperator } from "../session.js";
import { button, notice } from "../widgets.js";
import { handOver, playgroundKey } from "./playground_key.js";

const EXAMPLE_TOOLS = [{ type: "function", function: { name: "get_weather", description: "The weather of a place, now", parameters: { type: "object", properties: { place: { type: "string" }, unit: { type: "string", enum: ["celsius", "fahrenheit"] } }, required: ["place"] } } }];
const EXAMPLE_SCHEMA = { type: "object", properties: { name: { type: "string", maxLength: 40 }, age: { type: "integer", minimum: 0, maximum: 130 } }, required: ["name", "age"], additionalProperties: false };
const NUMBERS = [
  { name: "temperature", label: "Temperature", hint: "0: always the likeliest", read: parseAmount },
  { name: "max_tokens", label: "Tokens at most", read: parseCount },
  { name: "top_p", label: "Top p", read: parseAmount },
  { name: "top_k", label: "Top k", read: parseCount },
  { name: "min_p", label: "Min p", read: parseAmount },
  { name: "frequency_penalty", label: "Frequency penalty", read: parseSigned },
  { name: "presence_penalty", label: "Presence penalty", read: parseSigned },
  { name: "repetition_penalty", label: "Repetition penalty", read: parseAmount },
  { name: "random_seed", label: "Seed", hint: "The same seed gives the same answer", read: parseCount },
];
const SIMPLE = 2; // of NUMBERS, shown at once
const FORMATS = [["text", "Text"], ["json_object", "Any JSON object"], ["json_schema", "JSON that fits a schema"], ["regex", "A regular expression"], ["choice", "One of some texts"], ["grammar", "A grammar (GBNF)"]];

const nothingTyped = () => ({ model: null, system: "", numbers: { max_tokens: "512" }, stop: "", format: "text", formatText: {}, tools: "", toolChoice: "auto" });

/** What was typed, kept until somebody signs out: the next one who sits here does not read it. */
let kept = nothingTyped();
window.addEventListener("bora-signed-out", () => { kept = nothingTyped(); });

function parseSigned(text) {
  const clean = text.trim();
  if (clean === "") return null;
  return /^-?\d+(\.\d+)?$/.test(clean) ? Number(clean) : NaN;
}

const pretty = (value) => JSON.stringify(value, null, 2);
const keep = (input, set) => input.addEventListener("input", () => set(input.value));
const code = (attributes) => h("textarea", { class: "code", spellcheck: "false", autocapitalize: "off", autocomplete: "off", ...attributes });

function parseJson(one, what) {
  try {
    return JSON.parse(one.input.value);
  } catch (error) {
    one.fail(`This is no JSON${what}: ${error.message}`);
    return undefined;
  }
}

/* ---- the key ------------------------------------------------------------------------------------------------------- */

function keyField(changed) {
  const holder = h("div");
  let fail = null; // says what is wrong at the field, while there is one
  const draw = () => {
    fail = null;
    if (playgroundKey.key !== null) {
      replace(holder, notice("", h("p", {}, "Asking with ", h("strong", {}, playgroundKey.name || "another key"), ". "), h("p", {}, h("button", { type: "button", class: "link-button", onclick: () => {
        handOver(null, null);
        draw();
        changed();
      } }, isOperator() ? "Use another key" : "Use the key that is signed in"))));
      return;
    }
    const one = field(isOperator() ? "Key to ask with" : "Ask with another key", h("input", { type: "password", autocomplete: "off", spellcheck: "false" }), { hint: isOperator() ? "The operator's key may not ask models. Paste one that may; it stays in memory." : "Empty: the key that is signed in." });
    one.input.addEventListener("change", () => {
      const value = one.input.value.trim();
      if (value === "") return;
      handOver(value, `${value.split("_").slice(0, 2).join("_")}_…`);
      draw();
      changed();
    });
    replace(holder, isOperator() ? one.element : details("Another key", one.element));
    fail = one.fail;
  };
  draw();
  return { element: holder, fail: (text) => fail(text) };
}

/* ---- parts --------------------------------------------------------------------------------------------------------- */

function modelField(wanted, signal) {
  const input = select([], "");
  const one = field("Model", input);
  const contexts = new Map();
  input.addEventListener("change", () => { kept.model = input.value; });
  const refresh = async () => {
    if (isOperator() && playgroundKey.key === null) return void replace(input, h("option", { value: "" }, "Paste a key first"));
    try {
      const { data } = await get("/v1/models", {}, { signal, key: playgroundKey.key ?? undefined });
      for (const model of data) contexts.set(model.id, Number(model.max_context_length ?? 0));
      replace(input, data.map((model) => h("option", { value: model.id }, model.tier ? `${model.id} (${model.tier})` : model.id)));
      one.clear();
      const first = [wanted, kept.model].find((name) => data.some((model) => model.id === name)) ?? data[0]?.id;
      if (first !== undefined) input.value = first;
      if (data.length === 0) replace(input, h("option", { value: "" }, "No model is served now"));
    } catch (error) {
      if (error.name === "AbortError") return;
      replace(input, h("option", { value: "" }, "The models cannot be listed"));
      one.element.querySelector(".field-error").textContent = error.message;
    }
  };
  void refresh();
  return { ...one, refresh, contexts };
}

function numberFields() {
  const fields = NUMBERS.map((number) => {
    const one = field(number.label, textInput({ inputmode: "decimal", value: kept.numbers[number.name] ?? "", placeholder: "default", "data-parameter": number.name }), { hint: number.hint });
    keep(one.input, (value) => { kept.numbers[number.name] = value; });
    return { number, ...one };
  });
  return {
    simple: fields.slice(0, SIMPLE).map((one) => one.element),
    rest: fields.slice(SIMPLE).map((one) => one.element),
    read() {
      const result = {};
      for (const one of fields) {
        const value = one.number.read(one.input.value);
        if (Number.isNaN(value)) return one.fail("A number such as 7 or 0.7, with a point, or nothing for the model's own.");
        if (value !== null) result[one.number.name] = value;
      }
      return result;
    },
  };
}

function formatFields() {
  const choice = field("Answer as", select(FORMATS, kept.format));
  const holder = h("div");
  let text = null;
  const draw = () => {
    kept.format = choice.input.value;
    const attributes = { rows: "8", value: kept.formatText[kept.format] ?? (kept.format === "json_schema" ? pretty(EXAMPLE_SCHEMA) : "") };
    const shown = {
      json_schema: () => field("Schema", code(attributes), { hint: "JSON Schema, enforced token by token. Ask for JSON in the prompt too." }),
      regex: () => field("Pattern", code({ ...attributes, rows: "2" }), { hint: "ECMA-262. All of the answer matches." }),
      choice: () => field("Texts, one a line", code({ ...attributes, rows: "4" })),
      grammar: () => field("Grammar", code(attributes), { hint: "Its rule “root” is all of the answer." }),
    }[kept.format];
    text = shown?.() ?? null;
    if (text !== null) keep(text.input, (value) => { kept.formatText[kept.format] = value; });
    replace(holder, text?.element);
  };
  choice.input.addEventListener("change", draw);
  draw();
  return {
    elements: [choice.element, holder],
    /** response_format; null for text; false when a field must be mended. */
    read() {
      const type = kept.format;
      if (type === "text") return null;
      if (type === "json_object") return { type };
      if (text.input.value.trim() === "") return text.fail("This is empty.");
      if (type === "json_schema") {
        const schema = parseJson(text, "");
        return schema === undefined ? false : { type, json_schema: { name: "answer", schema } };
      }
      if (type === "choice") return { type, choice: text.input.value.split("\n").map((line) => line.trim()).filter((line) => line !== "") };
      return { type, [type]: text.input.value };
    },
  };
}

function toolFields() {
  const tools = field("Tools", code({ rows: "8", value: kept.tools, placeholder: "[ … ]" }), { hint: "A JSON array, as in the interface. Calls are shown; you answer them." });
  const choice = field("Which", select([["auto", "The model decides"], ["required", "It must call"], ["none", "It may not call"]], kept.toolChoice));
  keep(tools.input, (value) => { kept.tools = value; });
  choice.input.addEventListener("change", () => { kept.toolChoice = choice.input.value; });
  return {
    elements: [tools.element, h("p", { class: "under-field" }, button("Insert an example", () => {
      tools.input.value = pretty(EXAMPLE_TOOLS);
      kept.tools = tools.input.value;
      tools.clear();
      tools.input.focus();
    }, { kind: "small" })), choice.element],
    /** {} without tools; false when they must be mended. */
    read() {
      if (tools.input.value.trim() === "") return {};
      const list = parseJson(tools, "");
      if (list === undefined) return false;
      if (!Array.isArray(list)) return tools.fail("An array of tools: [ … ].");
      return { tools: list, tool_choice: choice.input.value };
    },
  };
}

/** {element, read() -> request without the conversation, or false; system() -> text; context(model) -> its tokens, or 0} */
export function playgroundSettings({ signal, model: wanted }) {
  const model = modelField(wanted, signal);
  const key = keyField(() => model.refresh());
  const system = field("System prompt", h("textarea", { rows: "3", value: kept.system, placeholder: "How the model should behave" }));
  const numbers = numberFields();
  const stop = field("Stop at", textInput({ value: kept.stop, placeholder: "texts, with commas between" }));
  const format = formatFields();
  const tools = toolFields();
  keep(system.input, (value) => { kept.system = value; });
  keep(stop.input, (value) => { kept.stop = value; });
  return {
    element: h("div", { class: "stack" },
      key.element, model.element, system.element,
      h("div", { class: "pair" }, numbers.simple),
      details("More parameters", [h("div", { class: "pair" }, numbers.rest), stop.element]),
      details("Form of the answer", format.elements, { open: kept.format !== "text" }),
      details("Tools", tools.elements, { open: kept.tools !== "" })),
    system: () => system.input.value.trim(),
    context: (name) => model.contexts.get(name) ?? 0,
    read() {
      if (isOperator() && playgroundKey.key === null) return key.fail("Paste a key that may ask models.");
      if (model.input.value === "") return model.fail("There is no model to ask.");
      const settings = numbers.read();
      if (settings === false) return false;
      const responseFormat = format.read();
      if (responseFormat === false) return false;
      const called = tools.read();
      if (called === false) return false;
      const stops = stop.input.value.split(",").map((one) => one.trim()).filter((one) => one !== "");
      return { model: model.input.value, ...settings, ...(stops.length > 0 ? { stop: stops } : {}), ...(responseFormat === null ? {} : { response_format: responseFormat }), ...called };
    },
  };
}
