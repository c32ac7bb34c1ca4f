// Who may use the console.

import { session } from "./api/http";

/** The scopes with which somebody operates something. */
const OPERATING = ["operate", "admin", "platform", "hub:read", "review"];

/** Whether whoever is signed in has a view of the console, given their scopes. */
export function operates(scopes: readonly string[] = session.value?.scopes ?? []): boolean {
  return scopes.some((scope) => OPERATING.includes(scope));
}
