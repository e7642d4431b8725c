// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
//
// The request as a program would make it. The key is never part of what is copied: both read BORA_API_KEY.
import { copyButton, openDialog } from "../dialog.js";
import { h, replace } from "../dom.js";
import { segments } from "../widgets.js";

const quoteShell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function asCurl(request, origin) {
  return [`curl -N ${origin}/v1/chat/completions \\`, "  -H \"Authorization: Bearer $BORA_API_KEY\" \\", "  -H \"Content-Type: application/json\" \\", `  -d ${quoteShell(JSON.stringify(request, null, 2))}`].join("\n");
}

/** A JSON value in Python's words. */
function python(value, depth) {
  const indent = "    ".repeat(depth);
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const items = Array.isArray(value) ? value.map((one) => python(one, depth + 1)) : Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${python(one, depth + 1)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  if (items.length === 0) return open + close;
  const short = `${open}${items.join(", ")}${close}`;
  return short.length < 80 && !short.includes("\n") ? short : `${open}\n${items.map((one) => `${indent}    ${one},`).join("\n")}\n${indent}${close}`;
}

const OPENAI_NAMES = new Set(["model", "messages", "temperature", "top_p", "max_tokens", "frequency_penalty", "presence_penalty", "stop", "stream", "response_format", "tools", "tool_choice", "seed"]);

function asPython(request, origin) {
  const { random_seed: seed, ...rest } = request;
  const named = { ...rest, ...(seed === undefined ? {} : { seed }) };
  const lines = Object.entries(named).filter(([name]) => OPENAI_NAMES.has(name)).map(([name, value]) => `    ${name}=${python(value, 1)},`);
  const extra = Object.fromEntries(Object.entries(named).filter(([name]) => !OPENAI_NAMES.has(name)));
  if (Object.keys(extra).length > 0) lines.push(`    extra_body=${python(extra, 1)},`);
  return ["import os", "", "from openai import OpenAI", "", `client = OpenAI(base_url="${origin}/v1", api_key=os.environ["BORA_API_KEY"])`, "stream = client.chat.completions.create(", ...lines, ")", "for chunk in stream:",
    "    for choice in chunk.choices:", "        print(choice.delta.content or \"\", end=\"\", flush=True)", "        for call in choice.delta.tool_calls or []:", "            print(call.function.name, call.function.arguments)"].join("\n");
}

export function showCode(request) {
  const forms = { curl: asCurl(request, location.origin), python: asPython(request, location.origin) };
  const text = h("pre", { class: "code-block", tabindex: "0", role: "group", "aria-label": "The request" });
  let shown = "curl";
  const show = (name) => {
    shown = name;
    replace(text, h("code", {}, forms[name]));
  };
  show(shown);
  openDialog({
    title: "This request as code",
    wide: true,
    content: h("div", { class: "dialog-body stack" }, segments({ legend: "Language", options: [["curl", "curl"], ["python", "Python"]], value: shown, onchange: show }), text, h("p", { class: "hint" }, "Put the key into the environment variable BORA_API_KEY; it is not part of this text.")),
    actions: [copyButton(() => forms[shown])],
  });
}
