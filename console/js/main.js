// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
//
// The frame around all pages, and which page an address means: #/keys, #/keys/<id>, #/usage?group_by=model.
import { announce, h, replace } from "./dom.js";
import { toast } from "./dialog.js";
import { icon, logo } from "./icons.js";
import { chooseOrganization, isAdmin, isOperator, resume, session, signOut } from "./session.js";
import { emptyState, loading, pageHead, picker } from "./widgets.js";
import * as audit from "./pages/audit.js";
import * as jobs from "./pages/jobs.js";
import * as key from "./pages/key.js";
import * as keys from "./pages/keys.js";
import * as limits from "./pages/limits.js";
import * as models from "./pages/models.js";
import * as organizations from "./pages/organizations.js";
import * as overview from "./pages/overview.js";
import * as playground from "./pages/playground.js";
import * as settings from "./pages/settings.js";
import { showSignIn } from "./pages/sign_in.js";
import * as usage from "./pages/usage.js";
import * as workspaces from "./pages/workspaces.js";

const always = () => true;
// In the order of the menu. `child` takes one more step of the address.
const PAGES = [
  { name: "overview", title: "Overview", page: overview, may: always },
  { name: "playground", title: "Playground", page: playground, may: always },
  { name: "keys", title: "Keys", page: keys, child: key, may: isAdmin },
  { name: "limits", title: "Limits", page: limits, may: always },
  { name: "usage", title: "Usage", page: usage, may: always },
  { name: "models", title: "Models", page: models, may: always },
  { name: "jobs", title: "Jobs", page: jobs, may: always },
  { name: "workspaces", title: "Workspaces", page: workspaces, may: isAdmin },
  { name: "organizations", title: "Organisations", page: organizations, may: isOperator },
  { name: "audit", title: "Audit", page: audit, may: isAdmin },
  { name: "settings", title: "Settings", page: settings, may: always },
];

const app = document.getElementById("app");
let main = null;
let nav = null;
let leaving = new AbortController(); // aborted when the page is left: its fetches and timers end

function parseAddress() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, argument] = path.split("/");
  return { name: name || "overview", argument: argument ? decodeURIComponent(argument) : null, query: new URLSearchParams(query ?? "") };
}

function notThere() {
  return [pageHead("There is no such page"), emptyState("Nothing is at this address.", "It may be a page that your key's role does not have.", h("a", { class: "button primary", href: "#/overview" }, "Go to the overview"))];
}

function showPage({ focus = true } = {}) {
  if (main === null) return;
  leaving.abort();
  leaving = new AbortController();
  const { name, argument, query } = parseAddress();
  const entry = PAGES.find((one) => one.name === name && one.may());
  closeMenu();
  for (const link of nav.querySelectorAll("a")) {
    if (link.dataset.page === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const page = argument === null ? entry?.page : entry?.child;
  const root = h("div", { class: `page page-${name}` });
  replace(main, root);
  document.title = `${entry?.title ?? "Not found"} · Bora console`;
  if (page === undefined) replace(root, notThere());
  else page.render({ root, signal: leaving.signal, query, argument });
  if (!focus) return;
  window.scrollTo(0, 0);
  announce(entry?.title ?? "Not found");
  (main.querySelector("h1") ?? main).focus({ preventScroll: true });
}

/* ---- the frame ----------------------------------------------------------------------------------------------------- */

function closeMenu() {
  document.body.classList.remove("menu-open");
  document.getElementById("menu-button")?.setAttribute("aria-expanded", "false");
}

function toggleMenu() {
  const open = document.body.classList.toggle("menu-open");
  document.getElementById("menu-button").setAttribute("aria-expanded", String(open));
  if (open) nav.querySelector("a")?.focus();
}

function organizationPicker() {
  if (!isOperator()) return null;
  if (session.organizations.length === 0) return h("p", { class: "hint" }, "There is no organisation yet.");
  return picker({ label: "Organisation", options: session.organizations.map((one) => [one.id, one.name]), value: session.organization?.id, onchange: (id) => {
    chooseOrganization(id);
    if (parseAddress().argument !== null) location.hash = `#/${parseAddress().name}`;
    else showPage({ focus: false });
    announce(`Organisation ${session.organization.name}`);
  } });
}

const ROLE_WORDS = { operator: "Operator", admin: "Administrator", member: "Member", service: "Service key" };

function whoCard() {
  const { me } = session;
  const where = isOperator() ? "all organisations" : [me.organization?.name, me.workspace?.name].filter(Boolean).join(" / ");
  return h("div", { class: "who" },
    h("p", { class: "who-name" }, me.api_key?.name || "Signed in"),
    h("p", { class: "who-role" }, where === "" ? (ROLE_WORDS[me.role] ?? me.role) : `${ROLE_WORDS[me.role] ?? me.role} · ${where}`),
    h("button", { type: "button", class: "link-button", onclick: () => signOut() }, icon("sign-out"), "Sign out"));
}

function showFrame() {
  nav = h("nav", { id: "menu", class: "sidebar", "aria-label": "Pages" },
    h("div", { id: "organization" }, organizationPicker()),
    h("ul", {}, PAGES.filter((one) => one.may()).map((one) => h("li", {}, h("a", { href: `#/${one.name}`, "data-page": one.name }, icon(one.name), one.title)))),
    whoCard());
  main = h("main", { id: "main", tabindex: "-1" });
  replace(app,
    h("a", { class: "skip", href: "#main", onclick: (event) => {
      event.preventDefault(); // the address names the page
      main.focus();
    } }, "Skip to content"),
    h("header", { class: "bar" },
      h("a", { class: "brand", href: "#/overview" }, logo(), h("span", {}, "Bora")),
      h("button", { type: "button", id: "menu-button", class: "button menu-button", "aria-expanded": "false", "aria-controls": "menu", onclick: toggleMenu }, icon("menu"), "Menu")),
    h("div", { class: "frame" }, nav, main));
  showPage();
}

function showDoor(reason) {
  leaving.abort();
  main = null;
  document.body.classList.remove("menu-open");
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  document.title = "Sign in · Bora console";
  showSignIn(app, reason, showFrame);
}

/* ---- begin --------------------------------------------------------------------------------------------------------- */

window.addEventListener("hashchange", () => showPage());
window.addEventListener("bora-signed-out", (event) => showDoor(event.detail));
window.addEventListener("bora-organizations", () => replace(document.getElementById("organization"), organizationPicker()));
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !document.body.classList.contains("menu-open")) return;
  closeMenu();
  document.getElementById("menu-button").focus();
});
window.addEventListener("error", (event) => toast(`The console made a mistake: ${event.message}`, "bad"));
window.addEventListener("unhandledrejection", (event) => {
  if (event.reason?.name === "AbortError") {
    event.preventDefault(); // a page that was left
    return;
  }
  toast(`The console made a mistake: ${event.reason?.message ?? event.reason}`, "bad");
});

replace(app, h("div", { class: "boot" }, loading("Signing in…")));
try {
  if (await resume()) showFrame();
  else showDoor(null);
} catch (error) {
  if (error.status === 401) signOut("The key that this tab remembered is no longer accepted.");
  showDoor(error.status === 401 ? "The key that this tab remembered is no longer accepted." : error.message);
}
