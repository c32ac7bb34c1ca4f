// Conversations by the day of their newest message.

import type { Conversation } from "../api/conversations";

export type Age = "pinned" | "today" | "yesterday" | "week" | "older";

/** Returns the groups that are not empty, in their order; each keeps the order of the list. */
export function grouped(all: readonly Conversation[], now = new Date()): [Age, Conversation[]][] {
  const day = (before: number) => new Date(now.getFullYear(), now.getMonth(), now.getDate() - before).getTime() / 1000;
  const groups = new Map<Age, Conversation[]>(
    (["pinned", "today", "yesterday", "week", "older"] as const).map((age) => [age, []]),
  );
  for (const each of all) {
    const { pinned, last_active_at: at } = each.headrace;
    const recent = at >= day(0) ? "today" : at >= day(1) ? "yesterday" : at >= day(7) ? "week" : "older";
    groups.get(pinned ? "pinned" : recent)?.push(each);
  }
  return [...groups].filter(([, those]) => those.length);
}
