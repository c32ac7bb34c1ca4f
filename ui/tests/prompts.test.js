// Which prompts fit what somebody looks for.

import assert from "node:assert/strict";
import test from "node:test";
import { matching } from "../src/prompts/matching";

const prompt = (name, first_line = "", description = "") => ({ name, description, headrace: { first_line } });
const ALL = [
  prompt("translate", "Translate {{text}} into plain English."),
  prompt("sum-up", "Sum up the text.", "For meetings"),
  prompt("a-plain-letter", "Write a letter."),
];
const names = (query, all = ALL) => matching(all, query).map(({ name }) => name);

test("without a query all prompts are there, by name", () => {
  assert.deepEqual(names(""), ["a-plain-letter", "sum-up", "translate"]);
  assert.deepEqual(names("  "), names(""));
});

test("every word must be in the name, the description or the first line", () => {
  assert.deepEqual(names("PLAIN"), ["a-plain-letter", "translate"]);
  assert.deepEqual(names("plain  translate"), ["translate"]);
  assert.deepEqual(names("meetings"), ["sum-up"]);
  assert.deepEqual(names("text"), ["sum-up", "translate"]);
  assert.deepEqual(names("plain meetings"), []);
});

test("a prompt whose name begins with the query comes first", () => {
  assert.deepEqual(names("t"), ["translate", "a-plain-letter", "sum-up"]);
  assert.deepEqual(names("tr"), ["translate"]);
});

test("signs of patterns are characters", () => {
  assert.deepEqual(names(".*"), []);
  assert.deepEqual(names("("), []);
  assert.deepEqual(names("{{text}}"), ["translate"]);
});

test("the list that is given stays as it is", () => {
  const before = [...ALL];
  matching(ALL, "t");
  assert.deepEqual(ALL, before);
});
