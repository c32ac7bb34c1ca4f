/** @jsxRuntime classic */
/** @jsx h */
/** @jsxFrag Fragment */
// Lists of the library: pages of what there is, who owns it, and who may use it.

import type { ComponentChildren, VNode } from "preact";
import type { Page } from "../api/conversations";
import { described, Fragment, h, json, session, t, useEffect, useState } from "./kit";
import { say } from "./texts";

export interface Access {
  users: string[];
  groups: string[];
}

interface Owned {
  owner: string | null;
  access?: Access | null;
}

export interface Listed {
  id: string;
  name: string;
  headrace: Owned;
}

interface Pages<T> {
  found: readonly T[] | null;
  /** Loads the next page; null after the last. */
  more: (() => Promise<void>) | null;
  reload: () => Promise<void>;
  error: string;
}

/** Returns the pages of a list that were loaded so far. */
export function usePages<T>(path: string, limit = 50): Pages<T> {
  const [found, setFound] = useState<readonly T[] | null>(null);
  const [after, setAfter] = useState<string | null>(null);
  const [error, setError] = useState("");
  const load = async (from: string | null) => {
    setError("");
    try {
      const query = new URLSearchParams({ limit: String(limit), ...(from && { after: from }) });
      const page = await json<Page<T>>("GET", `${path}?${query}`);
      setFound((before) => [...(from ? (before ?? []) : []), ...page.data]);
      setAfter(page.has_more ? page.last_id : null);
    } catch (failed) {
      setError(described(failed));
    }
  };
  useEffect(() => void load(null), [path]);
  return { found, more: after ? () => load(after) : null, reload: () => load(null), error };
}

/** Returns all of a list. */
export async function everything<T>(path: string): Promise<T[]> {
  const found: T[] = [];
  for (let after = ""; ; ) {
    const page = await json<Page<T>>("GET", `${path}?limit=100${after}`);
    found.push(...page.data);
    if (!page.has_more) return found;
    after = `&after=${page.last_id}`;
  }
}

/** Whether the reader may change what somebody made: the owner's, and all for an admin of the tenant. */
export function mayChange({ headrace: { owner } }: Pick<Listed, "headrace">): boolean {
  return owner === null || owner === session.value?.user || !!session.value?.scopes.includes("admin");
}

export type Audience = "mine" | "all" | "listed";

/** Returns who may use something, in words of the form. */
export function audienceOf({ owner, access }: Owned): Audience {
  if (!access) return "all";
  return access.groups.length || access.users.some((user) => user !== owner) ? "listed" : "mine";
}

export function accessOf(audience: Audience): Access | null {
  return audience === "all" ? null : { users: [], groups: [] };
}

/** Returns what can be chosen: a list that names others stays as it is until something else is chosen. */
export function audiences(now: Audience | null): [Audience, string][] {
  const all: Audience[] = now === "listed" ? ["listed", "mine", "all"] : ["mine", "all"];
  return all.map((each) => [each, say(`access_${each}`)]);
}

interface Shown<T> {
  pages: Pages<T>;
  /** What to do while there is nothing. */
  none: string;
  children: (each: T) => VNode;
}

export function Entries<T extends { id: string }>({ pages: { found, more, error }, none, children }: Shown<T>): VNode {
  return (
    <>
      {error && <p class="error" role="alert">{error}</p>}
      {!found && !error && <p class="hint">{t("loading")}</p>}
      {found?.length === 0 && <p class="none">{none}</p>}
      {!!found?.length && <ul class="memories">{found.map(children)}</ul>}
      {more && <button type="button" onClick={more}>{t("moreConversations")}</button>}
    </>
  );
}

interface Line {
  of: Listed;
  about?: string;
  children: ComponentChildren;
}

/** One of a list: its name, what it is, and what can be done with it. */
export function Entry({ of, about, children }: Line): VNode {
  const { owner } = of.headrace;
  return (
    <li>
      <p dir="auto"><strong>{of.name}</strong></p>
      {about && <p class="hint" dir="auto">{about}</p>}
      {owner && owner !== session.value?.user && <p class="hint" dir="auto">{say("notYours", { name: owner })}</p>}
      {children}
    </li>
  );
}
