// Versions of a conversation as one entry of the list.

import type { Conversation } from "../api/conversations";

/**
 * Returns an entry for each conversation with all its versions, in the order of the list: the one that is shown, or the
 * most recently active one.
 */
export function entries(all: readonly Conversation[], shown: string | null): Conversation[] {
  const known = new Map(all.map((each) => [each.id, each]));
  const families = new Map<string, Conversation[]>();
  for (const each of all) {
    const first = firstOf(each, known);
    families.set(first, [...(families.get(first) ?? []), each]);
  }
  return [...families.values()].map((family) => {
    const active = Math.max(...family.map(({ headrace }) => headrace.last_active_at));
    const newest = family.find(({ headrace }) => headrace.last_active_at === active);
    const { id, created_at, headrace } = family.find((each) => each.id === shown) ?? newest ?? (family[0] as Conversation);
    const pinned = family.some((each) => each.headrace.pinned);
    return { id, created_at, headrace: { ...headrace, pinned, last_active_at: active } };
  });
}

/** Returns the id of the first conversation of a family, as far as it is known: it may be on another page, or deleted. */
function firstOf(each: Conversation, known: ReadonlyMap<string, Conversation>): string {
  let first = each;
  for (const seen = new Set<string>(); !seen.has(first.id); ) {
    seen.add(first.id);
    first = known.get(first.headrace.forked_from ?? "") ?? first;
  }
  return first.headrace.forked_from ?? first.id;
}
