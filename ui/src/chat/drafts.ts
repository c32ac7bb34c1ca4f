// What is written and not sent yet: kept for each conversation in the browser, so that a reload loses nothing.

import { computed, effect, signal } from "@preact/signals";
import type { Attached } from "../api/chat";
import { session } from "../api/http";
import { store, stored } from "../storage";
import { conversation } from "./state";

export interface Draft {
  text: string;
  /** Those that were sent. */
  files: readonly Attached[];
}

const NEW = "new";
const MOST = 50;

/** What is written in the conversation that is shown. */
export const draft = signal("");
/** Whose draft is shown: a conversation's id, or that of no conversation yet. */
export const owner = computed(() => conversation.value ?? NEW);
/** The conversation that a new chat becomes: what was written meanwhile is its. */
let becoming = "";

/** Calls `swap` when the draft of another conversation is to be shown; returns what ends that. */
export function onSwap(swap: (to: string, from: string | null) => void): () => void {
  let shown: string | null = null;
  return effect(() => {
    const to = owner.value;
    const from = shown;
    shown = to;
    if (to !== from && !(from === NEW && to === becoming)) swap(to, from);
  });
}

/** Shows the text of each conversation's draft, and keeps what is written; returns what ends that. */
export function followDraft(): () => void {
  const ends = [
    onSwap((to) => {
      draft.value = kept(to).text;
    }),
    effect(() => keep(owner.peek(), { text: draft.value })),
  ];
  return () => ends.forEach((end) => end());
}

/** Makes a conversation of the new chat that is shown. */
export function becomes(id: string): void {
  const { text, files } = kept(NEW);
  keep(NEW, { text: "", files: [] });
  keep(id, { text, files });
  becoming = id;
  conversation.value = id;
  becoming = "";
}

export function kept(of: string): Draft {
  return all()[of] ?? { text: "", files: [] };
}

export function keep(of: string, part: Partial<Draft>): void {
  const { [of]: before = { text: "", files: [] }, ...others } = all();
  const now = { ...before, ...part };
  const entries = Object.entries(others).slice(1 - MOST);
  if (now.text || now.files.length) entries.push([of, now]);
  save(entries.length ? JSON.stringify(Object.fromEntries(entries)) : null);
}

/** Each person's are their own, also in one browser. */
function place(): string | null {
  const { tenant, user } = session.peek() ?? {};
  return user ? `drafts.${tenant}.${user}` : null;
}

function all(): Record<string, Draft> {
  const name = place();
  try {
    const found: unknown = JSON.parse((name && stored(name)) ?? "{}");
    return found && typeof found === "object" ? (found as Record<string, Draft>) : {};
  } catch {
    return {};
  }
}

function save(drafts: string | null): void {
  const name = place();
  if (name) store(name, drafts);
}
