// Dialogs about what is the reader's own: memories, usage with its budget, API keys, and receipts of deletions.

import { signal } from "@preact/signals";
import type { VNode } from "preact";
import { Deletions } from "./deletions";
import { ApiKeys } from "./keys";
import { Memories } from "./memories";
import { Usage } from "./usage";

export const own = signal<"memories" | "usage" | "keys" | "deletions" | null>(null);

function close(): void {
  own.value = null;
}

export function Own(): VNode | null {
  if (own.value === "memories") return <Memories close={close} />;
  if (own.value === "keys") return <ApiKeys close={close} />;
  if (own.value === "deletions") return <Deletions close={close} />;
  return own.value === "usage" ? <Usage close={close} /> : null;
}
