// A conversation as a file: Markdown for people, JSON with everything that the API tells.

import { type Conversation, type Item, items } from "../api/conversations";
import { t } from "../i18n";

export type Format = "md" | "json";

/** Downloads a conversation. Throws an `ApiError`. */
export async function exported(conversation: Conversation, format: Format): Promise<void> {
  const found = await everything(conversation.id);
  const title = conversation.headrace.title || t("untitled");
  const text = format === "json" ? `${JSON.stringify({ conversation, items: found }, null, 2)}\n` : markdown(title, found);
  const type = format === "json" ? "application/json" : "text/markdown;charset=utf-8";
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  link.href = address;
  link.download = `${fileName(title)}.${format}`;
  link.click();
  // The browser reads the address after the click has been handled.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** Returns all items, the oldest first. */
async function everything(id: string): Promise<Item[]> {
  const found: Item[] = [];
  let after: string | null = null;
  do {
    const page = await items(id, after);
    found.push(...page.data);
    after = page.has_more ? page.last_id : null;
  } while (after);
  return found.reverse();
}

function markdown(title: string, found: readonly Item[]): string {
  const parts = [`# ${title.replace(/\s+/g, " ")}`];
  for (const { type, role, content, headrace } of found) {
    if (type !== "message" || (role !== "user" && role !== "assistant")) continue;
    const name = headrace?.model ? t("answerOf", { name: headrace.model }) : t("answer");
    parts.push(`## ${role === "user" ? t("you") : name}`);
    for (const part of content ?? []) {
      const text = part.text ?? part.refusal;
      if (text !== undefined) parts.push(text);
      else if (part.file_id) parts.push(`[${t("file")}: ${part.filename ?? part.file_id}]`);
    }
    const sources = new Set(headrace?.citations?.map((each) => each.title || each.file_name));
    if (sources.size) parts.push(`${t("sources")}:\n\n${[...sources].map((each) => `- ${each.replace(/\s+/g, " ")}`).join("\n")}`);
  }
  return `${parts.join("\n\n")}\n`;
}

/** Returns a title without what file systems or people could take for something else. */
function fileName(title: string): string {
  const plain = title.replace(/[^\p{L}\p{N} _-]+/gu, " ").replace(/\s+/g, " ").trim();
  return plain.slice(0, 80) || "conversation";
}
