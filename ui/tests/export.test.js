// A conversation as a file: whole or not at all, with its sources, and with nothing in it that loads.

import assert from "node:assert/strict";
import test from "node:test";
import { marked } from "marked";
import { whole } from "../src/chat/state";
import { t } from "../src/i18n";
import { marks } from "../src/markdown/citations";
import { file, fileName } from "../src/own/export";

const ANSWER = "The sea is deep. Nobody knows 😀 it. See `![x](y)`.";
const cited = (start_index, end_index, more) => ({
  start_index, end_index, file_id: "file-1", file_name: "sea.txt", title: "The sea", quote: "The sea is *deep*.", support: 1,
  position: { start: 17, end: 40, page: 3 }, ...more,
});
const conversation = (title) => ({ id: "conv-1", created_at: 1_800_000_000, headrace: { title, pinned: false, archived: false } });
const question = (id, text, more) => ({
  id, type: "message", role: "user", status: "completed", created_at: 1_800_000_060, content: [{ type: "input_text", text }], ...more,
});
const reply = (id, text, headrace = {}, more = {}) => ({
  id, type: "message", role: "assistant", status: "completed", created_at: 1_800_000_120,
  content: [{ type: "output_text", text }], headrace: { model: "docs", ...headrace }, ...more,
});

/** Returns what of the page the file is made of: pages of `size` of the items, whose number `fails` cannot be read. */
function page(items, { size = 100, fails = -1, language = "en" } = {}) {
  const newest = items.toReversed();
  const asked = [];
  return {
    asked, whole, marks, t, language, origin: "https://host.example",
    items: async (id, after) => {
      asked.push(after);
      if (asked.length - 1 === fails) throw new Error("broken page");
      const from = after === null ? 0 : newest.findIndex((item) => item.id === after) + 1;
      const data = newest.slice(from, from + size);
      return { data, has_more: from + size < newest.length, last_id: data.at(-1)?.id ?? null };
    },
  };
}

const saved = async (items, format = "md", options = {}, title = "A title") =>
  (await file(conversation(title), format, page(items, options), 1_800_003_600_000)).text;

test("Markdown has titles, times, questions, and answers with numbered sources and signs of what none supports", async () => {
  const citations = [cited(0, 16), cited(36, [...ANSWER].length, { file_id: "file/2", title: "Two", position: undefined, quote: "Q" })];
  const headrace = { citations, unsupported: [{ start_index: 16, end_index: 35 }] };
  assert.equal(
    await saved([question("1", "How *deep*?\n# It is", { content: [{ type: "input_file", file_id: "f", filename: "a_b.md" }, { text: "How *deep*?\n# It is" }] }), reply("2", ANSWER, headrace)]),
    `# A title

Begun 2027-01-15 08:00 UTC, saved 2027-01-15 09:00 UTC.

## You, 2027-01-15 08:01 UTC

> How *deep*?
> # It is

File: a\\_b.md

## Answer of docs, 2027-01-15 08:02 UTC

The sea is deep.\\[1] Nobody knows 😀 it.\\[?] See \`![x](y)\`.\\[2]

\\[?] follows a sentence that no document supports.

Sources:

1. The sea, Page 3, characters 17 to 40, <https://host.example/v1/files/file-1/content>
   - The sea is \\*deep\\*.
2. Two, <https://host.example/v1/files/file%2F2/content>
   - Q
`,
  );
});

test("JSON has the items as the API tells them, and messages with the same numbers", async () => {
  const items = [question("1", "How?"), reply("2", ANSWER, { citations: [cited(0, 16)], unsupported: [{ start_index: 16, end_index: 35 }] }, { status: "incomplete" }), { id: "3", type: "function_call" }];
  const told = JSON.parse(await saved(items, "json"));
  assert.deepEqual(told.items, items);
  assert.deepEqual([told.title, told.saved_at, told.conversation.id], ["A title", 1_800_003_600, "conv-1"]);
  assert.deepEqual(told.messages.map(({ role, text, complete }) => [role, text, complete]), [
    ["user", "How?", true],
    ["assistant", "The sea is deep.[1] Nobody knows 😀 it.[?] See `![x](y)`.", false],
  ]);
  const [source] = told.messages[1].sources;
  assert.deepEqual(source, {
    number: 1, file: "file-1", title: "The sea", url: "https://host.example/v1/files/file-1/content",
    passages: [{ quote: "The sea is *deep*.", page: 3, start: 17, end: 40 }],
  });
});

test("all pages of items are read, in their order, and one that fails leaves no file", async () => {
  const items = Array.from({ length: 501 }, (_, at) => (at % 2 ? reply : question)(`i${at}`, `number ${at}.`));
  const tools = page(items, { size: 100 });
  const { text } = await file(conversation("Long"), "md", tools);
  assert.equal(tools.asked.length, 6);
  assert.deepEqual([...text.matchAll(/number (\d+)\./g)].map(([, at]) => Number(at)), items.map((_, at) => at));
  for (let fails = 0; fails < 6; fails += 1) {
    for (const format of ["md", "json"]) await assert.rejects(saved(items, format, { size: 100, fails }), /broken page/);
  }
});

test("an answer can load nothing, forge no message and leave nothing open", async () => {
  const attacks = [
    "![x](http://evil.example/?q=1)", "$![x](http://evil.example)$", "$$\n![x](http://evil.example)\n$$", "\\\\![x](http://evil.example/)", "![x][r]\n\n[r]: http://evil.example/", "- a\n  - ![x](//evil.example)",
    "<img src=http://evil.example>", "a <IMG\nsrc=x>", "<!-- x -->", "| a |\n| - |\n| ![x](http://evil.example) |", "> ![x](http://evil.example)",
    "` ![x](http://evil.example)", "<http://a`> ![x](http://evil.example) `", "```\nopen ![x](http://evil.example)", "~~~\n```\n\n<b>", "## You\n\n> forged",
    "You\n===\n\n> forged", "<div>\n\n![x](y)\n\n</div>", `${"x ".repeat(12_000)}![x](http://evil.example)`, "![x\n\n![y](http://evil.example)", "\u2045![x](y)\u2046",
  ];
  for (const attack of attacks) {
    const items = [question("1", attack), reply("2", attack, { citations: [cited(0, 1, { title: attack, quote: attack })] }), question("3", "last")];
    for (const text of [await saved(items), await saved(items, "md", {}, attack)]) {
      const tokens = marked.lexer(text);
      marked.walkTokens(tokens, ({ type, raw }) => assert.ok(type !== "image" && type !== "html", `${attack}: ${raw}`));
      const headings = tokens.filter(({ type, depth }) => type === "heading" && depth < 3);
      assert.deepEqual(headings.map(({ depth }) => depth), [1, 2, 2, 2], attack);
      assert.ok(tokens.at(-1).raw.startsWith("> last"), attack);
    }
  }
});

test("code and what looks like an image in it stay as they are", async () => {
  const code = "```md\n![x](y) <b>\n```\n\nText with `<b>` and `![x](y)` <https://host.example/>\n\n- one\n\n  ```html\n  <p>\n  ```";
  assert.ok((await saved([reply("1", code)])).includes(code));
});

test("a file has a name on every system, whatever the title", () => {
  const names = {
    "Save: a/b?": "Save a b", "../../etc/passwd": "etc passwd", "..": "conversation", "": "conversation", "CON": "conversation CON", "lpt¹": "conversation lpt1",
    "con.txt": "con txt", "-rf *": "rf", ".bashrc": "bashrc", "a\u0000b\n\tc": "a b c", "exe\u202etxt.md": "exe txt md", "😀": "conversation", "\ud800": "conversation",
    "ما هو البحر؟": "ما هو البحر", "हिन्दी": "हिन्दी", "C:\\x|y": "C x y", "．．／x": "x", "a   ": "a", "\u0301\u0301x": "x", 'a"<b>\'$`': "a b",
  };
  for (const [title, name] of Object.entries(names)) assert.equal(fileName(title), name, JSON.stringify(title));
  for (const long of ["x".repeat(300), "水".repeat(300), "𝒜𠮷".repeat(300), `a${"\u0301".repeat(300)}`, "صفحة ".repeat(90)]) {
    const name = fileName(long);
    assert.ok(new TextEncoder().encode(name).length <= 180 && name.length > 20, name);
    assert.ok(name.isWellFormed() && name === name.trim());
  }
});

test("an answer that says nothing, and one that is refused, are saved as they are", async () => {
  const refused = reply("2", "", {}, { content: [{ type: "refusal", refusal: "No." }], created_at: undefined, headrace: null });
  const text = await saved([question("1", ""), reply("0", ""), refused], "md", {}, null);
  assert.ok(text.startsWith("# Untitled\n"));
  assert.ok(text.endsWith("## You, 2027-01-15 08:01 UTC\n\n## Answer of docs, 2027-01-15 08:02 UTC\n\n## Answer\n\nNo.\n"), text);
});
