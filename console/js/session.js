// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
//
// Who is signed in. The key lives in this page's memory and, if wanted, in the tab's sessionStorage; never in a cookie, so there is nothing that
// another site's request could ride on.
import { all, get, useKey } from "./api.js";
import { isolated } from "./format.js";

const KEY = "bora.key";
const ORGANIZATION = "bora.organization";

export const session = {
  me: null, // GET /v1/users/me
  organizations: [], // the operator's choice
  organization: null, // {id, name}: the one that is looked at
  currency: null, // of the prices, and so of every spend limit; null while nobody could say
};

function stored(name) {
  try {
    return sessionStorage.getItem(name);
  } catch {
    return null;
  }
}

function store(name, value) {
  try {
    if (value === null) sessionStorage.removeItem(name);
    else sessionStorage.setItem(name, value);
  } catch {
    // Storage is switched off: it is remembered until the page is left.
  }
}

export const isOperator = () => session.me?.role === "operator";
export const isAdmin = () => isOperator() || session.me?.role === "admin";

/** For queries: the operator says which organisation, others have one. */
export const place = () => (isOperator() ? { organization_id: session.organization?.id } : {});
export const usagePath = () => (isAdmin() ? "/v1/admin/usage" : "/v1/usage");

export async function refreshOrganizations() {
  if (!isOperator()) return;
  session.organizations = await all("/v1/admin/organizations", "organizations");
  const wanted = session.organization?.id ?? stored(ORGANIZATION);
  session.organization = session.organizations.find((one) => one.id === wanted) ?? session.organizations[0] ?? null;
}

/** Before amounts are shown whose answer does not name their currency. */
export async function learnCurrency() {
  if (session.currency !== null) return;
  session.currency = await get("/v1/admin/prices").then((prices) => prices.currency, () => null);
}

/** Whose usage it is that this role sees, for a sentence: "in Acme", "of this key". */
export function whose() {
  const { me, organization } = session;
  if (me.role === "service") return "with this key";
  const name = me.role === "member" ? me.workspace?.name : (organization?.name ?? me.organization?.name);
  return name ? `in ${isolated(name)}` : "here";
}

export function chooseOrganization(id) {
  session.organization = session.organizations.find((one) => one.id === id) ?? session.organization;
  store(ORGANIZATION, session.organization?.id ?? null);
}

/** Throws what the gateway said when the key is not one. */
export async function signIn(key, keep) {
  const me = await get("/v1/users/me", {}, { key });
  useKey(key, () => signOut("The key is no longer accepted: it was revoked or disabled, or it has expired."));
  session.me = me;
  session.organization = me.organization?.id ? me.organization : null;
  try {
    await Promise.all([refreshOrganizations(), learnCurrency()]);
  } catch (error) {
    forget();
    throw error;
  }
  if (keep) store(KEY, key);
}

/** With the key that the tab remembers; false when there is none. */
export async function resume() {
  const key = stored(KEY);
  if (key === null) return false;
  await signIn(key, true);
  return true;
}

function forget() {
  useKey(null);
  store(KEY, null);
  store(ORGANIZATION, null);
  Object.assign(session, { me: null, organizations: [], organization: null, currency: null });
}

export function signOut(reason = null) {
  if (session.me === null && stored(KEY) === null) return;
  forget();
  window.dispatchEvent(new CustomEvent("bora-signed-out", { detail: reason }));
}
