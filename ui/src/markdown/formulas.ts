// Formulas of TeX in Markdown: `$…$` and `\(…\)` in a line, `$$…$$` and `\[…\]` on their own.

import type { Token } from "marked";

export interface Formula {
  type: "formula";
  raw: string;
  /** The TeX between the delimiters. */
  text: string;
  /** Whether it stands on its own. */
  display: boolean;
}

/** A longer one is text, in characters. */
export const LONGEST_FORMULA = 4_000;

/** Those of an answer have at most as many characters together; further ones are text, since each takes time. */
export const MOST_OF_FORMULAS = 50_000;

const OPENING = /^(?:\${1,3}|\\[([])/;
const CLOSING: Record<string, string> = { $: "$", $$: "$$", "\\(": "\\)", "\\[": "\\]" };

/**
 * Returns the formula with which a text begins.
 *
 * Prices are none, by pandoc's rule: what follows the first `$` and stands before the last is no space, and no digit
 * follows the last. The first `$` that is not escaped decides, so that a text is read once, whatever it has.
 */
export function formulaAt(text: string): Formula | undefined {
  const opening = OPENING.exec(text)?.[0] ?? "";
  const closing = CLOSING[opening];
  if (!closing) return undefined;
  const end = closed(text.slice(0, opening.length + LONGEST_FORMULA + closing.length), opening.length, closing);
  const tex = text.slice(opening.length, end);
  if (end < 0 || !tex.trim()) return undefined;
  if (opening === "$" && (/^\s|\s$/.test(tex) || /^\d/.test(text.slice(end + 1)))) return undefined;
  return { type: "formula", raw: text.slice(0, end + closing.length), text: tex, display: opening === "$$" || opening === "\\[" };
}

/** Returns where the closing delimiter stands, before which there is no backslash that is not itself escaped. */
function closed(text: string, from: number, closing: string): number {
  for (let at = text.indexOf(closing, from); at >= 0; at = text.indexOf(closing, at + 1)) {
    let slashes = 0;
    while (at - slashes > from && text[at - slashes - 1] === "\\") slashes += 1;
    if (slashes % 2 === 0) return at;
  }
  return -1;
}

const LINE = /^ {0,3}(?=\$\$|\\\[)/;
const BLANK = /\n[ \t]*\n/;

/** Returns the formula that is the block with which a text begins: lines without a blank one, whatever they begin with. */
export function formulaBlockAt(text: string): Formula | undefined {
  const indent = LINE.exec(text)?.[0];
  const found = indent === undefined ? undefined : formulaAt(text.slice(indent.length));
  if (indent === undefined || !found || BLANK.test(found.raw)) return undefined;
  const raw = indent + found.raw;
  const end = /^[ \t]*(?:\n|$)/.exec(text.slice(raw.length))?.[0];
  return end === undefined ? undefined : { ...found, raw: raw + end };
}

/** So many lines of a paragraph are looked at that begin a formula which never ends: each is read to its limit. */
const MOST_UNCLOSED = 64;
const LINES = /\n(?:( {0,3}(?:\$\$|\\\[))|[ \t]*(?=\n))/g;

/** Returns where a line after the first of a paragraph begins a formula, or -1. */
export function formulaBlockIn(text: string): number {
  let unclosed = 0;
  for (const { 1: begins, index } of text.matchAll(LINES)) {
    if (begins === undefined || unclosed === MOST_UNCLOSED) return -1;
    if (formulaBlockAt(text.slice(index + 1))) return index + 1;
    unclosed += 1;
  }
  return -1;
}

/** Returns where the last block begins that more text can make a formula, or the text's length. */
export function openFormula(text: string): number {
  const from = Math.max(0, text.length - LONGEST_FORMULA - 8);
  const last = text.slice(from).split(BLANK).at(-1) ?? "";
  const begins = /^ {0,3}(?:\$\$|\\\[)/m.exec(last);
  return begins ? text.length - last.length + begins.index : text.length;
}

interface Parts {
  tokens: Token[];
  items: Token[];
  header: { tokens: Token[] }[];
  rows: { tokens: Token[] }[][];
}

/** Makes formulas text once there are none of the characters left that they may have; returns how many are. */
export function spend(tokens: readonly Token[], left: number): number {
  for (const token of tokens) {
    if (token.type === "formula") {
      left -= token.raw.length;
      if (left < 0) Object.assign(token, { type: "escape", text: token.raw });
    }
    const { tokens: inner = [], items = [], header = [], rows = [] } = token as Partial<Parts>;
    for (const each of [inner, items, ...[header, ...rows].flat().map((cell) => cell.tokens)]) left = spend(each, left);
  }
  return left;
}
