// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
//
// The levels of GET /v1/admin/rate-limit: what is limited, and how much of it is taken now.
import { h } from "../dom.js";
import { LIMITS, limitsSet } from "../form.js";
import { compact, integer, money, percent, share } from "../format.js";
import { session } from "../session.js";
import { badge, meter } from "../widgets.js";

const SCOPES = { organization: "Organisation", workspace: "Workspace", key: "Key" };

function limitRow(limit, level) {
  const most = level.limits[limit.name];
  const number = limit.amount ? (value) => money(value, session.currency) : (value) => (value >= 1e6 ? compact(value) : integer(value));
  if (!level.used) { // which is not this key's to see
    return h("div", { class: "limit-row" }, h("span", { class: "limit-name" }, limit.label), h("span", { class: "limit-numbers" }, number(most)));
  }
  const used = level.used[limit.name] ?? 0;
  const words = `${number(used)} of ${number(most)}`;
  return h("div", { class: "limit-row" },
    h("span", { class: "limit-name" }, limit.label),
    h("span", { class: "limit-numbers", title: limit.amount ? null : `${integer(used)} of ${integer(most)}` }, words, h("span", { class: "limit-percent" }, most === 0 ? "nothing may pass" : percent(share(used, most)))),
    meter(share(used, most), `${limit.label}: ${words}`));
}

export function levelCards(levels) {
  if (levels.length === 0) return h("p", { class: "quiet" }, "Nothing is limited here.");
  return levels.map((level) => h("div", { class: "level" },
    h("h3", {}, h("span", { class: "level-scope" }, SCOPES[level.scope] ?? level.scope), " ", level.name, level.model && [" ", badge(level.model, "accent")]),
    limitsSet(level.limits).length === 0
      ? h("p", { class: "quiet" }, "No limits of its own.")
      : h("div", { class: "limit-rows" }, LIMITS.filter((limit) => limitsSet(level.limits).includes(limit)).map((limit) => limitRow(limit, level)))));
}
