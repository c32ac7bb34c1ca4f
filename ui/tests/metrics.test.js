// Drawings of dashboards: round numbers of axes, paths of lines, and runbooks as blocks.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { blocks } from "../src/admin/metrics/blocks";
import { drawn, path } from "../src/admin/metrics/chart";
import { general, level } from "../src/admin/metrics/data";
import { cells } from "../src/admin/metrics/heatmap";
import { extent, increment, measured, ticks, times } from "../src/admin/metrics/units";

const FOLDER = join(process.cwd(), "..", "serving", "telemetry", "dashboards", "static");
const stored = (name) => JSON.parse(readFileSync(join(FOLDER, name), "utf8"));

test("values have the unit of their panel", () => {
  for (const [unit, value, text] of [
    ["seconds", 0, "0 s"],
    ["seconds", 0.0123, "12.3 ms"],
    ["seconds", 5400, "1.5 h"],
    ["bytes", 3 * 1024 ** 2, "3 MiB"],
    ["megabytes", 2048, "2 GiB"],
    ["ratio", 0.5, "50%"],
    ["requests/s", 1500, "1.5 k /s"],
    ["currency", 12, "12.00"],
    ["1", 0.25, "0.25"],
    ["1", null, "–"],
  ]) assert.equal(measured(unit, value), text);
});

test("a summary without an alert that fires names what it would say", () => {
  for (const { id, summary } of stored("alerts.json")) assert.ok(!general(summary).includes("{{"), id);
  assert.equal(general("{{ $labels.tenant }} sent {{ $value | humanize }}"), "‹tenant› sent ‹value›");
});

test("every unit of the dashboards has a format of its own, but for plain numbers", () => {
  const units = new Set(stored("dashboards.json").flatMap(({ rows }) => rows.flatMap(({ panels }) => panels.map(({ unit }) => unit))));
  assert.ok(units.size > 5);
  for (const unit of units) if (unit !== "1") assert.notEqual(measured(unit, 1), measured("1", 1), unit);
});

test("marks of an axis are round, and few", () => {
  assert.equal(increment("1", 0.3), 0.5);
  assert.equal(increment("bytes", 1000), 1024);
  assert.equal(increment("seconds", 400), 600);
  assert.equal(increment("seconds", 200_000), 5 * 86_400);
  assert.deepEqual(ticks("1", [0, 10], 5), [0, 2, 4, 6, 8, 10]);
  for (const high of [1e-6, 0.037, 1, 7, 912, 1e9]) {
    for (const unit of ["1", "seconds", "bytes"]) {
      const found = ticks(unit, [0, high], 5);
      assert.ok(found.length >= 2 && found.length <= 6, `${unit} ${high} ${found}`);
    }
  }
  const hours = times(1_700_000_123, 1_700_000_123 + 21_600, 5);
  assert.ok(hours.length >= 2 && hours.length <= 5);
  for (const each of hours) assert.equal(new Date(each * 1000).getMinutes(), 0);
});

test("most axes begin at zero", () => {
  assert.equal(extent("1", [4, 9])[0], 0);
  assert.ok(extent("celsius", [40, 41])[0] > 39);
  assert.deepEqual(extent("1", []), [0, 1]);
  assert.deepEqual(extent("1", [0, 0]), [0, 1]);
});

test("stacked lines are sums of what is not hidden, and gaps stay", () => {
  const series = [[1, null, 1, null], [2, 2, null, null]].map((values, at) => ({ name: String(at), values }));
  assert.deepEqual(drawn(series, true, new Set()), [[1, null, 1, null], [3, 2, 1, null]]);
  assert.deepEqual(drawn(series, true, new Set([0])), [[], [2, 2, null, null]]);
  assert.deepEqual(drawn(series, false, new Set([1])), [[1, null, 1, null], []]);
  assert.equal(path([1, 2, null, 3], (at) => at, (value) => value), "M0 1L1 2M3 3h.01");
});

test("a heatmap has a cell for each count, the stronger the more, and none for nothing", () => {
  const series = [{ name: "1", values: [0, 4, null] }, { name: "+Inf", values: [1, 0, 0.01] }];
  const paths = cells(series, 4);
  assert.equal(paths.at(-1), "M250 90h500v90h-500z", "most: the lower bucket, in the middle");
  assert.equal(paths[2], "M-250 0h500v90h-500z", "a quarter of it is at half of the levels");
  assert.equal(paths[0], "M750 0h500v90h-500z", "a little is seen, too");
  assert.equal(paths.join("").match(/M/g).length, 3);
  assert.deepEqual(new Set(cells([{ name: "1", values: [0, null] }], 0)), new Set([""]));
});

test("a panel has the colour of the last threshold that its value reaches", () => {
  const panel = { base: "green", steps: [{ value: 1, colour: "yellow" }, { value: 5, colour: "red" }] };
  assert.deepEqual([null, 0, 1, 9].map((value) => level(panel, value)), ["green", "green", "yellow", "red"]);
});

test("every runbook is read whole", () => {
  for (const { id, runbook } of stored("alerts.json")) {
    const found = blocks(runbook);
    assert.ok(found.some(({ kind }) => kind === "h2") && found.some(({ kind }) => kind === "pre"), id);
    for (const { kind, lines } of found) {
      for (const line of kind === "pre" ? [] : lines) assert.doesNotMatch(line, /^(#|```|-\s|\d+\.\s|\|)/, `${id}: ${line}`);
    }
    const words = (text) => text.replace(/[^\p{L}\d]+/gu, " ").trim();
    const numbers = /^\d+\. /gm;
    const shown = found.flatMap(({ lines }) => lines).join(" ");
    assert.equal(words(shown), words(runbook.replace(/^```\w*$/gm, "").replace(numbers, "")), id);
  }
});
