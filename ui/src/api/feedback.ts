// Ratings of answers.

import type { Page } from "./conversations";
import { json, request } from "./http";

export interface Rating {
  target: { type: "response" | "message"; id: string };
  /** Null for a rating of another kind, which the page does not give. */
  thumb: "up" | "down" | null;
  comment: string;
  consent: boolean;
}

/** Returns the reader's ratings of these responses and messages, the newest first. */
export async function ratings(targets: readonly string[]): Promise<Pick<Rating, "target" | "thumb">[]> {
  if (!targets.length) return [];
  const query = new URLSearchParams([["limit", "100"], ...targets.map((id) => ["target", id])]);
  return (await json<Page<Rating>>("GET", `/v1/feedback?${query}`)).data;
}

export async function rate({ target, thumb, comment, consent }: Rating): Promise<void> {
  await request("POST", "/v1/feedback", { body: { target, thumb, consent, ...(comment && { comment }) } });
}
