// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
import { h, replace } from "../dom.js";
import { session, signOut } from "../session.js";
import { badge, button, card, facts, pageHead, segments } from "../widgets.js";

const STORED = "bora.theme";

function setTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    if (theme === "system") localStorage.removeItem(STORED);
    else localStorage.setItem(STORED, theme);
  } catch {
    // Storage is switched off: it holds until the page is left.
  }
  window.dispatchEvent(new Event("bora-theme"));
}

export function render({ root }) {
  const { me } = session;
  const words = (list, nothing) => (list?.length > 0 ? list.map((one) => badge(one)) : nothing);
  replace(root,
    pageHead("Settings", "Of this browser, and of this tab."),
    card("Colours",
      segments({ legend: "Colours", options: [["system", "As the system"], ["light", "Light"], ["dark", "Dark"]], value: document.documentElement.dataset.theme ?? "system", onchange: setTheme })),
    card("Signed in",
      facts(
        ["Key", me.api_key?.name || "–"],
        me.api_key?.id && ["Key id", h("code", {}, me.api_key.id)],
        ["Role", me.role],
        me.organization?.name && ["Organisation", me.organization.name],
        me.workspace?.name && ["Workspace", me.workspace.name],
        me.user_id && ["User", me.user_id],
        ["Endpoints", words(me.scopes?.endpoints, "all that the role may")],
        ["Models", words(me.scopes?.models, "all")]),
      h("p", { class: "hint" }, "The key is in this tab's memory, and in its session storage if you wanted that. Signing out forgets it in both."),
      h("div", { class: "actions" }, button("Sign out", () => signOut(), { iconName: "sign-out" }))),
    card("About", h("p", {}, "This console is served by the gateway at ", h("code", {}, location.origin), " and speaks to it alone, through the interface that every client has."),
      h("p", { class: "hint" }, "Charts: Chart.js 3.9.1, ", h("a", { href: "vendor/chart.LICENSE.txt" }, "MIT licence"), ".")));
}
