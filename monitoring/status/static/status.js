// A page under /status: what is chosen, and what its panels show. The page's own server is asked for a panel by its id,
// never for PromQL.

import { chart, end, spark } from "./chart.js";
import { element, latest, level, tabulate } from "./elements.js";
import { said } from "./units.js";

const dashboard = document.body.dataset.dashboard;
const sections = [...document.querySelectorAll("section.panel")];
const selects = [...document.querySelectorAll("select[data-variable]")];
const range = document.querySelector("#range");
const refresh = document.querySelector("#refresh");
const answers = new Map();
let under = new AbortController();
let timer = 0;

// ---- What is chosen, which the address keeps

function chosen() {
  const asked = new URLSearchParams();
  if (range) asked.set("range", range.value);
  for (const select of selects) if (select.value) asked.append(`var-${select.dataset.variable}`, select.value);
  return asked;
}

function restore() {
  const given = new URLSearchParams(location.search);
  const has = (select, value) => [...select.options].some((option) => option.value === value);
  for (const [name, select] of [["range", range], ["refresh", refresh]]) {
    if (select && has(select, given.get(name))) select.value = given.get(name);
  }
  for (const select of selects) {
    const value = given.get(`var-${select.dataset.variable}`);
    if (value) {
      select.append(new Option(value, value));
      select.value = value;
    }
  }
}

function remember() {
  const kept = chosen();
  kept.set("refresh", refresh.value);
  history.replaceState(null, "", `?${kept}${location.hash}`);
  for (const link of document.querySelectorAll("nav a")) {
    link.search = `?${new URLSearchParams({ range: range.value, refresh: refresh.value })}`;
  }
}

// ---- What is asked

/** What the server says; throws an Error whose message is one line for people. */
async function ask(path, signal) {
  let answer;
  try {
    answer = await fetch(`/status/api/${path}`, { signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the server of this page does not answer");
  }
  const body = await answer.json().catch(() => {
    signal.throwIfAborted();
    return { error: `the server of this page answers with HTTP ${answer.status}` };
  });
  if (!answer.ok || body.error) throw new Error(body.error ?? `HTTP ${answer.status}`);
  return body;
}

function say(section, state, message) {
  section.dataset.state = state;
  section.querySelector(".message").textContent = message;
}

function stat(section, answer) {
  end(section);
  const { unit } = section.dataset;
  const numbers = answer.series.map((one) => {
    const value = latest(one.values);
    const colour = level(section, value);
    return element("p", { class: "stat", "data-level": colour },
      element("span", { class: "number" }, said(unit, value)), ` ${one.name} `,
      element("span", { class: "spoken" }, `(${colour})`));
  });
  const place = element("div", { class: "spark", "aria-hidden": "true" });
  section.querySelector(".drawn").replaceChildren(...numbers, place);
  spark(section, answer, place);
}

function rows(section, { columns, rows: found }) {
  const { unit, panel } = section.dataset;
  // The value stands beside what it belongs to: further labels may lie outside of what is seen.
  const cells = found.map((row) => [row[0], said(unit, row.at(-1)), ...row.slice(1, -1)]);
  tabulate(section.querySelector(".drawn"), [columns[0], "value", ...columns.slice(1)], cells, panel);
}

function show(section, answer) {
  const { kind } = section.dataset;
  if (!(kind === "table" ? answer.rows : answer.series).length) {
    end(section);
    section.querySelector(".drawn").replaceChildren();
    say(section, "empty", "Nothing in this range.");
    return;
  }
  ({ stat, table: rows, timeseries: chart })[kind](section, answer);
  say(section, "ready", "");
}

async function one(section, asked, signal) {
  try {
    const answer = await ask(`${dashboard}/${section.id}?${asked}`, signal);
    answers.set(section, answer);
    show(section, answer);
  } catch (error) {
    if (error.name === "AbortError") return;
    end(section);
    answers.delete(section);
    section.querySelector(".drawn").replaceChildren();
    say(section, "error", error.message);
  }
}

async function options(asked, signal) {
  const problem = document.querySelector("#problem");
  try {
    const { variables } = await ask(`${dashboard}?${asked}`, signal);
    problem.textContent = "";
    for (const select of selects) {
      const values = [...new Set([...variables[select.dataset.variable], select.value])].filter(Boolean).sort();
      if (JSON.stringify(values) === select.dataset.values) continue;
      const { value } = select;
      select.dataset.values = JSON.stringify(values);
      select.replaceChildren(new Option("All", ""), ...values.map((each) => new Option(each, each)));
      select.value = value;
    }
  } catch (error) {
    if (error.name !== "AbortError") problem.textContent = error.message;
  }
}

async function firing(signal) {
  const strip = document.querySelector("#firing");
  let items;
  try {
    const { alerts } = await ask("alerts", signal);
    items = alerts.map(({ name, severity, count, known }) => element("li", { "data-severity": severity },
      known ? element("a", { href: `/status/alerts/${name}` }, name) : name, ` ${count > 1 ? `×${count} ` : ""}${severity}`));
    strip.dataset.state = items.length ? "firing" : "silent";
  } catch (error) {
    if (error.name === "AbortError") return;
    items = [element("li", {}, `not known: ${error.message}`)];
    strip.dataset.state = "error";
  }
  const list = element("ul", {}, ...items);
  const next = items.length ? [element("strong", {}, "Firing alerts"), list] : ["No alert fires."];
  const made = element("div", {}, ...next);
  // A live region that is written anew is read out anew.
  if (made.innerHTML !== strip.firstElementChild?.innerHTML) strip.replaceChildren(made);
}

// ---- When

function load() {
  clearTimeout(timer);
  under.abort();
  under = new AbortController();
  const { signal } = under;
  const asked = chosen();
  const all = [firing(signal)];
  if (sections.length) all.push(options(asked, signal), ...sections.map((section) => one(section, asked, signal)));
  Promise.all(all).then(() => {
    const seconds = Number(refresh?.value ?? 30);
    if (!signal.aborted && seconds) timer = setTimeout(() => (document.hidden ? wait() : load()), seconds * 1000);
  });
}

/** Asks nothing while nobody looks. */
function wait() {
  document.addEventListener("visibilitychange", load, { once: true });
}

function change() {
  remember();
  for (const section of sections) say(section, "loading", "Loading");
  load();
}

restore();
if (range) {
  remember();
  for (const select of [range, refresh, ...selects]) select.addEventListener("change", change);
  document.querySelector("#now").addEventListener("click", load);
  document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const [section, answer] of answers) {
    end(section);
    show(section, answer);
  }
});
load();
