// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
//
// One turn of a conversation as it is shown: text, thinking, calls, JSON, figures.
import { h, replace } from "../dom.js";
import { integer, milliseconds } from "../format.js";
import { icon } from "../icons.js";
import { badge, problemBox } from "../widgets.js";

const ROLE_NAMES = { user: "You", assistant: "Model", tool: "Result" };

/** Text with its ``` fences as blocks of code. All of it as text nodes. */
function textWithCode(text) {
  return text.split(/```/).map((part, i) => {
    if (i % 2 === 0) return part === "" ? null : h("div", { class: "prose" }, part.replace(/^\n+|\n+$/g, ""));
    return h("pre", { class: "code-block", tabindex: "0", role: "group", "aria-label": "Code" }, h("code", {}, part.replace(/^[\w+-]*\n/, "").replace(/\n$/, "")));
  });
}

function prettyJson(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return null;
  }
}

export function turn(role, ...content) {
  return h("article", { class: `turn ${role}`, "aria-label": ROLE_NAMES[role] ?? role }, h("h2", { class: "turn-role" }, ROLE_NAMES[role] ?? role), content);
}

export const userTurn = (text) => turn("user", textWithCode(text));

export function toolTurn(name, text) {
  return turn("tool", h("p", { class: "small quiet" }, `of ${name}`), h("pre", { class: "code-block", tabindex: "0", role: "group", "aria-label": `Result of ${name}` }, h("code", {}, prettyJson(text) ?? text)));
}

function callCard(call) {
  const text = call.function?.arguments ?? "";
  return h("div", { class: "call" },
    h("p", { class: "call-name" }, icon("tool"), h("span", {}, "calls "), h("code", {}, call.function?.name ?? "?")),
    h("pre", { class: "code-block", tabindex: "0", role: "group", "aria-label": `Arguments of ${call.function?.name}` }, h("code", {}, prettyJson(text) ?? text)));
}

const ENDS = { error: "broke off", stopped: "stopped by you" };

/**
 * Why an answer was cut. The service says "length" in every case; who gives no max_tokens gets what the context has room for, or less where a limit
 * leaves less.
 */
function cutWords({ usage, bounds }) {
  const total = usage?.total_tokens ?? 0;
  if (bounds.context > 0 && total >= bounds.context) return "cut: the context is full";
  if (bounds.maxTokens) return "cut: tokens at most reached";
  return bounds.context > 0 && total > 0 ? "cut: a limit leaves no more tokens" : "cut: a limit or the context is reached";
}

function statistics(answer) {
  const end = answer.end === "length" || answer.end === "model_length" ? cutWords(answer) : ENDS[answer.end];
  const { usage } = answer;
  const seconds = (answer.endedAt - (answer.firstAt ?? answer.endedAt)) / 1000;
  const rate = usage && seconds > 0.05 && usage.completion_tokens > 1 ? (usage.completion_tokens - 1) / seconds : null;
  return h("ul", { class: "statistics" },
    end && h("li", {}, badge(end, "warn")),
    answer.firstAt !== null && h("li", {}, `first token ${milliseconds(answer.firstAt - answer.startedAt)}`),
    h("li", {}, `all ${milliseconds(answer.endedAt - answer.startedAt)}`),
    usage && h("li", {}, `${integer(usage.prompt_tokens)} in`, usage.prompt_tokens_details?.cached_tokens > 0 && ` (${integer(usage.prompt_tokens_details.cached_tokens)} cached)`),
    usage && h("li", {}, `${integer(usage.completion_tokens)} out`),
    rate !== null && h("li", {}, `${rate.toFixed(1)} tokens/s`),
    answer.model && h("li", {}, answer.model));
}

/** An answer that grows: add(delta) while it comes, finish() at its end. */
export class AnswerTurn {
  text = "";
  thinking = "";
  calls = [];
  usage = null;
  end = null;
  model = null;
  startedAt = performance.now();
  firstAt = null;
  endedAt = null;

  /** bounds: {maxTokens: whether the request says how many, context: of the model, 0 when it is not known} */
  constructor(wantsJson, bounds) {
    this.wantsJson = wantsJson;
    this.bounds = bounds;
    this.node = document.createTextNode("");
    this.body = h("div", { class: "prose" }, this.node, h("span", { class: "caret", "aria-hidden": "true" }));
    this.thought = h("div", { class: "prose" });
    this.thoughts = h("details", { class: "thinking", hidden: true }, h("summary", {}, "Thinking"), this.thought);
    this.extras = h("div", { class: "stack" });
    this.element = turn("assistant", this.thoughts, this.body, this.extras);
    this.element.setAttribute("aria-busy", "true"); // read out when it is whole, not word by word
  }

  add(chunk) {
    this.model = chunk.model ?? this.model;
    if (chunk.usage) this.usage = chunk.usage;
    for (const choice of chunk.choices ?? []) {
      const { delta } = choice;
      if (this.firstAt === null && (delta?.content || delta?.tool_calls || delta?.reasoning_content)) this.firstAt = performance.now();
      if (delta?.reasoning_content) {
        this.thinking += delta.reasoning_content;
        this.thoughts.hidden = false;
        this.thought.textContent = this.thinking;
      }
      if (delta?.content) {
        this.text += delta.content;
        this.node.appendData(delta.content);
      }
      for (const call of delta?.tool_calls ?? []) {
        this.calls.push(call);
        this.extras.append(callCard(call));
      }
      if (choice.finish_reason) this.end = choice.finish_reason;
    }
  }

  finish(error) {
    this.endedAt = performance.now();
    const json = this.wantsJson ? prettyJson(this.text) : null;
    if (json !== null) {
      replace(this.body, h("p", { class: "small" }, badge("valid JSON", "good")), h("pre", { class: "code-block", tabindex: "0", role: "group", "aria-label": "JSON answer" }, h("code", {}, json)));
    } else {
      replace(this.body, textWithCode(this.text));
      if (this.wantsJson && this.text !== "") this.body.append(h("p", { class: "small" }, badge("not whole JSON", "warn")));
    }
    if (this.text === "" && this.calls.length === 0 && !error) this.body.append(h("p", { class: "quiet" }, "(an empty answer)"));
    if (error) this.extras.append(problemBox(error));
    else this.extras.append(statistics(this));
    this.element.removeAttribute("aria-busy");
  }

  /** The message as it goes back with the next question. */
  message() {
    return { role: "assistant", content: this.text === "" && this.calls.length > 0 ? null : this.text, ...(this.calls.length > 0 ? { tool_calls: this.calls.map((call) => ({ id: call.id, type: "function", function: { name: call.function.name, arguments: call.function.arguments } })) } : {}) };
  }
}
