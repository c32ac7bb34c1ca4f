// The conversation that is shown: its messages, and the answer under way.

import { computed, type Signal, signal } from "@preact/signals";
import type { Approval, Attached, Citation, Step, Unsupported } from "../api/chat";
import { type Branch, branches, type Conversation, get, type Item, items } from "../api/conversations";
import { ratings } from "../api/feedback";
import { ApiError, session } from "../api/http";
import { kept } from "../api/models";
import { MarkdownDocument } from "../markdown/document";
import { marked, UNSUPPORTED, unmarked } from "../markdown/citations";

export type Status = "writing" | "done" | "stopped" | "dropped" | "lost" | "failed";

/** Positions count characters of the file's text. */
export interface Passage {
  quote: string;
  page: number | null;
  start: number;
  end: number;
}

/** A source of an answer: a file, with the passages that support it. */
export interface Source {
  number: number;
  file: string;
  title: string;
  passages: Passage[];
}

export interface Question {
  kind: "question";
  key: string;
  text: string;
  files: readonly Attached[];
  /** Its id in the conversation, once it is stored. */
  item: Signal<string | null>;
  /** The number of the item before it, 0 for the first, null while it is not known. */
  after: number | null;
}

export interface Reply {
  kind: "answer";
  key: string;
  question: string;
  model: string;
  /** Changes when there is more to see. */
  version: Signal<number>;
  status: Signal<Status>;
  document: MarkdownDocument;
  sources: Source[];
  unsupported: number;
  steps: readonly Step[];
  /** Steps as text, while they come. */
  thinking: string;
  approvals: readonly Approval[];
  reason: string;
  error: string;
  /** What a rating is about. */
  target: { type: "response" | "message"; id: string } | null;
  /** Whether the question allowed training; null when the page does not know. */
  training: boolean | null;
  /** How the reader rated it. */
  rated: Signal<"up" | "down" | null>;
}

export type Message = Question | Reply;

/** Messages that the page draws at most. */
export const WINDOW = 200;
const STEP = 50;

export const conversation = signal<string | null>(null);
/** What is known of it apart from its messages. */
export const about = signal<Conversation | null>(null);
export const messages = signal<Message[]>([]);
/** Position after the last message that is drawn; null follows the newest. */
const end = signal<number | null>(null);
export const state = signal<"ready" | "loading" | "missing" | "failed">("ready");
/** What a screen reader says: one line for each answer or error. */
export const status = signal("");
export const opened = signal<{ reply: Reply; number: number } | null>(null);
const older = signal<string | null>(null);
/** The number of the newest item, null while it is not known. */
export const last = signal<number | null>(0);
/** All conversations that share a beginning with this one. */
export const family = signal<readonly Branch[]>([]);

export const drawn = computed(() => {
  const to = end.value ?? messages.value.length;
  return messages.value.slice(Math.max(0, to - WINDOW), to);
});
export const hasEarlier = computed(
  () => (end.value ?? messages.value.length) > WINDOW || older.value !== null,
);
export const hasLater = computed(() => end.value !== null);

let keys = 0;

export function newKey(): string {
  keys += 1;
  return `m${keys}`;
}

export function clear(): void {
  conversation.value = null;
  about.value = null;
  kept.value = null;
  messages.value = [];
  end.value = null;
  older.value = null;
  opened.value = null;
  family.value = [];
  last.value = 0;
  state.value = "ready";
}

/** Shows a conversation's newest messages. */
export async function show(id: string): Promise<void> {
  clear();
  conversation.value = id;
  state.value = "loading";
  try {
    const [page, found] = await Promise.all([items(id, null), get(id)]);
    if (conversation.peek() !== id) return;
    about.value = found;
    kept.value = found.headrace.model;
    messages.value = read(page.data, page.has_more);
    const newest = page.data[0];
    last.value = newest ? (newest.headrace?.number ?? null) : 0;
    older.value = page.has_more ? page.last_id : null;
    state.value = "ready";
    // Without these the conversation is shown all the same.
    void showRatings(messages.peek()).catch(() => {});
    const all = await branches(id).catch(() => []);
    if (conversation.peek() === id) family.value = all;
  } catch (error) {
    if (conversation.peek() !== id) return;
    state.value = error instanceof ApiError && error.status === 404 ? "missing" : "failed";
  }
}

async function showRatings(all: readonly Message[]): Promise<void> {
  if (!session.peek()?.scopes.includes("feedback")) return;
  const replies = new Map(all.flatMap((each) => (each.kind === "answer" && each.target ? [[each.target.id, each] as const] : [])));
  for (const { target, thumb } of (await ratings([...replies.keys()])).toReversed()) {
    const reply = replies.get(target.id);
    if (reply) reply.rated.value = thumb;
  }
}

export async function earlier(): Promise<void> {
  const to = end.value ?? messages.value.length;
  if (to > WINDOW) {
    end.value = Math.max(WINDOW, to - STEP);
    return;
  }
  const id = conversation.peek();
  if (!older.value || !id) return;
  const page = await items(id, older.value);
  if (conversation.peek() !== id) return;
  const found = read(page.data, page.has_more);
  messages.value = [...found, ...messages.value];
  void showRatings(found).catch(() => {});
  older.value = page.has_more ? page.last_id : null;
  // The last messages leave the page instead of those that were asked for.
  const all = messages.value.length;
  end.value = all > WINDOW ? Math.max(WINDOW, to + found.length - STEP) : null;
}

export function later(): void {
  const to = (end.value ?? 0) + STEP;
  end.value = to >= messages.value.length ? null : to;
}

export function toEnd(): void {
  end.value = null;
}

export function add(...added: Message[]): void {
  messages.value = [...messages.value, ...added];
  end.value = null;
}

export function without(reply: Reply): void {
  const at = messages.value.indexOf(reply);
  const from = messages.value[at - 1]?.kind === "question" ? at - 1 : at;
  messages.value = messages.value.filter((_, index) => index < from || index > at);
}

export function newReply(question: string, model: string, training: boolean | null): Reply {
  return {
    kind: "answer",
    key: newKey(),
    question,
    model,
    version: signal(0),
    status: signal<Status>("writing"),
    document: new MarkdownDocument(),
    sources: [],
    unsupported: 0,
    steps: [],
    thinking: "",
    approvals: [],
    reason: "",
    error: "",
    target: null,
    training,
    rated: signal<"up" | "down" | null>(null),
  };
}

export function newQuestion(text: string, files: readonly Attached[]): Question {
  const after = last.peek();
  last.value = null;
  return { kind: "question", key: newKey(), text, files, item: signal<string | null>(null), after };
}

/** Returns the question of an answer. */
export function questionOf(reply: Reply): Question | null {
  const all = messages.peek();
  const before = all[all.indexOf(reply) - 1];
  return before?.kind === "question" ? before : null;
}

/** Shows where a name turns the direction of its text: "exe.txt" is read where it says "txt.exe". */
export function named(title: string): string {
  return title.replace(/[\u202a-\u202e\u2066-\u2069]/g, "\ufffd");
}

/** Adds the sources of a whole answer with the marks that open them, and marks sentences without a source. */
export function cite(reply: Reply, found: readonly Citation[], unsupported: readonly Unsupported[]): void {
  reply.unsupported = unsupported.length;
  if (!found.length && !unsupported.length) return;
  const citations = found.toSorted((one, other) => one.end_index - other.end_index);
  const byFile = new Map<string, Source>();
  const numbers = citations.map((citation) => {
    const { file_id, file_name, title, quote, position } = citation;
    const source = byFile.get(file_id) ?? { number: byFile.size + 1, file: file_id, title: named(title || file_name), passages: [] };
    byFile.set(file_id, source);
    if (quote && !source.passages.some((passage) => passage.quote === quote)) {
      const { start = 0, end = 0, page = null } = position ?? {};
      source.passages.push({ quote, page, start, end });
    }
    return source.number;
  });
  reply.sources = [...byFile.values()];
  const document = new MarkdownDocument();
  const signs = unsupported.map(() => UNSUPPORTED);
  document.append(marked(reply.document.received, [...citations, ...unsupported], [...numbers, ...signs]));
  document.finish();
  reply.document = document;
}

interface Beside {
  model?: string;
  citations?: Citation[];
  unsupported?: Unsupported[];
}

/** Returns a stored answer with what stands beside it. */
export function whole(key: string, text: string, status: string | null | undefined, beside: Beside, question = ""): Reply {
  const { model = "", citations = [], unsupported = [] } = beside;
  const reply = newReply(question, model, null);
  reply.key = key;
  reply.reason = status === "incomplete" ? "incomplete" : "stop";
  reply.document.append(unmarked(text));
  reply.document.finish();
  cite(reply, citations, unsupported);
  reply.status.value = "done";
  return reply;
}

/** Returns messages, the oldest first, of items, which come newest first. */
function read(found: readonly Item[], hasOlder: boolean): Message[] {
  const result: Message[] = [];
  let question = "";
  let before: number | null = hasOlder ? null : 0;
  for (const item of found.toReversed()) {
    const after = before;
    before = item.headrace?.number ?? null;
    if (item.type !== "message") continue;
    const parts = item.content ?? [];
    const said = parts.map((part) => part.text ?? part.refusal).filter((each) => each !== undefined);
    const text = said.join("\n\n");
    if (item.role === "user") {
      question = text;
      const files = parts.flatMap(({ file_id, filename }) => (file_id ? [{ id: file_id, name: filename ?? "" }] : []));
      result.push({ kind: "question", key: item.id, text, files, item: signal<string | null>(item.id), after });
    } else if (item.role === "assistant") {
      const { completion_id, steps = [], consent = null } = item.headrace ?? {};
      const reply = whole(item.id, text, item.status, item.headrace ?? {}, question);
      reply.steps = steps;
      reply.training = consent;
      reply.target = completion_id ? { type: "response", id: completion_id } : { type: "message", id: item.id };
      result.push(reply);
    }
  }
  return result;
}
