// Versions of a conversation are one entry of the list.

import assert from "node:assert/strict";
import test from "node:test";
import { entries } from "../src/chat/families";

function made(id, last_active_at, forked_from = null, pinned = false) {
  return { id, created_at: 0, headrace: { title: id, pinned, archived: false, model: null, last_active_at, forked_from } };
}

const ids = (all, shown = null) => entries(all, shown).map(({ id }) => id);

test("conversations without versions stay as they are", () => {
  const all = [made("b", 2), made("a", 1)];
  assert.deepEqual(entries(all, "a"), all);
  assert.deepEqual(entries([], null), []);
});

test("versions are one entry: the most recent one, or the one that is shown", () => {
  const all = [made("d", 5, "b"), made("x", 4), made("c", 3, "a"), made("b", 2, "a"), made("a", 1)];
  assert.deepEqual(ids(all), ["d", "x"]);
  assert.deepEqual(ids(all, "a"), ["a", "x"]);
  assert.deepEqual(ids(all, "x"), ["d", "x"]);
  // Its place in the list does not depend on which of them is shown.
  assert.equal(entries(all, "a")[0].headrace.last_active_at, 5);
});

test("an entry is pinned with any of its versions", () => {
  const [entry, other] = entries([made("a", 1, null, true), made("b", 2, "a"), made("x", 3)], null);
  assert.deepEqual([entry.id, entry.headrace.pinned, other.headrace.pinned], ["b", true, false]);
});

test("versions whose first is not known, or that name each other, are one entry too", () => {
  assert.deepEqual(ids([made("c", 2, "gone"), made("b", 1, "gone")]), ["c"]);
  assert.equal(ids([made("b", 2, "c"), made("c", 1, "b")]).length, 2);
});
