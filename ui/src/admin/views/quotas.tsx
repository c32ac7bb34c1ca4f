// Quotas that were set, and the defaults of the configuration.

import type { VNode } from "preact";
import { json } from "../../api/http";
import { c } from "../../i18n/console";
import { tenant } from "../address";
import { withQuery } from "../answer";
import type { List } from "../list";
import { Listing } from "../listing";
import { Code, Moment, Words } from "../values";
import { QuotaDefaults } from "./quota-defaults";

interface Quota {
  quota_id: string;
  subject: string;
  id: string;
  window: string;
  measure: string;
  currency: string | null;
  limit: number | string;
  set_by: string;
  used: number | string | null;
  resets_at: string | null;
}

const SUBJECTS = ["tenant", "user", "key", "model"];
const WINDOWS = ["minute", "day", "month", "concurrent", "total"];
const MEASURES = ["requests", "tokens", "money", "streams", "files", "attachments", "items", "stored_bytes"];

const named = ({ subject, id, measure, window }: Quota) => `${subject} ${id}: ${measure}, ${window}`;

const list: List<Quota> = {
  title: "quotas",
  path: "/v1/admin/quotas",
  tenants: true,
  filters: [
    { name: "subject", label: "subject", kind: "choice", choices: SUBJECTS },
    { name: "id", label: "id" },
  ],
  id: ({ quota_id }) => quota_id,
  name: named,
  columns: [
    { label: "subject", of: ({ subject, id }) => <><Code>{subject}</Code> <Words>{id}</Words></> },
    { label: "measure", of: ({ measure, currency }) => <Code>{currency ? `${measure} (${currency})` : measure}</Code> },
    { label: "window", of: ({ window }) => <Code>{window}</Code> },
    { label: "used", number: true, of: ({ used }) => <bdi>{used ?? "–"}</bdi> },
    { label: "limit", number: true, of: ({ limit }) => <bdi>{limit}</bdi> },
    { label: "resets", of: ({ resets_at }) => <Moment at={resets_at} /> },
    { label: "setBy", of: ({ set_by }) => <Code>{set_by}</Code> },
  ],
  make: [
    {
      label: "setQuota",
      fields: () => [
        { name: "subject", label: "subject", kind: "choice", choices: SUBJECTS, required: true, value: "user" },
        { name: "id", label: "id", required: true },
        { name: "measure", label: "measure", kind: "choice", choices: MEASURES, required: true, value: "requests" },
        { name: "window", label: "window", kind: "choice", choices: WINDOWS, required: true, value: "day" },
        { name: "limit", label: "limit", kind: "number", required: true },
        { name: "currency", label: "currency", max: 3, hint: c("currencyHint") },
      ],
      does: (_, { limit = "", currency, measure, ...rest }) => {
        const amount = measure === "money" ? limit : Number(limit);
        const quota = { ...rest, measure, limit: amount, ...(currency && { currency }) };
        return json("PUT", withQuery("/v1/admin/quotas", { tenant: tenant.value }), { body: { quotas: [quota] } });
      },
    },
  ],
  acts: [
    {
      label: "remove",
      danger: true,
      question: (quota) => c("removeQuota", { name: named(quota) }),
      does: ({ quota_id }) => json("DELETE", withQuery("/v1/admin/quotas", { quota_id, tenant: tenant.value })),
    },
  ],
};

export function Quotas(): VNode {
  return (
    <>
      <Listing list={list} />
      <QuotaDefaults />
    </>
  );
}
