// The address of the console: `/admin/{view}?...`, whose query holds the filters, and the tenant that is looked into.
// Alerts link to `/admin/runbooks/{alert}.md`, as to a folder of runbooks elsewhere.

import { computed, signal } from "@preact/signals";

export interface Address {
  /** Empty for the first that its reader may see. */
  view: string;
  query: URLSearchParams;
}

const RUNBOOK = /^\/admin\/runbooks\/(\w+)\.md$/;

function read(): Address {
  const alert = RUNBOOK.exec(location.pathname)?.[1];
  if (alert) return { view: "alerts", query: new URLSearchParams({ alert }) };
  return { view: location.pathname.split("/")[2] ?? "", query: new URLSearchParams(location.search) };
}

export const address = signal(read());

/** The tenant that the stack's own key looks into; empty for the caller's own. */
export const tenant = computed(() => address.value.query.get("tenant") ?? "");

export type Query = Record<string, string>;

/** Returns the address of a view. The tenant stays, unless the query names one: an empty name is one's own. */
export function to(view: string, query: Query = {}): string {
  const given = Object.entries({ tenant: tenant.value, ...query }).filter(([, value]) => value !== "");
  const asked = new URLSearchParams(given).toString();
  return `/admin${view && `/${view}`}${asked && `?${asked}`}`;
}

export function go(url: string): void {
  if (url !== location.pathname + location.search) history.pushState(null, "", url);
  address.value = read();
}

/** Follows a link inside the console without loading it again. */
export function follow(event: MouseEvent): void {
  if (event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go((event.currentTarget as HTMLAnchorElement).href.slice(location.origin.length));
}

addEventListener("popstate", () => {
  address.value = read();
});
