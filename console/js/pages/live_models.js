// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
//
// Models with the load of their workers. Administrators see workers (GET /v1/admin/workers); others see what they may ask (GET /v1/models).
import { get } from "../api.js";
import { h } from "../dom.js";
import { integer, plural, share } from "../format.js";
import { isAdmin } from "../session.js";
import { badge, emptyState, meter } from "../widgets.js";

/** {cards: [ModelCard], workers: [worker] or null when the role does not see them}. */
export async function fetchLive(signal) {
  const cards = get("/v1/models", {}, { signal }).then((answer) => answer.data);
  const workers = isAdmin() ? get("/v1/admin/workers", {}, { signal }).then((answer) => answer.workers) : Promise.resolve(null);
  const both = await Promise.all([cards, workers]);
  return { cards: both[0], workers: both[1] };
}

/** [{id, card or null, tier, aliases, workers}] by name. */
export function byModel({ cards, workers }) {
  const models = new Map(cards.map((card) => [card.id, { id: card.id, card, tier: card.tier, aliases: card.aliases ?? [], workers: [] }]));
  for (const worker of workers ?? []) {
    if (!models.has(worker.model)) models.set(worker.model, { id: worker.model, card: null, tier: worker.tier, aliases: worker.aliases ?? [], workers: [] });
    models.get(worker.model).workers.push(worker);
  }
  return [...models.values()].sort((a, b) => a.id.localeCompare(b.id));
}

export const sumOf = (workers, name) => workers.reduce((sum, worker) => sum + Number(worker[name] ?? 0), 0);

export async function liveModels(signal) {
  const live = await fetchLive(signal);
  const models = byModel(live);
  if (models.length === 0) return emptyState("No model is served now.", "Start a worker; it announces itself.");
  return h("ul", { class: "live" }, models.map((model) => {
    const running = sumOf(model.workers, "running");
    const most = sumOf(model.workers, "sequences_max");
    const waiting = sumOf(model.workers, "waiting");
    return h("li", {},
      h("div", { class: "live-head" }, h("span", { class: "live-name" }, model.id), model.tier && badge(model.tier)),
      live.workers !== null && [
        meter(share(running, most), `${integer(running)} of ${integer(most)} answers under way`, { quiet: true }),
        h("p", { class: "small quiet" }, `${integer(running)} of ${plural(most, "answer")}`, waiting > 0 && `, ${integer(waiting)} waiting`, `, ${plural(model.workers.length, "worker")}`),
      ]);
  }));
}
