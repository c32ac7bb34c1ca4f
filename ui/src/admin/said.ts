// What screen readers are told after an act.

import { signal } from "@preact/signals";

export const said = signal("");

export function say(text: string): void {
  said.value = text;
}
