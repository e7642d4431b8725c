// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
//
// Room for fine-tuning jobs. It says what is not there; it shows nothing that it does not have.
import { h, replace } from "../dom.js";
import { card, emptyState, pageHead } from "../widgets.js";

export function render({ root }) {
  replace(root,
    pageHead("Jobs", "Fine-tuning, when this house can do it."),
    h("div", { class: "card" }, emptyState("This house cannot fine-tune yet.", "There is no training service, so there are no jobs, and nothing here is hidden by your key's role. POST /v1/fine_tuning/jobs answers 404 until then.")),
    card("What will be here",
      h("ul", { class: "plan" },
        h("li", {}, h("strong", {}, "Files. "), "Upload training data as JSON lines of conversations, checked line by line before anything is computed."),
        h("li", {}, h("strong", {}, "Jobs. "), "Choose a base model and a file; see the estimated tokens and cost before you start."),
        h("li", {}, h("strong", {}, "Progress. "), "Loss of training and validation as it moves, checkpoints, events; stop a job at any time."),
        h("li", {}, h("strong", {}, "Models. "), "What a job makes appears on the Models page and in the playground, with its own limits and prices."))),
    card("Until then", h("ul", { class: "links" },
      h("li", {}, h("a", { href: "#/playground" }, "Steer a model with a system prompt, tools and a schema in the playground")),
      h("li", {}, h("a", { href: "#/models" }, "See which models are served")))));
}
