// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
//
// Elements, made one by one. Data becomes text nodes and attributes only: no string is ever parsed as HTML here.

const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = new Set(["value", "checked", "indeterminate", "open"]);

/**
 * h("p", {class: "note", onclick: run}, "text", node, [more], null)
 *
 * Attributes that are null, undefined or false are left out and true ones are empty; "on…" listen; value, checked and open are properties.
 */
export function h(name, attributes, ...children) {
  const element = document.createElement(name);
  const later = [];
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (PROPERTIES.has(key)) later.push([key, value]);
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  append(element, children);
  for (const [key, value] of later) element[key] = value; // a <select> knows its options only now
  return element;
}

export function append(parent, children) {
  for (const child of [children].flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    parent.append(child instanceof Node ? child : String(child));
  }
  return parent;
}

export function replace(parent, ...children) {
  parent.replaceChildren();
  return append(parent, children);
}

/** For what is drawn again while somebody may be in it: the focus goes to the new element of the same data-focus. */
export function redraw(parent, ...children) {
  const focused = parent.contains(document.activeElement) ? document.activeElement.closest("[data-focus]")?.dataset.focus : undefined;
  replace(parent, ...children);
  if (focused !== undefined) parent.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  return parent;
}

export function svg(name, attributes, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

let ids = 0;
export function freshId(prefix) {
  ids += 1;
  return `${prefix}-${ids}`;
}

/** Calls `run(signal)` now and again `every_ms` after each end, while the page is seen. Ends with the signal. */
export function poll(everyMs, signal, run) {
  let timer = 0;
  let running = false;
  const step = async () => {
    clearTimeout(timer);
    if (running || signal.aborted || document.hidden) return;
    running = true;
    try {
      await run();
    } finally {
      running = false;
      if (!signal.aborted && !document.hidden) timer = setTimeout(step, everyMs);
    }
  };
  document.addEventListener("visibilitychange", step, { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
  return step();
}

export function debounce(waitMs, run) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => run(...values), waitMs);
  };
}

/** Says it to screen readers alone; within a dialog where one is open, since what is behind it is silent. */
export function announce(text) {
  const within = [...document.querySelectorAll("dialog[open] > .announcer")].at(-1);
  (within ?? document.getElementById("announcer")).textContent = text;
}
