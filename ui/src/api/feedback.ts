// Ratings of answers.

import { request } from "./http";

export interface Rating {
  target: { type: "response" | "message"; id: string };
  thumb: "up" | "down";
  comment: string;
  consent: boolean;
}

export async function rate({ target, thumb, comment, consent }: Rating): Promise<void> {
  await request("POST", "/v1/feedback", { body: { target, thumb, consent, ...(comment && { comment }) } });
}
