// A runbook as nodes. Runbooks use a small part of Markdown: headings, paragraphs, lists, code, and links to each other.

import type { ComponentChildren, VNode } from "preact";
import { follow, to } from "../address";
import { type Block, blocks } from "./blocks";

export function Runbook({ text }: { text: string }): VNode {
  return <article class="runbook" lang="en" dir="ltr">{blocks(text).map((block, at) => <BlockShown key={at} block={block} />)}</article>;
}

function BlockShown({ block: { kind, lines } }: { block: Block }): VNode {
  if (kind === "pre") return <pre class="lines" tabIndex={0}><code>{lines.join("\n")}</code></pre>;
  if (kind === "h2") return <h3>{lines}</h3>;
  if (kind === "p") return <p>{inline(lines.join(" "))}</p>;
  const List = kind;
  return <List>{lines.map((item, at) => <li key={at}>{inline(item)}</li>)}</List>;
}

/** Returns a text with its code and its links to other runbooks. */
function inline(text: string): ComponentChildren {
  return text.split(/(`[^`]+`|\[[^\]]+\]\(\w+\.md\))/).map((part, at) => {
    const link = /^\[([^\]]+)\]\((\w+)\.md\)$/.exec(part);
    if (link) return <a key={at} href={to("alerts", { alert: link[2] as string })} onClick={follow}>{link[1]}</a>;
    return part.startsWith("`") ? <code key={at}>{part.slice(1, -1)}</code> : part;
  });
}
