// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
//
// The key that the playground asks with when it is not the one that is signed in: in memory only, gone with the page.

export const playgroundKey = { key: null, name: null };

export function handOver(key, name) {
  Object.assign(playgroundKey, { key, name });
}

window.addEventListener("bora-signed-out", () => handOver(null, null));
