// Conversations and their messages.

import type { Citation, Step, Unsupported } from "./chat";
import { json, request } from "./http";

export interface State {
  title: string | null;
  pinned: boolean;
  archived: boolean;
}

export interface Conversation {
  id: string;
  created_at: number;
  headrace: State & {
    /** When its newest items were added, in seconds since 1970. */
    last_active_at: number;
    /** What was asked for its newest answer, null before the first. */
    model: string | null;
    /** The conversation that it is another version of. */
    forked_from: string | null;
  };
}

export interface Page<T> {
  data: T[];
  has_more: boolean;
  last_id: string | null;
}

export interface Item {
  id: string;
  type: string;
  role?: string;
  status?: string;
  /** Seconds since 1970. */
  created_at?: number;
  content?: { type: string; text?: string; refusal?: string; file_id?: string; filename?: string }[];
  /** What stood beside an answer; older answers have none. */
  headrace?: {
    /** Its number, which copies in other branches have too. */
    number?: number;
    completion_id?: string | null;
    /** Whether the question allowed training. */
    consent?: boolean;
    model?: string;
    citations?: Citation[];
    unsupported?: Unsupported[];
    steps?: Step[];
  } | null;
}

/** Which conversations: those with a part of the title, or in one of the states. */
export interface Which {
  q?: string;
  pinned?: "true";
  archived?: "true" | "false";
  after?: string;
}

export function list(which: Which): Promise<Page<Conversation>> {
  return json("GET", `/v1/conversations?${new URLSearchParams({ limit: "50", ...which })}`);
}

export function get(id: string): Promise<Conversation> {
  return json("GET", `/v1/conversations/${encodeURIComponent(id)}`);
}

export function change(id: string, headrace: Partial<State>): Promise<Conversation> {
  return json("POST", `/v1/conversations/${encodeURIComponent(id)}`, { body: { headrace } });
}

export function create(): Promise<Conversation> {
  return json("POST", "/v1/conversations", { body: {} });
}

export async function remove(id: string): Promise<void> {
  await request("DELETE", `/v1/conversations/${encodeURIComponent(id)}`);
}

/** Deletes all conversations of the reader. */
export async function removeAll(): Promise<void> {
  await request("DELETE", "/v1/conversations");
}

/** Makes a conversation of the items before one. */
export function forkBefore(id: string, item: string): Promise<Conversation> {
  return json("POST", `/v1/conversations/${encodeURIComponent(id)}/fork`, { body: { before: item } });
}

/** A conversation that has its first items in common with others, up to the one with the number `shared`. */
export interface Branch {
  id: string;
  created_at: number;
  forked_from: string | null;
  shared: number;
}

/** Returns a conversation with all that were forked from it, and from which it was, the oldest first. */
export async function branches(id: string): Promise<Branch[]> {
  return (await json<{ data: Branch[] }>("GET", `/v1/conversations/${encodeURIComponent(id)}/branches`)).data;
}

/** Returns items, the newest first. */
export function items(id: string, after: string | null, limit = 100): Promise<Page<Item>> {
  const asked = { limit: String(limit), order: "desc", include: "headrace" };
  const query = new URLSearchParams({ ...asked, ...(after && { after }) });
  return json("GET", `/v1/conversations/${encodeURIComponent(id)}/items?${query}`);
}

export async function removeItem(id: string, item: string): Promise<void> {
  await request("DELETE", `/v1/conversations/${encodeURIComponent(id)}/items/${encodeURIComponent(item)}`);
}
