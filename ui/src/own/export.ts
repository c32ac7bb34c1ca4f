// A conversation as a file: Markdown for people, JSON with everything that the API tells.
// Nothing here imports what the page has already, but types: see `save.ts`.

import type { Conversation, Item, items } from "../api/conversations";
import type { Reply, whole } from "../chat/state";
import type { t } from "../i18n";
import { texts } from "../i18n/export";
import type { marks } from "../markdown/citations";
import type { Block } from "../markdown/document";
import type { Made } from "./download";

export type Format = "md" | "json";

/** What the page has already. */
export interface Page {
  items: typeof items;
  whole: typeof whole;
  marks: typeof marks;
  t: typeof t;
  language: keyof typeof texts;
  /** The address of the API, which sources are links to. */
  origin: string;
}

type Sources = Reply["sources"];

/** A question or an answer; `text` has the numbers of its sources, and signs after what no document supports. */
interface Message {
  id: string;
  role: "user" | "assistant";
  created_at: number | null;
  model: string | null;
  complete: boolean;
  text: string;
  files: { id: string; name: string }[];
  sources: (Sources[number] & { url: string | null })[];
  unsupported: number;
}

const SIGN = "?";
/** Bytes of a name: file systems take 255, and copies get numbers. */
const NAME_BYTES = 180;
const NAME_CHARACTERS = 80;
/** Characters of an answer; a longer one may not have been read for all that is in it. */
const LONGEST_READ = 20_000;
const TYPES = { md: "text/markdown;charset=utf-8", json: "application/json" };

/** Returns a conversation as a file; throws an `ApiError` if any of its items cannot be read. */
export async function file(conversation: Conversation, format: Format, page: Page, now = Date.now()): Promise<Made> {
  const found = await everything(conversation.id, page);
  const title = conversation.headrace.title || page.t("untitled");
  const text = format === "md" ? markdown(title, conversation, found, page, now) : json(title, conversation, found, page, now);
  return { name: `${fileName(title)}.${format}`, type: TYPES[format], text };
}

/** Returns all items, the oldest first. */
async function everything(id: string, page: Page): Promise<Item[]> {
  const found: Item[] = [];
  let after: string | null = null;
  do {
    const more = await page.items(id, after);
    found.push(...more.data);
    after = more.has_more ? more.last_id : null;
  } while (after);
  return found.reverse();
}

/** Returns a title as the name of a file, without what systems or people could take for something else. */
export function fileName(title: string): string {
  const plain = title
    .normalize("NFKC")
    .replace(/[^\p{L}\p{M}\p{N} _-]+/gu, " ")
    .replace(/\s+/g, " ")
    .replace(/^[-_ \p{M}]+/u, "");
  let name = "";
  let bytes = 0;
  for (const character of [...plain].slice(0, NAME_CHARACTERS)) {
    bytes += new TextEncoder().encode(character).length;
    if (bytes > NAME_BYTES) break;
    name += character;
  }
  name = name.trim();
  // Windows takes these for devices, whatever follows the dot.
  return !name || /^(?:con|prn|aux|nul|com\d|lpt\d)$/i.test(name) ? `conversation ${name}`.trim() : name;
}

function json(title: string, conversation: Conversation, found: readonly Item[], page: Page, now: number): string {
  const messages = found.flatMap((item) => message(item, page, (reply) => signed(reply.document.text, page, "[")));
  const saved = { title, saved_at: Math.floor(now / 1000), conversation, messages, items: found };
  return `${JSON.stringify(saved, null, 2)}\n`;
}

function markdown(title: string, conversation: Conversation, found: readonly Item[], page: Page, now: number): string {
  const begun = time(conversation.created_at);
  const parts = [`# ${plain(title)}`, filled(page, "begun", { begun, saved: time(now / 1000) })];
  for (const each of found.flatMap((item) => message(item, page, (reply) => answer(reply, page)))) {
    parts.push(`## ${[author(each, page), each.created_at && time(each.created_at)].filter(Boolean).join(", ")}`);
    if (each.role === "user" && each.text) parts.push(quoted(each.text));
    else if (each.text) parts.push(each.text);
    for (const { id, name } of each.files) parts.push(`${page.t("file")}: ${plain(name || id)}`);
    if (!each.complete) parts.push(page.t("incomplete"));
    if (each.unsupported) parts.push(filled(page, "unsupportedSign", { sign: `\\[${SIGN}]` }));
    if (each.sources.length) parts.push(`${page.t("sources")}:`, each.sources.map((one) => source(one, page)).join("\n"));
  }
  return `${parts.join("\n\n")}\n`;
}

function author({ role, model }: Message, { t }: Page): string {
  if (role === "user") return t("you");
  return model ? t("answerOf", { name: plain(model) }) : t("answer");
}

function message(item: Item, page: Page, written: (reply: Reply) => string): Message[] {
  const { id, type, role, status, content, created_at, headrace } = item;
  if (type !== "message" || (role !== "user" && role !== "assistant")) return [];
  const said = (content ?? []).map((part) => part.text ?? part.refusal).filter((each) => each !== undefined);
  const text = said.join("\n\n");
  const files = (content ?? []).flatMap((part) => (part.file_id ? [{ id: part.file_id, name: part.filename ?? "" }] : []));
  const reply = page.whole(id, role === "user" ? "" : text, status, headrace ?? {});
  const url = (id: string) => (id ? `${page.origin}/v1/files/${encodeURIComponent(id)}/content` : null);
  return [
    {
      id,
      role,
      created_at: created_at ?? null,
      model: role === "user" ? null : reply.model || null,
      complete: status !== "incomplete",
      text: role === "user" ? text : written(reply),
      files,
      sources: reply.sources.map((each) => ({ ...each, url: url(each.file) })),
      unsupported: reply.unsupported,
    },
  ];
}

/** Returns an answer whose headings are below that of the message, and in which nothing is open at the end. */
function answer({ document }: Reply, page: Page): string {
  const blocks = [...document.frozen, ...document.open];
  const read = document.received.length < LONGEST_READ;
  return blocks.map((block) => signed(written(block, read).trimEnd(), page, "\\[")).join("\n\n");
}

function written({ token, level }: Block, read: boolean): string {
  if (token.type === "heading") return `${"#".repeat(level)} ${harmless(token.text, read && token)}`;
  if (token.type !== "code") return harmless(token.raw, read && token);
  const runs = [...token.text.matchAll(/`+/g)].map(([run]) => run.length);
  const fence = "`".repeat(Math.max(3, ...runs.map((run) => run + 1)));
  return `${fence}${(token.lang ?? "").replaceAll("`", "")}\n${token.text}\n${fence}`;
}

/**
 * Returns Markdown that loads nothing where it is shown: an image of an answer would tell its host whatever the address
 * holds. Most answers have none and stay as they are.
 */
function harmless(raw: string, token: Block["token"] | false = false): string {
  if (!/!\[|<[a-z/!?]/i.test(raw) || (token && !loads(token))) return raw;
  // Each backslash before it may itself be escaped.
  return raw.replace(/(\\*)(!\[|<(?=[a-z/!?])(?!https?:\/\/[^\s<>`]*>))/gi, (whole, before: string) =>
    before.length % 2 ? whole : `${before}\\${whole.slice(before.length)}`,
  );
}

/** Whether Markdown has an image or HTML, as the page reads it. */
function loads(token: unknown): boolean {
  if (typeof token !== "object" || token === null) return false;
  const { type, raw = "" } = token as { type?: string; raw?: string };
  // Where it is shown by a program that knows no formulas, a formula is Markdown too.
  if ((type === "formula" || type === "escape") && /!\[|<[a-z/!?][^]*>/i.test(raw)) return true;
  return type === "image" || type === "html" || type === "plain" || Object.values(token).some(loads);
}

function signed(text: string, { marks }: Page, open: string): string {
  return marks(text).map((part) => (typeof part === "string" ? part : `${open}${part || SIGN}]`)).join("");
}

/** A question is no Markdown: in a quotation it cannot end what it stands in. */
function quoted(text: string): string {
  return harmless(text).split(/\r\n?|\n/).map((line) => `> ${line}`.trimEnd()).join("\n");
}

function source({ number, title, passages, url }: Message["sources"][number], page: Page): string {
  const places = passages.map(({ page: sheet, start, end }) => {
    const characters = end > start ? filled(page, "characters", { start, end }) : "";
    return [sheet === null ? "" : page.t("page", { number: sheet }), characters].filter(Boolean).join(", ");
  });
  const head = [plain(title), passages.length === 1 && places[0], url && `<${url}>`].filter(Boolean).join(", ");
  const indent = " ".repeat(`${number}. `.length);
  const quotes = passages.map(({ quote }, index) => {
    const place = passages.length > 1 && places[index] ? `${places[index]}: ` : "";
    return `\n${indent}- ${place}${plain(quote)}`;
  });
  return `${number}. ${head}${quotes.join("")}`;
}

/** Returns a text as one line that Markdown shows as it is; characters that turn the direction of others are replaced. */
function plain(text: string): string {
  const line = text.replace(/\s+/g, " ").trim().replace(/[\u202a-\u202e\u2066-\u2069]/g, "\ufffd");
  return line.replace(/[\\`*_[\]<>#|~!&$]|^[-+]|^\d+(?=[.)])/g, (found) =>
    /\d/.test(found) ? `${found}\\` : `\\${found}`,
  );
}

function filled({ language }: Page, key: keyof typeof texts.en, values: Record<string, string | number>): string {
  return texts[language][key].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

function time(seconds: number): string {
  return `${new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ")} UTC`;
}
