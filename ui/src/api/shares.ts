// Conversations that are shared within the tenant.

import type { Citation, Unsupported } from "./chat";
import type { Page } from "./conversations";
import { json, request } from "./http";

export interface Share {
  id: string;
  created_at: number;
  expires_at: number;
  owner: string;
}

/** What a reader sees of an item: its text, or why there is none. */
export interface SharedItem {
  id: string;
  role: "user" | "assistant" | null;
  status: string | null;
  text: string;
  withheld: "documents" | "private" | null;
  /** Parts that are not shared. */
  attachments: number;
  headrace: { citations?: Citation[]; unsupported?: Unsupported[] };
}

const PATH = "/v1/shares";
const one = (id: string) => `${PATH}/${encodeURIComponent(id)}`;

export function create(conversation: string, seconds: number): Promise<Share> {
  return json("POST", PATH, { body: { conversation, expires_in_s: seconds } });
}

/** Returns the reader's own shares of a conversation, the newest first. */
export async function list(conversation: string): Promise<Share[]> {
  const query = new URLSearchParams({ limit: "100", conversation });
  return (await json<Page<Share>>("GET", `${PATH}?${query}`)).data;
}

export async function revoke(id: string): Promise<void> {
  await request("DELETE", one(id));
}

export function get(id: string): Promise<Share> {
  return json("GET", one(id));
}

/** Returns items, the oldest first. */
export function items(id: string, after: string | null): Promise<Page<SharedItem>> {
  const query = new URLSearchParams({ limit: "50", ...(after && { after }) });
  return json("GET", `${one(id)}/items?${query}`);
}
