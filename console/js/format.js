// Copyright Bora contributors
// SPDX-License-Identifier: Apache-2.0
//
// Numbers, money and times as people read them.
import { h } from "./dom.js";

const LOCALE = "en-GB"; // the interface is English, whatever the browser is
const whole = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });
const relative = new Intl.RelativeTimeFormat(LOCALE, { numeric: "auto", style: "short" });
// Times are those of whoever looks, and say so; sums are by UTC.
const dateTimeFormat = new Intl.DateTimeFormat(LOCALE, { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", timeZoneName: "short" });
const dateFormat = new Intl.DateTimeFormat(LOCALE, { dateStyle: "medium" });
const dayYearFormat = new Intl.DateTimeFormat(LOCALE, { dateStyle: "medium", timeZone: "UTC" });
const dayFormat = new Intl.DateTimeFormat(LOCALE, { day: "numeric", month: "short", timeZone: "UTC" });
const monthFormat = new Intl.DateTimeFormat(LOCALE, { month: "long", year: "numeric", timeZone: "UTC" });

export const HOUR_MS = 3600e3;
export const DAY_MS = 24 * HOUR_MS;

/** A name within a sentence, whichever way it is written: its direction is its own (Unicode isolates). */
export const isolated = (name) => `\u2068${name}\u2069`;

export const integer = (value) => whole.format(Number(value ?? 0));
export const compact = (value) => short.format(Number(value ?? 0));
export const plural = (count, one, many = `${one}s`) => `${integer(count)} ${Number(count) === 1 ? one : many}`;

/** The same number, short where that says no less: 20k, 1.5M; 1,234. */
export function exact(value) {
  for (const [letter, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) {
    if (Number(value) >= size && Number(value) % (size / 10) === 0) return `${Number(value) / size}${letter}`;
  }
  return integer(value);
}

/** For a headline: amounts below a hundredth are not written out, and whoever hovers sees them whole. */
export function moneyHeadline(value, currency) {
  const amount = Number(value ?? 0);
  return amount > 0 && amount < 0.01 ? h("span", { title: money(amount, currency) }, "<", money(0.01, currency)) : money(amount, currency);
}

/** Without a currency (nobody could say which): the number alone, never one that was guessed. */
export function money(value, currency) {
  const amount = Number(value ?? 0);
  const digits = amount !== 0 && Math.abs(amount) < 1 ? Math.min(9, 2 + Math.ceil(-Math.log10(Math.abs(amount)))) : 2;
  const style = { minimumFractionDigits: 2, maximumFractionDigits: Math.max(2, digits) };
  try {
    return new Intl.NumberFormat(LOCALE, currency ? { ...style, style: "currency", currency } : style).format(amount);
  } catch {
    return `${amount.toFixed(Math.max(2, digits))} ${currency}`; // a code that the browser does not know
  }
}

export function share(used, limit) {
  if (Number(limit) <= 0) return 1;
  return Math.max(0, Math.min(1, Number(used ?? 0) / Number(limit)));
}

export function percent(part) {
  return `${part > 0 && part < 0.01 ? "<1" : Math.round(part * 100)}%`;
}

/** RFC 3339 text or Unix seconds, as Date; null for nothing. */
export function toDate(value) {
  if (value === null || value === undefined || value === "" || value === 0) return null;
  const date = typeof value === "number" || /^\d+$/.test(value) ? new Date(Number(value) * 1000) : new Date(value);
  return Number.isNaN(date.getTime()) ? null : date;
}

export function ago(date) {
  const seconds = (date.getTime() - Date.now()) / 1000;
  for (const [unit, size] of [["year", 365 * 86400], ["month", 30 * 86400], ["day", 86400], ["hour", 3600], ["minute", 60]]) {
    if (Math.abs(seconds) >= size) return relative.format(Math.trunc(seconds / size), unit);
  }
  return "just now";
}

/** A <time> that says how long ago, and when exactly on hovering. */
export function timeAgo(value, nothing = "never") {
  const date = toDate(value);
  return date === null ? nothing : h("time", { datetime: date.toISOString(), title: dateTimeFormat.format(date) }, ago(date));
}

export function timeAt(value, nothing = "never") {
  const date = toDate(value);
  return date === null ? nothing : h("time", { datetime: date.toISOString(), title: date.toISOString() }, dateTimeFormat.format(date));
}

export function dateOf(value, nothing = "never") {
  const date = toDate(value);
  return date === null ? nothing : h("time", { datetime: date.toISOString(), title: date.toISOString() }, dateFormat.format(date));
}

export function milliseconds(value) {
  return value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(value < 10000 ? 2 : 1)} s`;
}

/** How long to wait, rounded up: "58 s", "35 min", "23 h 20 min", "12 days". */
export function waitWords(seconds) {
  if (seconds <= 120) return `${Math.ceil(seconds)} s`;
  const minutes = Math.ceil(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h${minutes % 60 > 0 ? ` ${minutes % 60} min` : ""}`;
  return `${Math.ceil(minutes / (24 * 60))} days`;
}

/** When a key ends; `short`: the day alone. The end of a day (UTC), which is how dates are given, is named after that day and not after the next one. */
export function endOf(value, { short: dayOnly = false } = {}) {
  const date = toDate(value);
  if (date === null) return "never";
  const whole = date.getTime() % DAY_MS === 0;
  const day = whole ? dayYearFormat.format(new Date(date.getTime() - 1)) : dateFormat.format(date);
  const text = dayOnly ? day : whole ? `end of ${day}, UTC` : dateTimeFormat.format(date);
  return h("time", { datetime: date.toISOString(), title: date.toISOString() }, text);
}

/** How an interval of the usage sums is called: sums are kept by UTC. */
export function intervalName(start, interval, oneDay = false) {
  const date = new Date(start);
  const hour = `${String(date.getUTCHours()).padStart(2, "0")}:00`;
  if (interval === "hour") return oneDay ? hour : `${dayFormat.format(date)}, ${hour}`;
  if (interval === "month") return monthFormat.format(date);
  return dayFormat.format(date);
}

export const isoDay = (date) => date.toISOString().slice(0, 10);
export const dayStart = (date) => new Date(Math.floor(date.getTime() / DAY_MS) * DAY_MS);

/** Without what groups digits. A comma does so only before three of them: "0,5" is for many people a half, and must not become 5. */
function ungrouped(text) {
  const clean = text.replace(/[\s_']/g, "");
  return /^[1-9]\d{0,2}(,\d{3})+(\.\d+)?[a-z]?$/i.test(clean) ? clean.replaceAll(",", "") : clean;
}

/** "12k", "1.5m", "2 000" as a whole number; NaN for what is none; null for nothing. */
export function parseCount(text) {
  const clean = ungrouped(text).toLowerCase();
  if (clean === "") return null;
  const found = /^(\d+(?:\.\d+)?)([kmbg]?)$/.exec(clean);
  if (found === null) return NaN;
  const value = Number(found[1]) * { "": 1, k: 1e3, m: 1e6, b: 1e9, g: 1e9 }[found[2]];
  return Number.isInteger(Math.round(value * 1e6) / 1e6) ? Math.round(value) : NaN;
}

export function parseAmount(text) {
  const clean = ungrouped(text);
  if (clean === "") return null;
  return /^\d+(\.\d+)?$/.test(clean) ? Number(clean) : NaN;
}
