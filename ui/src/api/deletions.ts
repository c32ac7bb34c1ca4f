// Receipts of what the reader deleted, which an auditor finds in the audit log by the same id.

import type { Page } from "./conversations";
import { json } from "./http";

export interface Deletion {
  id: string;
  created_at: number;
  kind: "conversation" | "conversations" | "memory" | "memories";
  deleted: number;
  items: number | null;
  status: "begun" | "finished";
  event: { id: string; hash: string };
}

const PATH = "/v1/me/deletions";

/** Returns a receipt, by its id or that of the one thing that was deleted. */
export function get(id: string): Promise<Deletion> {
  return json("GET", `${PATH}/${encodeURIComponent(id)}`);
}

/** Returns receipts, the newest first. */
export function list(after: string | null): Promise<Page<Deletion>> {
  return json("GET", `${PATH}?${new URLSearchParams({ limit: "50", ...(after && { after }) })}`);
}
