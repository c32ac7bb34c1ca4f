// What a tenant used, and what it cost.

import type { VNode } from "preact";
import type { List } from "../list";
import { Listing } from "../listing";
import { number, Words } from "../values";

interface Usage {
  id: string;
  requests: number;
  prompt_tokens: number;
  completion_tokens: number;
  cost: { amount: string; currency: string }[];
}

const list: List<Usage> = {
  title: "usage",
  path: "/v1/admin/usage",
  tenants: true,
  filters: [
    { name: "by", label: "countedBy", kind: "choice", choices: ["day", "user", "key", "model"], always: "day" },
    { name: "user", label: "user" },
    { name: "start", label: "from", kind: "day" },
    { name: "end", label: "until", kind: "day" },
  ],
  id: ({ id }) => id,
  columns: [
    { label: "of", of: ({ id }) => <Words>{id}</Words> },
    { label: "requests", number: true, of: ({ requests }) => number(requests) },
    { label: "promptTokens", number: true, of: ({ prompt_tokens }) => number(prompt_tokens) },
    { label: "completionTokens", number: true, of: ({ completion_tokens }) => number(completion_tokens) },
    {
      label: "cost",
      number: true,
      of: ({ cost }) => <bdi>{cost.map(({ amount, currency }) => `${amount} ${currency}`).join(", ") || "–"}</bdi>,
    },
  ],
};

export function UsageView(): VNode {
  return <Listing list={list} />;
}
