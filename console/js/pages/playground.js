// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
//
// A conversation with a model, as any client would have it: POST /v1/chat/completions, streamed.
import { stream } from "../api.js";
import { announce, h, replace } from "../dom.js";
import { field, textInput } from "../form.js";
import { icon } from "../icons.js";
import { button, emptyState, pageHead } from "../widgets.js";
import { showCode } from "./playground_code.js";
import { playgroundKey } from "./playground_key.js";
import { playgroundSettings } from "./playground_settings.js";
import { AnswerTurn, toolTurn, userTurn } from "./playground_turn.js";

const NEAR_END = 80; // pixels: who is closer to the end than this is taken along

/** Where calls of tools are answered. sent([{tool_call_id, name, content}]) -> false when they could not be sent. */
function resultsForm(calls, sent) {
  const which = (i) => (calls.length > 1 ? ` (${i + 1} of ${calls.length})` : "");
  const fields = calls.map((call, i) => ({ call, ...field(`Result of ${call.function.name}${which(i)}`, textInput({ placeholder: "{\"temperature\": 21}" })) }));
  const form = h("form", { class: "results", novalidate: true }, fields.map((one) => one.element), h("div", { class: "actions" }, h("button", { type: "submit", class: "button primary" }, "Send results")));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    for (const one of fields) if (one.input.value.trim() === "") return void one.fail("What did it give back?");
    if (sent(fields.map((one) => ({ role: "tool", tool_call_id: one.call.id, name: one.call.function.name, content: one.input.value.trim() })))) form.remove();
  });
  return { form, focus: () => fields[0].input.focus() };
}

class Conversation {
  messages = [];
  running = null; // AbortController of the answer that comes
  unanswered = null; // the form of calls that wait for results

  constructor({ settings, signal }) {
    this.settings = settings;
    this.log = h("div", { class: "log", role: "log", "aria-live": "polite", "aria-label": "Conversation", tabindex: "0" });
    this.question = field("Your message", h("textarea", { rows: "2", placeholder: "Ask something" }), { hint: "Enter sends, Shift and Enter begin a new line." });
    this.sendButton = h("button", { type: "submit", class: "button primary" }, icon("send"), "Send");
    this.stopButton = button("Stop", () => this.running?.abort(), { iconName: "stop" });
    this.stopButton.hidden = true;
    this.again = button("Try again", () => this.tryAgain());
    this.again.hidden = true;
    this.composer = h("form", { class: "composer", novalidate: true }, this.question.element, h("div", { class: "actions" }, this.sendButton, this.stopButton, this.again));
    this.composer.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    this.question.input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.send();
    });
    signal.addEventListener("abort", () => this.running?.abort());
    this.clear();
  }

  clear() {
    this.running?.abort();
    Object.assign(this, { messages: [], unanswered: null });
    this.again.hidden = true;
    replace(this.log, emptyState("Say something to begin.", "Answers come as they are generated. Nothing is stored: leaving the page forgets the conversation."));
  }

  /** The whole request, or false when a setting must be mended. */
  request(messages = this.messages) {
    const settings = this.settings.read();
    if (settings === false) return false;
    const system = this.settings.system();
    const { model, ...rest } = settings;
    return { model, messages: [...(system === "" ? [] : [{ role: "system", content: system }]), ...messages], ...rest, stream: true };
  }

  send() {
    const text = this.question.input.value.trim();
    if (this.running !== null) return;
    if (this.unanswered !== null) {
      this.question.fail("The model waits for the results of its calls: send them first, or clear the conversation.");
      return;
    }
    if (text === "") return void this.question.fail("Write a message first.");
    const message = { role: "user", content: text };
    const request = this.request([...this.messages, message]);
    if (request === false) return;
    this.messages.push(message);
    this.question.input.value = "";
    this.question.clear();
    if (this.messages.length === 1) replace(this.log);
    this.show(userTurn(text));
    void this.answer(request);
  }

  tryAgain() {
    while (this.messages.at(-1)?.role === "assistant") this.messages.pop();
    const request = this.request();
    if (request === false || this.messages.length === 0) return;
    this.unanswered?.form.remove();
    this.unanswered = null;
    this.last?.element.remove();
    void this.answer(request);
  }

  show(element) {
    const near = this.nearEnd();
    this.log.append(element);
    if (near) this.follow();
  }

  /** What scrolls: the log where there is room for it beside the settings, else the page. */
  scroller() {
    return getComputedStyle(this.log).overflowY === "auto" ? this.log : document.scrollingElement;
  }

  nearEnd() {
    const scroller = this.scroller();
    return scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_END;
  }

  follow() {
    const scroller = this.scroller();
    scroller.scrollTop = scroller.scrollHeight;
  }

  async answer(request) {
    const turn = new AnswerTurn(request.response_format?.type.startsWith("json"), { maxTokens: request.max_tokens !== undefined, context: this.settings.context(request.model) });
    this.last = turn;
    this.running = new AbortController();
    this.setRunning(true);
    this.show(turn.element);
    let failure = null;
    try {
      await stream("/v1/chat/completions", request, (chunk) => {
        const near = this.nearEnd();
        turn.add(chunk);
        if (near) this.follow();
      }, { signal: this.running.signal, key: playgroundKey.key ?? undefined });
    } catch (error) {
      if (error.name === "AbortError") turn.end = "stopped";
      else failure = error;
    }
    this.running = null;
    turn.finish(failure);
    this.setRunning(false);
    if (!this.log.isConnected) return;
    this.settle(turn, failure);
  }

  settle(turn, failure) {
    this.again.hidden = false;
    if (failure !== null && turn.text === "" && turn.calls.length === 0) {
      announce("There is no answer.");
    } else {
      this.messages.push(turn.message());
      announce(`The answer is there${turn.usage ? `, ${turn.usage.completion_tokens} tokens` : ""}.`);
    }
    if (turn.calls.length > 0) {
      this.unanswered = resultsForm(turn.calls, (results) => this.answerCalls(results));
      this.show(this.unanswered.form);
      this.unanswered.focus();
    }
    this.follow();
  }

  answerCalls(results) {
    const messages = results.map(({ role, tool_call_id, content }) => ({ role, tool_call_id, content }));
    const request = this.request([...this.messages, ...messages]);
    if (request === false) return false;
    this.unanswered = null;
    this.messages.push(...messages);
    for (const result of results) this.show(toolTurn(result.name, result.content));
    void this.answer(request);
    return true;
  }

  setRunning(running) {
    this.sendButton.hidden = running;
    this.stopButton.hidden = !running;
    if (running) {
      this.again.hidden = true;
      if (this.composer.contains(document.activeElement) && document.activeElement !== this.question.input) this.stopButton.focus();
    } else if (document.activeElement === document.body || document.activeElement === this.stopButton) {
      this.question.input.focus();
    }
  }
}

export function render({ root, signal, query }) {
  const settings = playgroundSettings({ signal, model: query.get("model") });
  const conversation = new Conversation({ settings, signal });
  const wide = matchMedia("(min-width: 60rem)");
  const panel = h("details", { class: "panel", open: wide.matches }, h("summary", {}, "Settings"), settings.element);
  wide.addEventListener("change", () => { panel.open = wide.matches; }, { signal });
  replace(root,
    pageHead("Playground", null,
      button("As code", () => {
        const text = conversation.question.input.value.trim();
        const request = conversation.request([...conversation.messages, ...(text !== "" || conversation.messages.length === 0 ? [{ role: "user", content: text || "Hello" }] : [])]);
        if (request !== false) showCode(request);
      }),
      button("Clear", () => conversation.clear())),
    h("div", { class: "playground" }, h("section", { class: "talk", "aria-label": "Conversation and message" }, conversation.log, conversation.composer), panel));
}
