// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
//
// The gateway's own interface (proto/bora/v1), called as any client would. The key travels in the Authorization header alone.

let sessionKey = null;
let onRefused = () => {};

/** The key that calls are made with, and what to do when it is no longer one. */
export function useKey(key, refused) {
  sessionKey = key;
  onRefused = refused ?? (() => {});
}

export class ApiError extends Error {
  constructor(status, message, { problems = [], requestId = null, retryAfter = null } = {}) {
    super(message);
    this.status = status;
    this.problems = problems; // [{place: "limits.requests_per_minute", message}]
    this.requestId = requestId;
    this.retryAfter = retryAfter; // seconds
  }
}

const STATUS_WORDS = { 401: "The key is not valid.", 403: "This key may not do that.", 404: "It is not there.", 409: "It cannot be done now.", 429: "A limit is reached.", 503: "A part of the house cannot be reached." };

/** {"detail": "…"}, {"detail": [{loc, msg}]}, {"message": "…"}, {"message": {"detail": […]}}: docs of errors in proto/bora/v1/error.proto. */
function readError(response, text) {
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    // A proxy's page, perhaps.
  }
  const detail = body?.detail ?? body?.message?.detail;
  const problems = Array.isArray(detail) ? detail.map((one) => ({ place: (one.loc ?? []).filter((step) => step !== "body" && step !== "query").join("."), message: one.msg ?? "" })) : [];
  const listed = problems.length > 0 ? "Some values are not accepted." : null; // the places are shown beneath
  const said = typeof body?.message === "string" ? body.message : typeof detail === "string" ? detail : null;
  const message = listed ?? said ?? STATUS_WORDS[response.status] ?? `The gateway answered ${response.status}.`;
  return new ApiError(response.status, message === "Unauthorized" ? STATUS_WORDS[401] : message, {
    problems,
    requestId: response.headers.get("x-request-id"),
    retryAfter: Number(response.headers.get("retry-after")) || null,
  });
}

function queryText(query) {
  const parts = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    for (const one of [value].flat()) {
      if (one !== null && one !== undefined && one !== "") parts.append(name, one);
    }
  }
  const text = parts.toString();
  return text === "" ? "" : `?${text}`;
}

/** The response, once its status is good; an ApiError otherwise. An abort is thrown on as it is. */
export async function open(method, path, { query, body, signal, key } = {}) {
  const usedKey = key ?? sessionKey;
  const headers = { authorization: `Bearer ${usedKey}` };
  if (body !== undefined) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(path + queryText(query), { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body), credentials: "omit", cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The gateway cannot be reached. Is it running, and is the network up?");
  }
  if (response.ok) return response;
  const error = readError(response, await response.text().catch(() => ""));
  if (error.status === 401 && usedKey === sessionKey) onRefused();
  throw error;
}

async function json(method, path, options) {
  const response = await open(method, path, options);
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(response.status, "The gateway's answer could not be read.");
  }
}

export const get = (path, query, options) => json("GET", path, { ...options, query });
export const post = (path, body, options) => json("POST", path, { ...options, body });
export const patch = (path, body, options) => json("PATCH", path, { ...options, body });
export const put = (path, body, options) => json("PUT", path, { ...options, body });
export const remove = (path, options) => json("DELETE", path, options);

/** All of a list that comes in pages by `offset`; at most `max` items. */
export async function all(path, name, query, options, max = 1000) {
  const items = [];
  for (;;) {
    const page = await get(path, { ...query, limit: 200, offset: items.length || null }, options);
    items.push(...page[name]);
    if (!page.has_more || page[name].length === 0 || items.length >= max) return items;
  }
}

/**
 * The next `most` or a few more of those that `fits`, looked for page by page, however rare they are: {items, has_more, last}.
 * fetchPage(last) -> {items, has_more, last} of what follows.
 */
export async function nextThat(fits, fetchPage, last, most) {
  const items = [];
  for (;;) {
    const page = await fetchPage(last);
    items.push(...page.items.filter(fits));
    last = page.last ?? last;
    if (!page.has_more || page.items.length === 0 || items.length >= most) return { items, has_more: page.has_more === true, last };
  }
}

/** Server-sent events: calls `each` with every parsed event until [DONE]. */
export async function stream(path, body, each, options) {
  const response = await open("POST", path, { ...options, body });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const lines = rest.split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const data = line.slice(5).trim();
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.object === "error" || event.error) throw new ApiError(200, event.message ?? event.error?.message ?? "The answer broke off.");
      each(event);
    }
  }
}

/** Fetches a file with the key (a link could not carry it) and hands it to the browser. */
export async function download(path, query, name) {
  const response = await open("GET", path, { query });
  const url = URL.createObjectURL(await response.blob());
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}
