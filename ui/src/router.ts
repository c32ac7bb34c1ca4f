// The address of the page: `/` is a new chat, `/c/{id}` a conversation, `/s/{id}` one that somebody shares.

import { signal } from "@preact/signals";

export const path = signal(location.pathname);

export function go(to: string): void {
  if (to !== location.pathname) history.pushState(null, "", to);
  path.value = to;
}

/** Changes the address without showing anything else. */
export function replace(to: string): void {
  history.replaceState(null, "", to);
  path.value = to;
}

export function conversationIn(address: string): string | null {
  return /^\/c\/([\w-]{1,64})$/.exec(address)?.[1] ?? null;
}

export function shareIn(address: string): string | null {
  return /^\/s\/([\w-]{1,64})$/.exec(address)?.[1] ?? null;
}

/** Follows a link inside the page without loading it again. */
export function follow(event: MouseEvent): void {
  if (event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go((event.currentTarget as HTMLAnchorElement).pathname);
}

addEventListener("popstate", () => {
  path.value = location.pathname;
});
