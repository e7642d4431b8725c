// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
//
// The door: a key is all it takes.
import { h, replace } from "../dom.js";
import { checkbox, field } from "../form.js";
import { logo } from "../icons.js";
import { signIn } from "../session.js";
import { notice, problemBox } from "../widgets.js";

export function showSignIn(app, reason, entered) {
  const key = field("API key", h("input", { type: "password", name: "key", autocomplete: "current-password", spellcheck: "false", required: true }), { hint: "It begins with bora_. Operators use the admin key of this house." });
  const keep = checkbox("Stay signed in while this tab is open", true, { hint: "Kept in this tab's session storage. Without it, a reload signs you out." });
  const show = h("button", { type: "button", class: "link-button", "aria-pressed": "false", onclick: () => {
    const hidden = key.input.type === "password";
    key.input.type = hidden ? "text" : "password";
    show.setAttribute("aria-pressed", String(hidden));
    show.textContent = hidden ? "Hide the key" : "Show the key";
  } }, "Show the key");
  const problems = h("div", { "aria-live": "assertive" }, reason && notice("warn", h("p", {}, reason)));
  const button = h("button", { type: "submit", class: "button primary wide" }, "Sign in");
  const form = h("form", { class: "stack", novalidate: true },
    problems, key.element, h("p", { class: "under-field" }, show), keep.element, button);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const value = key.input.value.trim();
    if (value === "") return void key.fail("Paste a key to sign in.");
    if (!/^[\x21-\x7e]+$/.test(value)) return void key.fail("A key has letters, digits, - and _ only.");
    button.disabled = true;
    problems.replaceChildren();
    try {
      await signIn(value, keep.input.checked);
      entered();
    } catch (error) {
      if (error.status === 401) key.fail("This key is not valid: unknown, disabled, expired or revoked.");
      else problems.replaceChildren(problemBox(error));
    } finally {
      button.disabled = false;
    }
  });
  replace(app, h("main", { class: "door" },
    h("div", { class: "door-card" },
      h("div", { class: "door-head" }, logo(), h("h1", {}, "Bora console")),
      form),
    h("p", { class: "door-foot" }, "The key stays in this tab and goes to this gateway alone, with each call. No cookies.")));
  key.input.focus();
}
