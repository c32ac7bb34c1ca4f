// API keys that act as whoever is signed in.

import type { Page } from "./conversations";
import { json, session } from "./http";

export interface Key {
  id: string;
  name: string;
  scopes: string[];
  /** Whether its user made it or let it act; else it permits nothing. */
  confirmed: boolean;
  created_at: number;
  expires_at: number | null;
  revoked_at: number | null;
  last_used_at: number | null;
  rotated_to: string | null;
}

/** A key with its secret, which is in this answer alone. */
export type NewKey = Key & { key: string };

/** The key of the session, or the session itself if it has none. */
export interface Me {
  key_id: string;
  confirmed: boolean;
}

const PATH = "/v1/me/keys";
const one = (id: string, act: string) => `${PATH}/${encodeURIComponent(id)}/${act}`;

export function me(): Promise<Me> {
  return json("GET", "/v1/me");
}

/** Returns keys, the newest first. */
export function list(after: string | null): Promise<Page<Key>> {
  return json("GET", `${PATH}?${new URLSearchParams({ limit: "50", ...(after && { after }) })}`);
}

export function confirm(id: string): Promise<Key> {
  return json("POST", one(id, "confirm"));
}

export function revoke(id: string): Promise<Key> {
  return json("POST", one(id, "revoke"));
}

/** Replaces a key, which stays valid for so many seconds. */
export function rotate(id: string, overlap: number): Promise<NewKey> {
  return json("POST", one(id, "rotate"), { body: { overlap_s: overlap } });
}

/** Whether whoever is signed in may make keys: admins of the tenant. */
export function mayMake(): boolean {
  return !!session.value?.scopes.includes("admin");
}

/** Makes a key of one's own: with all scopes of one's role if none is given, and for good if `seconds` is 0. */
export function make(name: string, scopes: readonly string[], seconds: number): Promise<NewKey> {
  const life = seconds ? { expires_in_s: seconds } : {};
  const body = { user: session.peek()?.user, name, ...(scopes.length && { scopes }), ...life };
  return json("POST", "/v1/admin/keys", { body });
}

export function state({ revoked_at, expires_at, confirmed }: Key): "revoked" | "expired" | "unconfirmed" | "active" {
  if (revoked_at !== null) return "revoked";
  if (expires_at !== null && expires_at * 1000 < Date.now()) return "expired";
  return confirmed ? "active" : "unconfirmed";
}
