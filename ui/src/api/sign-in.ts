// Sign-in at an identity provider or by key, and sign-out.

import { signal } from "@preact/signals";
import { forget } from "../storage";
import { ApiError, json, type Session, session } from "./http";

export interface Providers {
  data: { name: string; label: string }[];
  /** Whether a key signs in. */
  key: boolean;
}

export const providers = signal<Providers>({ data: [], key: true });

/** Why a sign-in link did not work. */
export const linkFailure = signal<ApiError | null>(null);

const LINK = /^#sign-in=([\w-]{1,1024})$/;

/** Takes the code of a sign-in link out of the address, so that neither the history nor a bookmark has it. */
function takeCode(): string | null {
  const code = LINK.exec(location.hash)?.[1] ?? null;
  if (code) history.replaceState(null, "", location.pathname);
  return code;
}

async function byLink(code: string): Promise<boolean> {
  try {
    session.value = await json<Session>("POST", "/auth/code", { body: { code } });
    linkFailure.value = null;
    return true;
  } catch (error) {
    if (!(error instanceof ApiError) || error.status === 0) throw error;
    linkFailure.value = error;
    return false;
  }
}

/** Finds out who is signed in, also by the link that was opened; if nobody is, how one can. */
export async function load(): Promise<void> {
  const code = takeCode();
  if (code && (await byLink(code))) return;
  try {
    session.value = await json<Session>("GET", "/auth/session");
  } catch (error) {
    if (!(error instanceof ApiError) || (error.status !== 401 && error.status !== 404)) throw error;
    session.value = null;
    providers.value = await json<Providers>("GET", "/auth/providers");
  }
}

export async function byKey(key: string): Promise<void> {
  session.value = await json<Session>("POST", "/auth/key", { body: { key } });
}

// A link that is opened in a tab with the page only changes its fragment.
addEventListener("hashchange", () => {
  if (LINK.test(location.hash)) void load().catch(() => {});
});

/** Returns where a browser signs in at a provider and comes back to this page. */
export function loginUrl(provider: string): string {
  return `/auth/login?${new URLSearchParams({ provider, next: location.pathname })}`;
}

/** Signs out here, and at the provider if it has a page for that. The browser may be another person's next. */
export async function signOut(): Promise<void> {
  const { provider_url } = await json<{ provider_url: string | null }>("POST", "/auth/logout");
  forget("drafts.");
  location.assign(provider_url ?? "/");
}
