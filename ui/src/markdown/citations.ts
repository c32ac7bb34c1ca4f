// Citations as marks in the text of an answer.

import { lines, parse } from "./document";

export interface Span {
  start_index: number;
  end_index: number;
}

/** The number of the mark of a sentence that no document supports. */
export const UNSUPPORTED = 0;

const OPEN = "\u2045";
const CLOSE = "\u2046";
const MARK = /\u2045(\d{1,4})\u2046/;

/** Returns an answer without characters that the marks use; it stays as long as it is. */
export function unmarked(text: string): string {
  return text.replaceAll(OPEN, "[").replaceAll(CLOSE, "]");
}

/** Returns the parts of a text: strings, and the numbers of marks between them. */
export function marks(text: string): (string | number)[] {
  return text.split(MARK).map((part, index) => (index % 2 ? Number(part) : part));
}

export function withoutMarks(text: string): string {
  return marks(text).filter((part) => typeof part === "string").join("");
}

/**
 * Returns the answer with a mark at the end of each span; `numbers` has the source of each, or `UNSUPPORTED`.
 * Positions count characters of the answer as it was received, as Python does. In code, tables and formulas a mark would change
 * what is shown: it follows them.
 */
export function marked(received: string, citations: readonly Span[], numbers: readonly number[]): string {
  const units = codeUnits(received);
  const answer = lines(received);
  const wanted = new Map<number, Set<number>>();
  citations.forEach(({ end_index }, index) => {
    const at = units(end_index);
    const number = numbers[index];
    if (number !== undefined) wanted.set(at, (wanted.get(at) ?? new Set()).add(number));
  });
  let from = 0;
  let result = "";
  for (const { raw, type } of blocksOf(answer)) {
    const to = from + raw.length;
    const here = [...wanted].filter(([at]) => at > from && at <= to).sort(([a], [b]) => a - b);
    if (type === "code" || type === "table" || type === "html" || type === "formula") {
      const all = new Set(here.flatMap(([, set]) => [...set]));
      result += all.size ? `${raw.trimEnd()}\n\n${written(all)}\n\n` : raw;
    } else {
      let before = from;
      for (const [at, set] of here) {
        // Spaces before the mark would end emphasis, and a line end the paragraph.
        const sentence = answer.slice(before, at);
        const end = sentence.trimEnd();
        result += end + written(set) + sentence.slice(end.length);
        before = at;
      }
      result += answer.slice(before, to);
    }
    from = to;
  }
  return result + answer.slice(from);
}

function written(numbers: Set<number>): string {
  return [...numbers].map((number) => `${OPEN}${number}${CLOSE}`).join("");
}

function blocksOf(answer: string): { raw: string; type: string }[] {
  // Spaces between blocks are no blocks of their own: each belongs to the block before it.
  const found: { raw: string; type: string }[] = [];
  let at = 0;
  for (const { token } of parse(answer)) {
    const start = answer.indexOf(token.raw, at);
    if (start < 0) continue;
    if (start > at) found.push({ raw: answer.slice(at, start), type: "space" });
    found.push({ raw: token.raw, type: token.type });
    at = start + token.raw.length;
  }
  return found;
}

/** Returns where a character, counted as Python does, stands in a string of JavaScript with line ends of one kind. */
function codeUnits(text: string): (character: number) => number {
  if (!/[\ud800-\udbff]|\r\n/.test(text)) return (character) => character;
  const starts: number[] = [];
  let at = 0;
  let before = "";
  for (const character of text) {
    starts.push(at);
    if (character !== "\n" || before !== "\r") at += character.length;
    before = character;
  }
  return (character) => starts[character] ?? at;
}
