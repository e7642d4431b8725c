// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
//
// Dialogs and short notices. <dialog> itself keeps the focus inside, closes with Escape and gives the focus back.
import { announce, freshId, h } from "./dom.js";
import { icon } from "./icons.js";
import { problemBox } from "./widgets.js";

/** Opens a dialog; `content` and `actions` are nodes. Returns {dialog, closed}: `closed` resolves when it is gone. */
export function openDialog({ title, content, actions, wide, closable = true }) {
  const id = freshId("dialog");
  const dialog = h("dialog", { class: wide ? "dialog wide" : "dialog", "aria-labelledby": id },
    h("div", { class: "dialog-head" },
      h("h2", { id }, title),
      closable && h("button", { type: "button", class: "icon-button", "aria-label": "Close", onclick: () => dialog.close() }, icon("close"))),
    content,
    actions && h("div", { class: "dialog-foot" }, actions),
    h("div", { class: "unseen announcer", "aria-live": "polite" }));
  document.body.append(dialog);
  const closed = new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve();
    });
  });
  dialog.showModal();
  return { dialog, closed };
}

/**
 * A question with an answer. Closed while it is being done, it still tells what became of it: a key that is made meanwhile must be shown. `submit()` does it, and may throw an ApiError, which is shown; or return false when a field must be mended first.
 * Resolves with what `submit` returned, or undefined when it was called off.
 */
export async function formDialog({ title, content, submitLabel, submit, danger, wide }) {
  const problems = h("div", { class: "problems", "aria-live": "assertive" });
  const button = h("button", { type: "submit", class: danger ? "button danger" : "button primary" }, submitLabel);
  const cancel = h("button", { type: "button", class: "button", onclick: () => opened.dialog.close() }, "Cancel");
  let result;
  let sending = null; // what was sent cannot be called off by closing: its end is waited for
  const form = h("form", { class: "dialog-form", novalidate: true, autocomplete: "off" },
    h("div", { class: "dialog-body" }, content, problems),
    h("div", { class: "dialog-foot" }, cancel, button));
  const send = async () => {
    problems.replaceChildren();
    button.disabled = true;
    button.setAttribute("aria-busy", "true");
    try {
      const answer = await submit();
      if (answer === false) return;
      result = answer ?? true;
      opened.dialog.close();
    } catch (error) {
      if (!opened.dialog.open) return void toast(error.message, "bad");
      problems.replaceChildren(problemBox(error));
      problems.scrollIntoView({ block: "nearest" });
    } finally {
      button.disabled = false;
      button.removeAttribute("aria-busy");
    }
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!button.disabled) sending = send();
  });
  const opened = openDialog({ title, content: form, wide });
  if (danger) cancel.focus();
  else form.querySelector("input:not([type=hidden]), select, textarea")?.focus();
  await opened.closed;
  await sending;
  return result;
}

/** "Really?": resolves with true once it was done. */
export function confirmDialog({ title, sentences, submitLabel, submit, danger = true }) {
  return formDialog({ title, content: sentences.map((sentence) => h("p", {}, sentence)), submitLabel, submit, danger });
}

const TOAST_MS = 6000;

export function toast(text, kind = "good") {
  const box = h("div", { class: `toast ${kind}` }, icon(kind === "good" ? "check" : "warning"), h("span", {}, text));
  document.getElementById("toasts").append(box);
  setTimeout(() => box.remove(), kind === "good" ? TOAST_MS : 2 * TOAST_MS);
}

/** Copies, also where the page is not served over TLS and navigator.clipboard is missing. */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { class: "unseen", value: text, "aria-hidden": "true", tabindex: "-1" });
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    const before = document.activeElement;
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    before?.focus();
    return copied;
  }
}

export function copyButton(text, label = "Copy") {
  const words = h("span", {}, label);
  const button = h("button", { type: "button", class: "button" }, icon("copy"), words);
  button.addEventListener("click", async () => {
    const copied = await copyText(typeof text === "function" ? text() : text);
    words.textContent = copied ? "Copied" : "Select and copy by hand";
    announce(copied ? "Copied." : "It could not be copied: select it and copy by hand.");
    if (copied && document.querySelector("dialog[open]") === null) toast("Copied.");
    setTimeout(() => { words.textContent = label; }, 2000);
  });
  return button;
}
