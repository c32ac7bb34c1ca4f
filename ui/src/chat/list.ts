// The conversations of the signed-in user: the newest, those with a part of the title, or those in the archive.

import { computed, effect, signal } from "@preact/signals";
import * as api from "../api/conversations";
import type { Conversation, State, Which } from "../api/conversations";
import { t } from "../i18n";
import { entries } from "./families";
import { about, conversation } from "./state";

const TITLE = 80;
const PAUSE_MS = 250;

export const conversations = signal<Conversation[] | null>(null);
/** The entries of the list: versions of a conversation are one. */
export const listed = computed(() => conversations.value && entries(conversations.value, conversation.value));
export const query = signal("");
export const archive = signal(false);
const next = signal<string | null>(null);
export const hasMore = computed(() => next.value !== null);

/** What the conversation that is shown is called. */
export const title = computed(() => {
  const shown = conversations.value?.find(({ id }) => id === conversation.value);
  return (shown ?? about.value)?.headrace.title || t("newChat");
});

function which(): Which {
  const q = query.peek().trim();
  return q ? { q } : { archived: archive.peek() ? "true" : "false" };
}

let newest = 0;

export async function load(): Promise<void> {
  newest += 1;
  const mine = newest;
  const page = await api.list(which());
  // Conversations that are pinned come first, however old they are.
  const pinned = page.has_more && !query.peek() ? (await api.list({ ...which(), pinned: "true" })).data : [];
  if (mine !== newest) return;
  conversations.value = sorted([...pinned, ...page.data]);
  next.value = page.has_more ? page.last_id : null;
}

export async function more(): Promise<void> {
  if (!next.value) return;
  const mine = newest;
  const page = await api.list({ ...which(), after: next.value });
  if (mine !== newest) return;
  conversations.value = sorted([...(conversations.value ?? []), ...page.data]);
  next.value = page.has_more ? page.last_id : null;
}

/** Loads the list again when what it should show changes; returns what ends that. */
export function follow(): () => void {
  let timer = 0;
  let first = true;
  const end = effect(() => {
    const pause = query.value ? PAUSE_MS : 0;
    archive.value;
    if (!first) {
      clearTimeout(timer);
      timer = window.setTimeout(() => void load().catch(() => {}), pause);
    }
    first = false;
  });
  return end;
}

/** Shows a conversation that begins with a question, which is its title, also for whoever looks before the answer. */
export async function remember(made: Conversation, question: string): Promise<void> {
  const short = [...question.replace(/\s+/g, " ")].slice(0, TITLE).join("");
  const shown = { ...made, headrace: { ...made.headrace, title: short } };
  if (!archive.peek()) conversations.value = sorted([shown, ...(conversations.value ?? [])]);
  // Without it the server takes the title from the first turn.
  if (!made.headrace.title) await api.change(made.id, { title: short }).catch(() => {});
}

/** Changes a conversation with all its versions. */
export async function change(id: string, state: Partial<State>): Promise<void> {
  const versions = await api.branches(id);
  const changed = new Map(await Promise.all(versions.map(async (each) => [each.id, await api.change(each.id, state)] as const)));
  const all = (conversations.value ?? []).map((each) => changed.get(each.id) ?? each);
  const fits = ({ headrace }: Conversation) => query.peek() !== "" || headrace.archived === archive.peek();
  conversations.value = sorted(all.filter(fits));
}

/** Deletes a conversation with all its versions, the one that is named last; calls `gone` with the id of each. */
export async function remove(id: string, gone: (id: string) => void): Promise<void> {
  const versions = (await api.branches(id)).map((each) => each.id).filter((each) => each !== id);
  for (const each of [...versions, id]) {
    await api.remove(each);
    conversations.value = (conversations.value ?? []).filter((one) => one.id !== each);
    gone(each);
  }
}

/** Deletes all conversations, also those that are not in the list; shows what is left, even if that fails. */
export async function removeAll(): Promise<void> {
  try {
    await api.removeAll();
  } finally {
    await load().catch(() => {});
  }
}

function sorted(all: readonly Conversation[]): Conversation[] {
  const unique = [...new Map(all.map((each) => [each.id, each])).values()];
  return unique.toSorted((one, other) => Number(other.headrace.pinned) - Number(one.headrace.pinned));
}
