// Conversations by the day of their newest message.

import assert from "node:assert/strict";
import test from "node:test";
import { grouped } from "../src/chat/groups";

const NOW = new Date(2026, 2, 30, 0, 30);
const at = (...time) => new Date(2026, 2, ...time).getTime() / 1000;
const conversation = (id, last_active_at, pinned = false) => ({ id, headrace: { last_active_at, pinned } });
const ids = (groups) => groups.map(([age, those]) => [age, ...those.map(({ id }) => id)]);

test("days begin at midnight, whatever the number of their hours", () => {
  const all = [
    conversation("later than now", at(30, 9)),
    conversation("first of today", at(30)),
    conversation("last of yesterday", at(29, 23, 59)),
    conversation("first of yesterday", at(29)),
    conversation("last before", at(28, 23, 59)),
    conversation("first of the week", at(23)),
    conversation("last of the older", at(22, 23, 59)),
  ];
  assert.deepEqual(ids(grouped(all, NOW)), [
    ["today", "later than now", "first of today"],
    ["yesterday", "last of yesterday", "first of yesterday"],
    ["week", "last before", "first of the week"],
    ["older", "last of the older"],
  ]);
});

test("pinned ones come first, and empty groups are left out", () => {
  const all = [conversation("old", at(1)), conversation("old and pinned", at(1), true)];
  assert.deepEqual(ids(grouped(all, NOW)), [["pinned", "old and pinned"], ["older", "old"]]);
  assert.deepEqual(grouped([], NOW), []);
});
