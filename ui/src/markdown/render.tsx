// Nodes from Markdown's tokens. No HTML string is made: raw HTML is shown as text, and nothing loads.

import type { Token, Tokens } from "marked";
import { Component, type ComponentChildren, type VNode } from "preact";
import { t } from "../i18n";
import { marks, UNSUPPORTED, withoutMarks } from "./citations";
import { CodeBlock } from "./code-block";
import type { Block } from "./document";
import { decoded } from "./entities";
import { FormulaView } from "./formula";
import type { Formula } from "./formulas";
import { webAddress } from "./url";

/** Opens the source with this number. */
export type OpenSource = (number: number) => void;

/** A longer one may need more than one line itself. */
const LAST_WORD = /(?<!\S)\S{1,24}$/;

interface Shown {
  block: Block;
  open?: OpenSource | undefined;
}

/** A block that is drawn again only if it is another one. */
export class BlockView extends Component<Shown> {
  override shouldComponentUpdate(next: Readonly<Shown>): boolean {
    return next.block.token !== this.props.block.token || next.open !== this.props.open;
  }

  override render({ block, open }: Shown): ComponentChildren {
    if (block.token.type !== "heading") return blockNode(block.token, open);
    const Heading = `h${block.level}` as "h3";
    return <Heading dir="auto">{inline(block.token.tokens, open)}</Heading>;
  }
}

function blocks(tokens: readonly Token[], open?: OpenSource): ComponentChildren {
  return tokens.map((token) => blockNode(token, open));
}

function blockNode(token: Token, open?: OpenSource): ComponentChildren {
  switch (token.type) {
    case "paragraph":
      return <p dir="auto">{inline(token.tokens, open)}</p>;
    case "heading":
      // Inside a list or a quote, a heading of the page would begin what it does not.
      return <p dir="auto"><strong>{inline(token.tokens, open)}</strong></p>;
    case "code":
      return <CodeBlock text={withoutMarks(token.text)} language={token.lang ?? ""} />;
    case "blockquote":
      return <blockquote>{blocks(token.tokens ?? [], open)}</blockquote>;
    case "list":
      return list(token as Tokens.List, open);
    case "table":
      return table(token as Tokens.Table, open);
    case "hr":
      return <hr />;
    case "text":
      return <span dir="auto">{token.tokens ? inline(token.tokens, open) : leaf(token.text, open)}</span>;
    case "checkbox":
      return checkbox(token.checked);
    case "formula":
      return <p dir="auto">{formula(token as Formula, open)}</p>;
    case "space":
    case "def":
      return null;
    default:
      return <p class="plain" dir="auto">{withoutMarks(token.raw)}</p>;
  }
}

function list(token: Tokens.List, open?: OpenSource): VNode {
  const items = token.items.map((item) => (
    <li dir="auto" class={item.task ? "task" : undefined}>
      {blocks(item.tokens, open)}
    </li>
  ));
  if (!token.ordered) return <ul>{items}</ul>;
  return <ol start={typeof token.start === "number" ? token.start : 1}>{items}</ol>;
}

function checkbox(checked: boolean): VNode {
  const label = t(checked ? "done" : "notDone");
  // A text that becomes a box is another node: its attributes would stay.
  return <span key="box" class="checkbox" role="img" aria-label={label}>{checked ? "☑" : "☐"}</span>;
}

function table(token: Tokens.Table, open?: OpenSource): VNode {
  const side = (index: number) => {
    const align = token.align[index];
    return align ? `align-${align}` : undefined;
  };
  return (
    // Keyboards scroll what has the focus.
    <div class="table" tabIndex={0} role="region" aria-label={t("table")}>
      <table>
        <thead>
          <tr>
            {token.header.map((cell, index) => (
              <th dir="auto" class={side(index)}>{inline(cell.tokens, open)}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {token.rows.map((row) => (
            <tr>
              {row.map((cell, index) => (
                <td dir="auto" class={side(index)}>{inline(cell.tokens, open)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function inline(tokens: readonly Token[] | undefined, open?: OpenSource): ComponentChildren {
  return tokens?.map((token) => inlineNode(token, open));
}

function inlineNode(token: Token, open?: OpenSource): ComponentChildren {
  switch (token.type) {
    case "text":
      return token.tokens ? inline(token.tokens, open) : leaf(token.text, open);
    case "escape":
      return token.text;
    case "strong":
      return <strong>{inline(token.tokens, open)}</strong>;
    case "em":
      return <em>{inline(token.tokens, open)}</em>;
    case "del":
      return <del>{inline(token.tokens, open)}</del>;
    case "codespan":
      return <code dir="ltr">{withoutMarks(token.text)}</code>;
    case "br":
      return <br />;
    case "link":
      return link(token as Tokens.Link, open);
    case "image":
      return image(token as Tokens.Image);
    case "checkbox":
      return checkbox(token.checked);
    case "formula":
      return formula(token as Formula, open);
    default:
      return withoutMarks(token.raw);
  }
}

/** Marks inside a formula follow it. */
function formula(token: Formula, open?: OpenSource): ComponentChildren {
  const inside = marks(token.text).filter((part) => typeof part === "number");
  return [<FormulaView key={token.raw} formula={token} />, ...inside.map((part) => mark(part, open))];
}

function link(token: Tokens.Link, open?: OpenSource): ComponentChildren {
  const address = webAddress(token.autolink ? token.href : decoded(token.href));
  const text = token.autolink ? token.text : inline(token.tokens, open);
  if (!address) return text;
  return (
    <a href={address.href} title={address.href} target="_blank" rel="noopener noreferrer nofollow">
      {text}
    </a>
  );
}

/** An image would tell its host that the answer was read, and whatever its address holds. */
function image(token: Tokens.Image): VNode {
  const address = webAddress(decoded(token.href));
  const host = address?.host ?? t("unknownHost");
  const label = decoded(withoutMarks(token.text));
  return (
    <span class="image" dir="auto">
      <span>{label ? t("imageNamed", { name: label, host }) : t("image", { host })}</span>
      {address && (
        <a href={address.href} title={address.href} target="_blank" rel="noopener noreferrer nofollow">
          {t("openImage")}
        </a>
      )}
    </span>
  );
}

/** Stands after a sentence that no document supports: a sign, not a colour alone. */
export function UnsupportedSign(): VNode {
  return <span class="unsupported" role="img" aria-label={t("unsupported")} title={t("unsupported")}>?</span>;
}

/** A text with its marks. A mark stays on the line of the word before it. */
function leaf(text: string, open?: OpenSource): ComponentChildren {
  const parts = marks(text);
  const result: ComponentChildren[] = [];
  for (let at = 0; at < parts.length; ) {
    const part = parts[at] as string | number;
    at += 1;
    if (typeof part === "number") {
      result.push(mark(part, open));
      continue;
    }
    const word = at < parts.length ? (LAST_WORD.exec(part)?.[0] ?? "") : "";
    result.push(decoded(part.slice(0, part.length - word.length)));
    if (!word) continue;
    const following: ComponentChildren[] = [];
    // Empty texts stand between marks that follow each other.
    for (; typeof parts[at] === "number" || (parts[at] === "" && at + 1 < parts.length); at += 1) {
      const next = parts[at];
      if (typeof next === "number") following.push(mark(next, open));
    }
    result.push(<span class="cited">{decoded(word)}{following}</span>);
  }
  return result;
}

function mark(number: number, open?: OpenSource): VNode {
  if (number === UNSUPPORTED) return <UnsupportedSign />;
  return (
    <button type="button" class="mark" aria-label={t("source", { number })} onClick={() => open?.(number)}>
      {number}
    </button>
  );
}
