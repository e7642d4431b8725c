// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
//
// The chosen colours, before anything is drawn; so this one is no module. "system" is no attribute at all.
(() => {
  let theme = null;
  try {
    theme = localStorage.getItem("bora.theme");
  } catch {
    // Storage is switched off: the system's colours.
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
