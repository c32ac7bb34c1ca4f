// The document that grows is, at its end, the document that is read at once.

import assert from "node:assert/strict";
import test from "node:test";
import { marked as withMarks, unmarked } from "../src/markdown/citations";
import { LONGEST_BLOCK, MarkdownDocument, parse } from "../src/markdown/document";
import { decoded } from "../src/markdown/entities";
import { webAddress } from "../src/markdown/url";
import { random, SIZES, steps } from "./chunks.js";
import { EXAMPLES, LONG } from "./examples.js";

function grown(text, size, next) {
  const document = new MarkdownDocument();
  for (const piece of steps(text, size, next)) {
    document.append(piece);
    document.update();
  }
  document.finish();
  return document;
}

const tokens = (blocks) => JSON.parse(JSON.stringify(blocks.map(({ token }) => token)));

test("every example under random chunks is the example read at once", () => {
  const next = random(7);
  let documents = 0;
  for (const text of EXAMPLES) {
    const whole = tokens(parse(text));
    for (const size of SIZES) {
      const document = grown(text, size, next);
      assert.deepEqual(tokens(document.frozen), whole, JSON.stringify(text));
      assert.deepEqual(document.open, []);
      documents += 1;
    }
  }
  assert.ok(documents > 2500);
});

test("blocks that are complete are not read again", () => {
  const document = new MarkdownDocument();
  let seen = 0;
  for (const character of LONG.join("\n\n").repeat(8)) {
    const first = document.frozen[0];
    document.append(character);
    document.update();
    if (first) assert.equal(document.frozen[0], first);
    seen += 1;
  }
  assert.ok(seen > 5_000);
  assert.ok(document.frozen.length > 100);
});

for (const [name, text, most] of [
  ["an answer of many blocks", LONG.join("\n\n").repeat(8), 20],
  ["one long list", "- an item with *emphasis* and `code`\n".repeat(1500), 20],
  ["one long block of code", `\`\`\`python\n${"print(1)  # one\n".repeat(4000)}`, 20],
  ["one long paragraph", "words and words ".repeat(4000), 20],
]) {
  test(`the lexer reads at most ${most} characters for each of ${name}`, () => {
    const document = new MarkdownDocument();
    for (let at = 0; at < text.length; at += 13) {
      document.append(text.slice(at, at + 13));
      document.update();
    }
    document.finish();
    assert.equal(document.text, text);
    assert.ok(document.lexed < most * text.length, `${document.lexed / text.length} for each`);
  });
}

test("hostile and huge text ends, and is shown whole", () => {
  const short = [
    ">", "> ", "- ", "1. ", "    ", "\t", "\n", "a\n", "\\", "&", "*a _b ", "**a", "_", "~", "`", "` ``", "<", "<a ", "<!--",
    "[", "![", "[a](", "[a]: ", "|", "a|", "a@", "http://",
  ];
  // The first length is read as Markdown, the second is not.
  const many = short.flatMap((one) => [19_000, 60_000].map((length) => one.repeat(length / one.length)));
  for (const text of [...many, "\ud800 lone", "x".repeat(10_000_000)]) {
    const document = new MarkdownDocument();
    for (let at = 0; at < text.length; at += 2000) {
      document.append(text.slice(at, at + 2000));
      document.update();
    }
    document.finish();
    assert.equal(document.text.length, text.length);
    assert.equal(document.frozen.map(({ token }) => token.raw.replaceAll("\n", "")).join("").length, text.replaceAll("\n", "").length);
  }
  assert.ok(LONGEST_BLOCK < 10_000_000);
});

test("a text is drawn while it comes, and an update without news draws nothing", () => {
  const document = new MarkdownDocument();
  assert.equal(document.update(), false);
  document.append("one\r");
  assert.equal(document.update(), true);
  document.append("\n\ntwo");
  assert.equal(document.update(), true);
  assert.deepEqual(document.open.map(({ token }) => token.raw), ["one", "two"]);
  document.append("```");
  document.finish();
  assert.equal(document.text, "one\n\ntwo```");
  assert.equal(document.received, "one\r\n\ntwo```");
});

test("only absolute addresses of the web are links", () => {
  for (const href of [
    "javascript:alert(1)", "JaVaScRiPt:alert(1)", " javascript:alert(1)", "java\nscript:alert(1)", "data:text/html,x",
    "vbscript:x", "file:///etc/passwd", "//evil.example", "/v1/admin/keys", "mailto:a@b.example", "blob:https://a/b",
    "https:evil.example", "https://user:pass@evil.example/", "https://", "http://[", "ftp://a.example",
  ]) {
    assert.equal(webAddress(href), null, href);
  }
  assert.equal(webAddress("HTTPS://Example.com/a?b#c").href, "https://example.com/a?b#c");
});

test("character references are characters", () => {
  assert.equal(decoded("&lt;b&gt; &amp;amp; &#65;&#x42; &copy; &unknown; &#0; &#xd800; &#x110000; AT&T"), "<b> &amp; AB © &unknown; \ufffd \ufffd \ufffd AT&T");
});

test("marks stand where sentences end, and never change what is shown", () => {
  const at = (text, part) => [...text.slice(0, text.indexOf(part) + part.length)].length;
  const marked = (text, ...parts) =>
    withMarks(text, parts.map((part) => ({ start_index: 0, end_index: at(text, part) })), parts.map((_, index) => index + 1));
  assert.equal(marked("One is. Two is.", "One is.", "Two is."), "One is.⁅1⁆ Two is.⁅2⁆");
  assert.equal(marked("𝒳 is 😀. Next.", "😀."), "𝒳 is 😀.⁅1⁆ Next.");
  assert.equal(marked("**Bold.** Next.", "**Bold.** "), "**Bold.**⁅1⁆ Next.");
  assert.equal(marked("```\ncode.\n```\n\nEnd.", "code."), "```\ncode.\n```\n\n⁅1⁆\n\n\n\nEnd.");
  assert.equal(marked("| a |\n| - |\n| b. |\n\nEnd.", "b."), "| a |\n| - |\n| b. |\n\n⁅1⁆\n\n\n\nEnd.");
  assert.equal(marked("$$\na.\n+ b\n$$\n\nEnd.", "a."), "$$\na.\n+ b\n$$\n\n⁅1⁆\n\nEnd.");
  assert.equal(marked("A.", "A.").length, 5);
  assert.equal(withMarks("A.", [{ start_index: 0, end_index: 99 }], [1]).startsWith("A."), true);
  assert.equal(marked("One.\r\n\r\nTwo 😀.\r\nThree. Four.", "Two 😀.", "Three."), "One.\n\nTwo 😀.⁅1⁆\nThree.⁅2⁆ Four.");
  assert.equal(marked("One.\rTwo. Three.", "Two."), "One.\nTwo.⁅1⁆ Three.");
  assert.equal(unmarked("a ⁅1⁆ b"), "a [1] b");
  for (const emphasis of ["**a.**", "*a.*", "`a.`", "[a.](https://b.example)", "~~a.~~"]) {
    const [paragraph] = parse(marked(`${emphasis} Next.`, emphasis)).map(({ token }) => token);
    assert.equal(paragraph.tokens[0].raw, emphasis);
  }
});

test("only two tildes strike a text through", () => {
  const struck = (text) => JSON.stringify(parse(text)).includes('"del"');
  for (const text of ["H~2~O", "~one~", "about ~5 to ~6", "a ~~b", "~~a~", "~a~~"]) assert.equal(struck(text), false, text);
  for (const text of ["~~x~~", "a ~~b c~~ d", "H~2~O is ~~not~~ water"]) assert.equal(struck(text), true, text);
});
