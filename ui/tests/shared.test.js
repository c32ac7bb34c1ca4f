// What a reader sees of a shared conversation.

import assert from "node:assert/strict";
import test from "node:test";
import { read } from "../src/shared/read";

const item = (id, more) => ({
  id, role: "assistant", status: "completed", text: "", withheld: null, attachments: 0, headrace: {}, ...more,
});
const cited = {
  start_index: 0, end_index: 5, file_id: "file-1", file_name: "a.md", title: "A\u202egnp", quote: "Deep.", support: 1,
  position: { start: 0, end: 5, page: null },
};

test("questions and answers are shown in their order, and nothing of what is never shared", () => {
  const shown = read([
    item("1", { role: "user", text: "<b>How</b> deep?", attachments: 1 }),
    item("2", { text: "Deep. Very.", headrace: { citations: [cited], unsupported: [{ start_index: 6, end_index: 11 }] } }),
    item("3", { role: null, withheld: "private" }),
    item("4", { withheld: "documents" }),
    item("5", { role: "user", text: "And then?" }),
    item("6", { text: "**Then", status: "incomplete" }),
  ]);
  assert.deepEqual(shown.map(({ kind, key }) => [kind, key]), [
    ["question", "1"], ["answer", "2"], ["withheld", "4"], ["question", "5"], ["answer", "6"],
  ]);
  assert.deepEqual(shown[0], { kind: "question", key: "1", text: "<b>How</b> deep?", attached: true });
  const { reply } = shown[1];
  assert.deepEqual(reply.sources.map(({ number, file, title }) => [number, file, title]), [[1, "file-1", "A\ufffdgnp"]]);
  assert.equal(reply.unsupported, 1);
  assert.equal(reply.status.value, "done");
  assert.equal(shown[4].reply.reason, "incomplete");
});

test("a reader can rate, approve and ask again nothing", () => {
  const hostile = { steps: [{ kind: "action", text: "x" }], approvals: [{ id: "a" }], completion_id: "chatcmpl-1" };
  const [{ reply }] = read([item("1", { text: "Hi", headrace: hostile })]);
  assert.deepEqual([reply.steps, reply.approvals, reply.target, reply.training], [[], [], null, null]);
});

test("an item of a withheld answer shows no text, whatever it says", () => {
  assert.deepEqual(read([item("1", { text: "secret", withheld: "documents", headrace: { citations: [cited] } })]), [
    { kind: "withheld", key: "1" },
  ]);
  assert.deepEqual(read([item("1", { role: "user", text: "secret", withheld: "private" })]), []);
  assert.deepEqual(read([item("1", { role: "system", text: "secret" })]), []);
});
