// What a reader sees of a shared conversation.

import type { SharedItem } from "../api/shares";
import { type Reply, whole } from "../chat/state";

export type Shown =
  | { kind: "question"; key: string; text: string; attached: boolean }
  | { kind: "answer"; key: string; reply: Reply }
  | { kind: "withheld"; key: string };

/** Returns what is shown of items; of what is never shared, nothing is. */
export function read(items: readonly SharedItem[]): Shown[] {
  return items.flatMap(({ id, role, status, text, withheld, attachments, headrace }): Shown[] => {
    if (role === "assistant" && withheld) return [{ kind: "withheld", key: id }];
    if (withheld) return [];
    if (role === "user") return [{ kind: "question", key: id, text, attached: attachments > 0 }];
    if (role !== "assistant") return [];
    // No steps and no rating: a reader can do nothing with it.
    const { citations = [], unsupported = [] } = headrace;
    return [{ kind: "answer", key: id, reply: whole(id, text, status, { citations, unsupported }) }];
  });
}
