// Formulas in answers: what is one, what it becomes, and that hostile ones end.

import assert from "node:assert/strict";
import test from "node:test";
import { h } from "preact";
import { MarkdownDocument, parse } from "../src/markdown/document";
import { formulaAt, LONGEST_FORMULA, MOST_OF_FORMULAS } from "../src/markdown/formulas";
import { mathml } from "../src/markdown/mathml";
import { random, SIZES, steps } from "./chunks.js";

/** All formulas of a text, as TeX, those that stand on their own in brackets. */
function formulas(text) {
  const found = [];
  const look = (tokens) => {
    for (const token of tokens ?? []) {
      if (token.type === "formula") found.push(token.display ? [token.text] : token.text);
      look(token.tokens);
      look(token.items);
      for (const cell of [token.header ?? [], ...(token.rows ?? [])].flat()) look(cell.tokens);
    }
  };
  look(parse(text).map(({ token }) => token));
  return found;
}

/** The MathML of a formula, for comparison only. */
function written(tex, display = false) {
  const draw = (node) => {
    if (node === null || node === undefined) return "";
    if (Array.isArray(node)) return node.map(draw).join("");
    if (typeof node !== "object") return String(node);
    const { children, ...attributes } = node.props;
    const named = Object.entries(attributes).map(([name, value]) => ` ${name}="${value}"`).join("");
    return `<${node.type}${named}>${draw(children)}</${node.type}>`;
  };
  const made = mathml(h, tex, display);
  return made && draw(made);
}

for (const [text, expected] of [
  ["$x$ and $y_1*z$ and *b*", ["x", "y_1*z"]],
  ["\\(a\\) and \\[b\\] and $$c$$", ["a", ["b"], ["c"]]],
  ["$$\na \\\\\nb\n$$", [["\na \\\\\nb\n"]]],
  ["the $n$th", ["n"]],
  ["- $x$\n\n> $y$\n\n| $z$ |\n| - |\n| **$w$** |\n\n# $v$", ["x", "y", "z", "w", "v"]],
  ["$\\text{a \\$ b}$", ["\\text{a \\$ b}"]],
  ["\\(\\text{\\\\}\\)", ["\\text{\\\\}"]],
  // Lines of a formula may look like other blocks.
  ["Then\n$$\na\n+ b\n- c\n> d\n# e\n---\n$$\nmore $f$", [["\na\n+ b\n- c\n> d\n# e\n---\n"], "f"]],
  ["   \\[\n1. a\n* b\n   \\]   \n- $c$", [["\n1. a\n* b\n   "], "c"]],
  ["- $$\n  a\n  + b\n  $$\n\n> \\[\n> a\n> - b\n> \\]", [["\na\n+ b\n"], ["\na\n- b\n"]]],
  ["$$\na\n\n+ b\n$$", []],
  ["$$\n+ $a$\n\nb", ["a"]],
  ["    $$\n    a\n    $$", []],
  ["$$a$$ b", [["a"]]],
  // Prices, variables and other text.
  ["$5 and $6", []],
  ["$5-$6, $7/$8 and US$9", []],
  ["It costs $5.", []],
  ["$ x $ and $x $ and $ x$", []],
  ["\\$x\\$ and \\$x$", []],
  ["\\\\(x\\\\)", []],
  ["`$x$` and ``$y$``", []],
  ["```\n$x$\n```\n\n    $$y$$\n", []],
  ["$$ $$", []],
  ["$$$$ and $ $ and \\(\\) and \\[ \\]", []],
  ["$x", []],
  ["\\(x and \\[y and $$z", []],
  ["$x\n\ny$", []],
  [`$${"x".repeat(LONGEST_FORMULA + 1)}$`, []],
]) {
  test(`formulas of ${JSON.stringify(text.slice(0, 60))}`, () => assert.deepEqual(formulas(text), expected));
}

test("the longest formula is one, and one more character makes it text", () => {
  const longest = "x".repeat(LONGEST_FORMULA);
  for (const [open, close] of [["$", "$"], ["$$", "$$"], ["\\(", "\\)"], ["\\[", "\\]"]]) {
    assert.equal(formulaAt(open + longest + close)?.text, longest);
    assert.equal(formulaAt(`${open}${longest}x${close}`), undefined);
  }
});

test("a formula that is not finished is text, and the whole is the same in any pieces", () => {
  const text = "Let $x_1$ be \\(a\\) and cost $5, with\n$$\ny = \\frac{1}{2}\n$$\nand \\[z\\].\n\n- $a$ is $6\n- **$b*c$**\n\nEnd $d$";
  const tokens = (blocks) => JSON.parse(JSON.stringify(blocks.map(({ token }) => token)));
  const whole = tokens(parse(text));
  const next = random(5);
  for (const size of [...SIZES, ...SIZES, ...SIZES]) {
    const document = new MarkdownDocument();
    for (const piece of steps(text, size, next)) {
      document.append(piece);
      document.update();
    }
    document.finish();
    assert.deepEqual(tokens(document.frozen), whole);
    assert.equal(document.text, text);
  }
  const growing = new MarkdownDocument();
  growing.append("A $x^2");
  growing.update();
  assert.deepEqual(growing.open[0].token.tokens.map(({ type }) => type), ["text"]);
  growing.append("$");
  growing.update();
  assert.deepEqual(growing.open[0].token.tokens.map(({ type }) => type), ["text", "formula"]);
});

test("blocks with formulas, finished or not, are in pieces what they are at once", () => {
  const parts = [
    "$$", "$$", "\\[", "\\]", "\n", "\n", "\n", "\n\n", "- a", "+ b", "> q", "1. n", "text", "# h", "---", "===", "```", "    ",
    " ", "$x$", "$", "|a|\n|-|\n|b|", "\\", "*c*",
  ];
  const next = random(17);
  const tokens = (document) => document.frozen.map(({ token, level }) => [token, level]);
  let finished = 0;
  for (let count = 0; count < 6_000; count += 1) {
    let text = "";
    for (let left = 4 + next() * 30; left > 0; left -= 1) text += parts[Math.floor(next() * parts.length)] + (next() < 0.4 ? "\n" : "");
    const whole = new MarkdownDocument();
    whole.append(text);
    whole.finish();
    const document = new MarkdownDocument();
    for (const piece of steps(text, 3, next)) {
      document.append(piece);
      document.update();
    }
    document.finish();
    assert.deepEqual(tokens(document), tokens(whole), JSON.stringify(text));
    finished += whole.frozen.filter(({ token }) => token.type === "formula").length;
  }
  assert.ok(finished > 300, `${finished}`);
});

test("formulas of an answer end at a number of characters, in pieces as at once", () => {
  const one = `$${"x".repeat(98)}$`;
  const text = `- ${one} **${one}**\n\n| ${one} |\n| - |\n| ${one} |\n\n[a]: https://a.example\n\n${one}\n\n`.repeat(MOST_OF_FORMULAS / 400);
  const found = formulas(text);
  assert.equal(found.length, MOST_OF_FORMULAS / one.length);
  const document = new MarkdownDocument();
  for (const piece of steps(text, 300, random(3))) {
    document.append(piece);
    document.update();
  }
  document.finish();
  assert.deepEqual(document.frozen.map(({ token }) => token), parse(text).map(({ token }) => token));
});

test("TeX becomes MathML", () => {
  assert.equal(written("x^2"), '<math dir="ltr"><msup><mi class="letter">x</mi><mn>2</mn></msup></math>');
  assert.equal(
    written("\\frac12", true),
    '<math display="block" dir="ltr"><mfrac><mn>1</mn><mn>2</mn></mfrac></math>',
  );
  assert.match(written("\\sin\\mathrm{d}x\\alpha"), /<mi>sin<.*<mi mathvariant="normal">d<.*<mi class="letter">x<.*<mi class="letter">α</);
  assert.match(written("\\begin{aligned} a &= b \\\\ c &= d \\end{aligned}", true), /<mtd class="tml-right">.*<mtd class="tml-left">/);
  for (const tex of [
    "\\sum_{i=1}^n x_i", "\\int_0^\\infty e^{-x}\\,dx", "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\sqrt[3]{x}",
    "\\begin{cases}a&b\\\\c&d\\end{cases}", "\\left(\\frac{a}{b}\\right)", "\\mathbb{R}\\mathcal{L}\\vec{v}\\hat{x}",
    "\\overline{ab}", "\\underbrace{a+b}_{c}", "\\text{if } x \\le 0", "\\lim_{x\\to0}", "\\color{white} x", "a \\tag{1}",
    "\\binom{n}{k}", "\\operatorname{softmax}(z)_i", "\\begin{bmatrix}a\\\\b\\end{bmatrix}^\\top", "\\mathrm{d}x \\ne \\pm 1",
  ]) {
    assert.match(written(tex, true) ?? "", /^<math /, tex);
  }
});

test("what is wrong, or would be shown without its meaning, is refused", () => {
  for (const tex of [
    "\\frac{1}", "{x", "x}", "\\unknown", "\\begin{matrix}", "x^", "\\left(", "a & b", "#1", "\\cancel{x}", "\\boxed{x}",
    "\\href{https://evil.example}{x}", "\\url{https://evil.example}", "\\includegraphics{https://evil.example/a.png}",
    "\\class{a}{x}", "\\id{a}{x}", "\\style{color:red}{x}", "\\data{a=b}{x}", "\\toggle{a}{b}\\endtoggle", "\\verb|",
  ]) {
    assert.equal(written(tex), null, tex);
  }
});

test("only the named elements and attributes are made, and no part is moved far", () => {
  for (const tex of [
    "\\color{red}{x}", "\\colorbox{red}{x}", "\\rule{9999em}{9999em}", "\\hspace{-900em}x", "\\raisebox{100em}{x}", "\\raisebox{-99em}{x}", "\\raise-99em x", "\\mathtip{a}{b}", "\\mathllap{x}",
    "\\kern-100em x", "\\mathrlap{x}", "\\Huge x", "\\smash{x}", "\\text{<img src=x onerror=alert(1)>}", "\\label{a}",
    "\\ref{a}", "\\eqref{javascript:alert(1)}", "\\texttt{'\"><script>alert(1)</script>}", "\\unicode{x202e}", "\\mspace{-999mu}",
    "\\tip{a}{b}", "\\texttip{a}{b}", "\\htmlId{a}{x}", "\\char\"202E", "\\bordermatrix{a&b\\cr c&d}",
  ]) {
    for (const display of [false, true]) {
      const made = (written(tex, display) ?? "").replaceAll(/(?<=>)[^<]*<(?:img|script|\/script)[^>]*>/g, "");
      assert.doesNotMatch(made, / (?:style|href|src|id|on\w+|mathcolor|mathbackground|actiontype)=/, tex);
      assert.doesNotMatch(made, /\d{2,}(?:\.\d+)?(?:em|ex)/, tex);
    }
  }
});

const HOSTILE = [
  "{", "}", "{{}", "$", "$ ", "$$", "$x$ ", "$x", "\\(", "\\)", "\\[", "\\(x\\)", "\\", "\\\\", "\\$", "^", "_", "^{", "x_{",
  "\\frac", "\\frac{", "\\sqrt{", "\\left(", "\\begin{matrix}", "\\begin{a}", "&", "\\\\\\\\", "'", "\\text{", "#", "%", "~",
  "\\hspace{9em}", "\\binom", "\\mathchoice{", "\\overset", "\\substack{", "\\not", "\\Bigl", "\\verb", "\\operatorname{",
];
const LOOPS = [
  "\\def\\a{x}\\a", "\\let\\a\\alpha\\a", "\\newcommand\\a{x}\\a", "\\gdef\\a#1{#1}\\a{x}",
  "\\def\\a{\\a\\a}\\a", "\\def\\a{\\b}\\def\\b{\\a}\\a", "\\let\\a\\a\\a", "\\gdef\\a#1{\\a{#1#1}}\\a{x}",
  "\\newcommand{\\a}[1]{#1#1#1#1\\a{#1}}\\a{x}", "\\edef\\a{\\a}", "\\global\\def\\a{\\a}\\a", "\\futurelet\\a\\b\\c",
  `\\def\\a#1{${"#1".repeat(1200)}}\\a{${"x".repeat(1200)}}`, "\\providecommand\\a{\\a}\\a", "\\long\\def\\a{\\a}\\a",
];

test("definitions make nothing", () => {
  for (const tex of LOOPS) assert.equal(written(tex), null, tex);
  assert.match(written("\\leq \\longrightarrow \\lettera".replace("\\lettera", "\\Delta")), /^<math /);
});

test("hostile formulas end: each as long as one may be", () => {
  let made = 0;
  for (const one of HOSTILE) {
    for (const length of [500, LONGEST_FORMULA]) {
      const tex = one.repeat(Math.floor(length / one.length));
      for (const all of [tex, `${tex}x${"}".repeat(one.split("{").length - 1)}`, `\\begin{array}{c}${tex.slice(0, 3000)}\\end{array}`]) {
        const shown = written(all, true);
        assert.ok(shown === null || shown.startsWith("<math "));
        made += 1;
      }
    }
  }
  assert.ok(made > 200);
});

test("formulas that never end before one that does take no time of their own", () => {
  for (const line of ["\\[\n", "$$\n", " \\[ x\n"]) {
    const text = `${line.repeat(20_000 / line.length)}\\[x\\]\n---\n`;
    const document = new MarkdownDocument();
    document.append(text);
    document.finish();
    assert.equal(document.text, text);
    assert.ok(document.lexed <= 3 * text.length);
  }
});

test("hostile answers of 100 kB end in pieces, and are shown whole", () => {
  for (const one of [...HOSTILE, ...LOOPS]) {
    for (const text of [one.repeat(100_000 / one.length), `${one.repeat(15_000 / one.length)}\n\n`.repeat(6), `$${one}$ `.repeat(100_000 / (one.length + 3))]) {
      const document = new MarkdownDocument();
      for (let at = 0; at < text.length; at += 4_000) {
        document.append(text.slice(at, at + 4_000));
        document.update();
      }
      document.finish();
      assert.equal(document.text, text);
    }
  }
});
