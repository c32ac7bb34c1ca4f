// A Markdown document that grows: what can no longer change is kept as it is, and only the rest is read again.

import { Lexer, type Links, type MarkedOptions, type Token, Tokenizer, type Tokens } from "marked";
import { formulaAt, formulaBlockAt, formulaBlockIn, MOST_OF_FORMULAS, openFormula, spend } from "./formulas";

export interface Block {
  readonly key: number;
  readonly token: Token;
  /** Level of a heading in the page: an answer's first is 3, and none is skipped on the way down. */
  readonly level: number;
}

const FIRST_LEVEL = 3;
const LAST_LEVEL = 6;

/** A longer paragraph or cell is shown as plain text: some patterns of inline Markdown take quadratic time. */
export const LONGEST_TEXT = 20_000;
/** A block that is still growing and has more characters is closed. */
export const LONGEST_BLOCK = 200_000;
/** What a document may have read in characters, for each that it received, beyond `FREE`. */
const SHARE = 16;
const FREE = 20_000;
/** Blocks at the end that more text can change: a list may absorb the paragraph after it. */
const OPEN_BLOCKS = 2;
/** Nesting beyond what people write, and fences on which the lexer takes quadratic time. */
const HOSTILE = /^(?:[ \t]*>){24}|^[ \t]{96}|^(?:[ \t]*(?:[-+*]|\d{1,9}[.)])[ \t]+){24}|[`~]{200}/m;
class PageTokenizer extends Tokenizer {
  /** A heading of several lines that dashes make ends before a formula, as a paragraph does. */
  override lheading(text: string): Tokens.Heading | undefined {
    const formula = formulaBlockIn(text);
    return super.lheading(formula < 0 ? text : text.slice(0, formula));
  }

  /** One tilde is no sign of deletion: `H~2~O` is water, and `~5` about five. */
  override del(src: string, masked: string, before?: string): Tokens.Del | undefined {
    return src.startsWith("~~") ? super.del(src, masked, before) : undefined;
  }
}

const OPTIONS: MarkedOptions = {
  gfm: true,
  tokenizer: new PageTokenizer(),
  extensions: {
    renderers: {},
    childTokens: {},
    inline: [(text) => formulaAt(text)],
    // A backslash, which begins the others, ends a piece of text in any case.
    startInline: [(text) => text.indexOf("$")],
    block: [(text) => formulaBlockAt(text)],
    startBlock: [formulaBlockIn],
  },
};

export class MarkdownDocument {
  readonly frozen: Block[] = [];
  open: Block[] = [];
  /** Characters that the lexer has read. */
  lexed = 0;
  #received = 0;
  #waiting = "";
  #rest = "";
  #links: Links = {};
  #defines = false;
  #whole: string[] = [];
  #keys = 0;
  #headings = new Headings();
  /** Characters that further formulas may have. */
  #formulas = MOST_OF_FORMULAS;

  /** The text as received. */
  get received(): string {
    return this.#whole.join("") + this.#waiting;
  }

  /** The text with line ends of one kind. */
  get text(): string {
    return lines(this.received);
  }

  /** Adds text, which `update` shows. */
  append(text: string): void {
    this.#received += text.length;
    this.#waiting += text;
  }

  /** Shows what was added; returns false when it waits for more text, since reading costs more than it shows. */
  update(): boolean {
    // A carriage return may be the first half of a line end.
    const half = this.#waiting.endsWith("\r") ? 1 : 0;
    const added = lines(this.#waiting.slice(0, this.#waiting.length - half));
    if (!added) return false;
    if (this.#extendCode(added)) {
      this.#take(added, half);
      return true;
    }
    if (this.lexed + this.#rest.length + added.length > FREE + SHARE * this.#received) return false;
    this.#take(added, half);
    this.#lex();
    return true;
  }

  /** Shows everything: no more text comes. */
  finish(): void {
    const added = lines(this.#waiting);
    this.#take(added, 0);
    this.#waiting = "";
    this.#lex(false);
    if (!this.#defines || this.#received > LONGEST_BLOCK) return;
    // A definition also applies to the links before it.
    this.frozen.length = 0;
    this.#links = {};
    this.#headings = new Headings();
    this.#formulas = MOST_OF_FORMULAS;
    this.#rest = this.text;
    this.#lex(false);
    this.#defines = false;
  }

  #take(added: string, half: number): void {
    this.#whole.push(this.#waiting.slice(0, this.#waiting.length - half));
    this.#rest += added;
    this.#waiting = half ? "\r" : "";
  }

  /** Appends to a code block that is not closed, which can be long, without reading it again. */
  #extendCode(added: string): boolean {
    const last = this.open.at(-1);
    if (last?.token.type !== "code") return false;
    const { raw, text, lang } = last.token as { raw: string; text: string; lang?: string };
    const opening = /^(?:`{3,}|~{3,})[^\n]*\n/.exec(raw);
    if (!opening || !raw.endsWith("\n") || raw.length !== opening[0].length + text.length + 1 || !added.endsWith("\n")) return false;
    if (/^ {0,3}(?:`{3,}|~{3,})/m.test(added)) return false;
    const grown = { ...last.token, raw: raw + added, text: `${text}\n${added.slice(0, -1)}`, lang };
    this.open = [...this.open.slice(0, -1), { ...last, token: grown as Token }];
    return true;
  }

  #lex(more = true): void {
    const tokens = this.#read(this.#rest);
    let keep = tokens.length;
    if (more && this.#rest.length < LONGEST_BLOCK) {
      for (let blocks = 0; keep > 0 && blocks < OPEN_BLOCKS; ) {
        keep -= 1;
        if (tokens[keep]?.type !== "space") blocks += 1;
      }
      // Lines of a formula that is not finished look like blocks.
      keep = before(tokens, keep, openFormula(this.#rest));
    }
    const closed = tokens.slice(0, keep);
    const length = closed.reduce((sum, token) => sum + token.raw.length, 0);
    this.#define(closed);
    this.#formulas = spend(closed, this.#formulas);
    spend(tokens.slice(keep), this.#formulas);
    const blocks = (some: readonly Token[], headings: Headings): Block[] =>
      some
        .map((token, index) => ({ key: this.#keys + index, token, level: headings.level(token) }))
        .filter(({ token }) => token.type !== "space");
    this.frozen.push(...blocks(closed, this.#headings));
    this.#keys += closed.length;
    this.#rest = this.#rest.slice(length);
    this.open = blocks(tokens.slice(keep), this.#headings.copy());
  }

  /** Remembers definitions of links, which apply to all that follows. The first of a name counts. */
  #define(tokens: readonly Token[]): void {
    for (const token of tokens) {
      if (token.type === "def") {
        this.#links[token.tag] ??= { href: token.href, title: token.title };
        this.#defines = true;
      }
      if ("tokens" in token && token.type !== "paragraph") this.#define(token.tokens ?? []);
      if (token.type === "list") this.#define((token as Tokens.List).items);
    }
  }

  #read(text: string): Token[] {
    this.lexed += text.length;
    if (HOSTILE.test(text)) return plain(text);
    try {
      const lexer = new Lexer(OPTIONS);
      Object.assign(lexer.tokens.links, this.#links);
      const blocks: Token[] = lexer.blockTokens(text, []);
      for (const { src, tokens } of lexer.inlineQueue) {
        if (src.length > LONGEST_TEXT) tokens.push({ type: "escape", raw: src, text: src });
        else lexer.inlineTokens(src, tokens);
      }
      return blocks;
    } catch {
      return plain(text);
    }
  }
}

class Headings {
  constructor(
    private first = 0,
    private last = FIRST_LEVEL - 1,
  ) {}

  copy(): Headings {
    return new Headings(this.first, this.last);
  }

  level(token: Token): number {
    if (token.type !== "heading") return 0;
    this.first ||= token.depth;
    const wanted = Math.max(FIRST_LEVEL, FIRST_LEVEL + token.depth - this.first);
    this.last = Math.min(wanted, this.last + 1, LAST_LEVEL);
    return this.last;
  }
}

/** Returns the blocks of a whole text. */
export function parse(text: string): Block[] {
  const document = new MarkdownDocument();
  document.append(text);
  document.finish();
  return document.frozen;
}

/** Returns a text with line ends of one kind. */
export function lines(text: string): string {
  return text.replace(/\r\n?/g, "\n");
}

/** Returns how many of the first `most` tokens end at a position of the text or before it. */
function before(tokens: readonly Token[], most: number, position: number): number {
  let end = 0;
  let count = 0;
  for (; count < most; count += 1) {
    end += tokens[count]?.raw.length ?? 0;
    if (end > position) break;
  }
  return count;
}

function plain(text: string): Token[] {
  return text ? [{ type: "plain", raw: text, text } as Token] : [];
}
