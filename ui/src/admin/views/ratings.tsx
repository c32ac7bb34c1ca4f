// Counts of ratings, without their texts.

import type { VNode } from "preact";
import type { List } from "../list";
import { Listing } from "../listing";
import { number, Words } from "../values";

interface Count {
  id: string;
  ratings: number;
  up: number;
  down: number;
  score: number | null;
}

const DAYS = 30;
const DAY_MS = 86_400_000;

/** Returns the first of the last 30 days, in UTC as the API counts them. */
function begin(): string {
  return new Date(Date.now() - (DAYS - 1) * DAY_MS).toISOString().slice(0, 10);
}

const list = (start: string): List<Count> => ({
  title: "ratings",
  path: "/v1/admin/feedback/summary",
  tenants: true,
  filters: [
    { name: "by", label: "countedBy", kind: "choice", choices: ["day", "assistant", "model"], always: "day" },
    { name: "start", label: "from", kind: "day", always: start },
    { name: "end", label: "until", kind: "day" },
  ],
  id: ({ id }) => id,
  columns: [
    { label: "of", of: ({ id }) => <Words>{id}</Words> },
    { label: "ratings", number: true, of: ({ ratings }) => number(ratings) },
    { label: "good", number: true, of: ({ up }) => number(up) },
    { label: "bad", number: true, of: ({ down }) => number(down) },
    { label: "meanScore", number: true, of: ({ score }) => number(score) },
  ],
});

export function Ratings(): VNode {
  return <Listing list={list(begin())} />;
}
