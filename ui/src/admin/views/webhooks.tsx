// Webhooks: addresses that are told of events, with a secret that signs.

import type { VNode } from "preact";
import { json, session } from "../../api/http";
import { c } from "../../i18n/console";
import { tenant } from "../address";
import { withQuery } from "../answer";
import { type Field, type List, lines } from "../list";
import { Listing } from "../listing";
import { Code, Time, YesNo } from "../values";

interface Webhook {
  id: string;
  url: string;
  events: string[];
  private: boolean;
  created_at: number;
}

const EVENTS = [
  "response.completed",
  "response.incomplete",
  "response.failed",
  "response.cancelled",
  "batch.completed",
  "batch.failed",
  "batch.expired",
  "batch.cancelled",
];
const PRIVATE: Field = { name: "private", label: "private", kind: "tick" };
const at = (rest = "") => withQuery(`/v1/admin/webhooks${rest}`, { tenant: tenant.value });
const secret = (answer: unknown) => (answer as { secret: string }).secret;

const list: List<Webhook> = {
  title: "webhooks",
  path: "/v1/admin/webhooks",
  tenants: true,
  id: ({ id }) => id,
  name: ({ url }) => url,
  columns: [
    { label: "url", of: ({ url }) => <Code>{url}</Code> },
    { label: "events", of: ({ events }) => <Code>{events.join(", ")}</Code> },
    { label: "private", of: (webhook) => <YesNo of={webhook.private} /> },
    { label: "created", of: ({ created_at }) => <Time at={created_at} /> },
  ],
  make: [
    {
      label: "createWebhook",
      fields: () => [
        { name: "url", label: "url", required: true, max: 2048 },
        { name: "events", label: "events", kind: "several", choices: EVENTS },
        ...(session.value?.scopes.includes("platform") ? [PRIVATE] : []),
      ],
      does: (_, { url, events, private: inside }) =>
        json("POST", at(), { body: { url, events: lines(events), ...(inside && { private: true }) } }),
      secret,
    },
  ],
  acts: [
    {
      label: "rotate",
      question: ({ url }) => c("rotateWebhook", { name: url }),
      fields: () => [
        { name: "hours", label: "overlapHours", kind: "number", param: "overlap_s", required: true, value: "1" },
      ],
      does: ({ id }, { hours }) =>
        json("POST", at(`/${id}/rotate`), { body: { overlap_s: Math.round(Number(hours) * 3600) } }),
      secret,
    },
    {
      label: "delete",
      danger: true,
      question: ({ url }) => c("deleteWebhook", { name: url }),
      does: ({ id }) => json("DELETE", at(`/${id}`)),
    },
  ],
};

export function Webhooks(): VNode {
  return <Listing list={list} />;
}
