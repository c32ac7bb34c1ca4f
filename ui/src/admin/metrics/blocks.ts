// The part of Markdown that runbooks use: headings, paragraphs, lists and code.

const FENCE = "```";

export interface Block {
  kind: "h2" | "p" | "ul" | "ol" | "pre";
  lines: string[];
}

/** Returns the blocks of a runbook; the lines of a list are its items. */
export function blocks(text: string): Block[] {
  const found: Block[] = [];
  let open: Block | null = null;
  const begin = (kind: Block["kind"], line: string[]): Block => {
    const made = { kind, lines: line };
    found.push(made);
    return made;
  };
  for (const line of text.split("\n")) {
    const item = /^(?:(-)|\d+\.) (.*)$/.exec(line);
    if (open?.kind === "pre") {
      if (line === FENCE) open = null;
      else open.lines.push(line);
    } else if (line.startsWith(FENCE)) open = begin("pre", []);
    else if (!line.trim()) open = null;
    else if (line.startsWith("## ")) {
      begin("h2", [line.slice(3)]);
      open = null;
    } else if (item) {
      const kind = item[1] ? "ul" : "ol";
      const last = found.at(-1);
      // A blank line between two items does not end their list.
      open = last?.kind === kind ? last : begin(kind, []);
      open.lines.push(item[2] as string);
    } else if (open) open.lines[open.lines.length - 1] += ` ${line.trim()}`;
    else open = begin("p", [line]);
  }
  return found;
}
