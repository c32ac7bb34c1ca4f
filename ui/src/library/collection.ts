// A collection and its documents, as the API has them.

import { request } from "./kit";
import type { Listed } from "./lists";

export interface Collection extends Listed {
  file_counts: { in_progress: number; failed: number; total: number };
}

/** A file of a collection; those that the page added have a path, and belong to it alone. */
export interface Document {
  id: string;
  status: "in_progress" | "completed" | "failed" | "cancelled";
  last_error: { message: string } | null;
  attributes: { path?: string } | null;
}

export const PATH = "/v1/vector_stores";

/** Deletes a document, and the file too if the page added it. */
export async function removeDocument(collection: string, { id, attributes }: Document): Promise<void> {
  await request("DELETE", `${PATH}/${collection}/files/${id}`);
  if (attributes?.path) await request("DELETE", `/v1/files/${id}`).catch(() => {});
}
