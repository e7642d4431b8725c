// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
//
// Line icons on a grid of 20, drawn for this console. Decoration only: every control has words.
import { svg } from "./dom.js";

const PATHS = {
  overview: ["M3 10.5 10 4l7 6.5", "M5 9v7.5h10V9", "M8.5 16.5v-4h3v4"],
  playground: ["M4 4.5h12v8.5H9.5L6 16v-3H4z", "M7 7.7h6", "M7 10h4"],
  keys: ["M8.2 11.8a3.7 3.7 0 1 1 0-5.2 3.7 3.7 0 0 1 0 5.2z", "m9 9.2 8 .1", "M14 9.3v2.6", "M16.5 9.3v1.9"],
  limits: ["M3.5 14a6.8 6.8 0 1 1 13 0", "m10 12.5 3.2-4.3", "M10 12.5h.01"],
  usage: ["M3.5 16.5h13", "M6 14V9.5", "M10 14V5", "M14 14V7.5"],
  models: ["M10 3.2 16.2 6.6v6.8L10 16.8 3.8 13.4V6.6z", "M3.8 6.6 10 10l6.2-3.4", "M10 10v6.8"],
  workspaces: ["M3.5 5.5h5l1.5 2h6.5v8h-13z"],
  organizations: ["M4 16.5v-12h7v12", "M11 8.5h5v8", "M2.8 16.5h14.4", "M6.5 7.5h2", "M6.5 10.5h2", "M6.5 13.5h2"],
  audit: ["M5 3.5h10v13H5z", "M7.5 7h5", "M7.5 10h5", "M7.5 13h3"],
  jobs: ["M4 6.5h6", "M14 6.5h2", "M10 6.5a2 2 0 1 0 4 0 2 2 0 0 0-4 0z", "M4 13.5h2", "M10 13.5h6", "M6 13.5a2 2 0 1 0 4 0 2 2 0 0 0-4 0z"],
  settings: ["M10 12.6a2.6 2.6 0 1 0 0-5.2 2.6 2.6 0 0 0 0 5.2z", "M10 3v2.2", "M10 14.8V17", "M3 10h2.2", "M14.8 10H17", "m5 5 1.6 1.6", "M13.4 13.4 15 15", "m15 5-1.6 1.6", "M6.6 13.4 5 15"],
  menu: ["M3.5 6h13", "M3.5 10h13", "M3.5 14h13"],
  close: ["m5 5 10 10", "M15 5 5 15"],
  plus: ["M10 4v12", "M4 10h12"],
  copy: ["M7 7h9v9.5H7z", "M13 7V3.5H4v9.5h3"],
  check: ["m4.5 10.5 3.5 3.5 7.5-8"],
  search: ["M9 14.5a5.5 5.5 0 1 0 0-11 5.5 5.5 0 0 0 0 11z", "m13 13 4 4"],
  download: ["M10 3.5v9", "m6.2 9 3.8 3.6L13.8 9", "M4 16.5h12"],
  send: ["M10 16V4.5", "M5.2 9 10 4.2 14.8 9"],
  stop: ["M6 6h8v8H6z"],
  warning: ["M10 3.5 17.5 16h-15z", "M10 8v3.6", "M10 13.7h.01"],
  info: ["M10 17a7 7 0 1 0 0-14 7 7 0 0 0 0 14z", "M10 9.2V13", "M10 6.8h.01"],
  "sign-out": ["M8 3.5H4v13h4", "M8 10h8.5", "m13.4 6.8 3.2 3.2-3.2 3.2"],
  tool: ["M12.2 3.8a3.8 3.8 0 0 0-3 5.4l-5.4 5.4 1.6 1.6 5.4-5.4a3.8 3.8 0 0 0 5-5l-2.3 2.3-2-.6-.6-2z"],
  chevron: ["m7.5 5 5 5-5 5"],
};

export function icon(name) {
  const image = svg("svg", { viewBox: "0 0 20 20", class: "icon", "aria-hidden": "true", focusable: "false" });
  for (const path of PATHS[name]) image.append(svg("path", { d: path }));
  return image;
}

/** The three gusts of the favicon. */
export function logo() {
  const image = svg("svg", { viewBox: "0 0 32 32", class: "logo", "aria-hidden": "true", focusable: "false" }, svg("rect", { width: 32, height: 32, rx: 8 }));
  for (const path of ["M7 12h11.5a3.5 3.5 0 1 0-3.4-4.4", "M7 17h15a3.7 3.7 0 1 1-3.6 4.6", "M7 22h6.5a2.6 2.6 0 1 1-2.5 3.3"]) image.append(svg("path", { d: path }));
  return image;
}
