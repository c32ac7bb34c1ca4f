// MathML from TeX. Of the tree that the library makes, only what is named here becomes a node.

import type { ComponentChild, h as make, VNode } from "preact";
import temml, { type TreeNode } from "temml/temml.js";

const ELEMENTS = new Set([
  "math", "mrow", "mi", "mn", "mo", "ms", "mtext", "mspace", "mfrac", "msqrt", "mroot", "msub", "msup", "msubsup",
  "munder", "mover", "munderover", "mmultiscripts", "mprescripts", "none", "mtable", "mtr", "mtd", "mstyle", "mpadded",
  "mphantom", "menclose",
]);
/** Attributes with what their values look like. */
const WORD = /^[a-z-]{1,24}$/;
const LENGTH = /^-?\d{0,3}(?:\.\d{1,6})?(?:em|ex|pt|px|mu|%)?$/;
const ATTRIBUTES: Record<string, RegExp> = {
  display: WORD, displaystyle: WORD, mathvariant: WORD, form: WORD, fence: WORD, separator: WORD, stretchy: WORD,
  symmetric: WORD, largeop: WORD, movablelimits: WORD, accent: WORD, accentunder: WORD,
  scriptlevel: /^[+-]?\d$/, columnspan: /^\d{1,2}$/, rowspan: /^\d{1,2}$/,
  width: LENGTH, height: LENGTH, depth: LENGTH, voffset: LENGTH, lspace: LENGTH, rspace: LENGTH, minsize: LENGTH,
  maxsize: LENGTH, linethickness: LENGTH,
};
/** Names by which the page's style sheet aligns cells and draws lines. */
const CLASSES = new Set(["tml-left", "tml-right", "tml-jot", "tml-overline", "tml-underline"]);
/** A longer way would put a part of the formula over what stands around it. In em, or what is about as long. */
const FARTHEST: Record<string, number> = { em: 4, ex: 8, pt: 40, px: 64, mu: 72, "%": 100, "": 4 };
const MOST_NODES = 4_000;
const DEEPEST = 60;
/** Definitions: a few characters of them can become millions of tokens. */
const DEFINES = /\\(?:[gex]?def|let|futurelet|global|long|(?:re)?newcommand|providecommand)(?![A-Za-z])/;
/** Signs that cross something out or draw a frame, which would be missing. */
const LOST = /\\(?:[bx]?cancel(?:to)?|sout|boxed|fbox|fcolorbox|colorbox|phase|angl)(?![A-Za-z])/;

class Refused extends Error {}

/** Returns a formula as nodes; null if it is wrong, or has what is not shown. */
export function mathml(h: typeof make, tex: string, display: boolean): VNode | null {
  if (DEFINES.test(tex) || LOST.test(tex) || deep(tex)) return null;
  try {
    const tree = temml.__renderToMathMLTree(tex, {
      displayMode: display, throwOnError: true, trust: false, maxExpand: 200, maxSize: [4, 40],
    });
    return new Nodes(h).of(tree, 0) as VNode;
  } catch {
    // The library has errors of its own, and those of the engine, such as too deep a recursion.
    return null;
  }
}

/** Returns whether groups are nested more deeply than in formulas that people write. */
function deep(tex: string): boolean {
  let depth = 0;
  for (const [sign] of tex.matchAll(/\\[\s\S]|[{}]/g)) {
    if (sign === "{") depth += 1;
    else if (sign === "}") depth -= 1;
    if (depth > DEEPEST) return true;
  }
  return false;
}

class Nodes {
  #made = 0;

  constructor(private readonly h: typeof make) {}

  of(node: TreeNode, depth: number): ComponentChild | ComponentChild[] {
    this.#made += 1;
    if (this.#made > MOST_NODES || depth > DEEPEST) throw new Refused();
    if (node.text !== undefined) return node.text;
    const children = (node.children ?? []).map((child) => this.of(child, depth + 1));
    // A fragment: its children stand in its place.
    if (node.type === undefined && node.attributes === undefined && node.href === undefined) return children;
    if (node.type === undefined || !ELEMENTS.has(node.type)) throw new Refused();
    // Browsers draw no `menclose`; the lines that it had are those of its class.
    const name = node.type === "menclose" ? "mrow" : node.type;
    return this.h(name, attributes(node), ...children);
  }
}

function attributes({ type, attributes = {}, classes = [], children = [] }: TreeNode): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(attributes)) {
    const text = String(value);
    if (Object.hasOwn(ATTRIBUTES, name) && ATTRIBUTES[name]?.test(text) && near(name, text)) kept[name] = text;
  }
  const names = classes.filter((each) => CLASSES.has(each));
  // Browsers replace one letter by a slanted sign that only fonts for mathematics have: the style sheet slants it.
  const letters = type === "mi" ? [...(children[0]?.text ?? "")] : [];
  if (letters.length === 1 && kept.mathvariant !== "normal") names.push("letter");
  if (names.length) kept.class = names.join(" ");
  if (type === "math") kept.dir = "ltr";
  return kept;
}

function near(name: string, value: string): boolean {
  if (ATTRIBUTES[name] !== LENGTH) return true;
  const [, number, unit = ""] = /^(-?[\d.]+)(\D*)$/.exec(value) ?? [];
  return number !== undefined && Math.abs(Number(number)) <= (FARTHEST[unit] ?? 0);
}
