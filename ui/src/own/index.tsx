// Dialogs about what is the reader's own: memories, and usage with its budget.

import { signal } from "@preact/signals";
import type { VNode } from "preact";
import { Memories } from "./memories";
import { Usage } from "./usage";

export const own = signal<"memories" | "usage" | null>(null);

function close(): void {
  own.value = null;
}

export function Own(): VNode | null {
  if (own.value === "memories") return <Memories close={close} />;
  return own.value === "usage" ? <Usage close={close} /> : null;
}
