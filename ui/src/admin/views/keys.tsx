// Keys: created with their secret shown once, rotated and revoked.

import type { VNode } from "preact";
import { json, session } from "../../api/http";
import { c } from "../../i18n/console";
import { tenant } from "../address";
import { withQuery } from "../answer";
import { type List, lines } from "../list";
import { Listing } from "../listing";
import { Code, State, Time, Words } from "../values";

interface Key {
  id: string;
  user: string;
  name: string;
  scopes: string[];
  created_at: number;
  expires_at: number | null;
  revoked_at: number | null;
  last_used_at: number | null;
  rotated_to: string | null;
}

const DAY_S = 86_400;

const at = (rest = "") => withQuery(`/v1/admin/keys${rest}`, { tenant: tenant.value });
const secret = (answer: unknown) => (answer as { key: string }).key;
const named = ({ name, id }: Key) => (name ? `${name} (${id})` : id);

/** Nobody can grant more than they have. */
function mine(): string[] {
  return session.value?.scopes ?? [];
}

function state({ revoked_at, expires_at }: Key): string {
  if (revoked_at !== null) return "revoked";
  return expires_at !== null && expires_at * 1000 < Date.now() ? "expired" : "active";
}

const list: List<Key> = {
  title: "keys",
  path: "/v1/admin/keys",
  tenants: true,
  filters: [
    { name: "q", label: "nameHas" },
    { name: "user", label: "user" },
    { name: "expires_before", label: "expiresBefore", kind: "end" },
    { name: "unused_since", label: "unusedSince", kind: "start" },
  ],
  id: ({ id }) => id,
  name: named,
  columns: [
    { label: "name", of: (key) => <><Words>{key.name}</Words> <Code>{key.id}</Code></> },
    { label: "user", of: ({ user }) => <Words>{user}</Words> },
    { label: "scopes", of: ({ scopes }) => <Code>{scopes.join(", ")}</Code> },
    { label: "state", of: (key) => <State of={state(key)} /> },
    { label: "created", of: ({ created_at }) => <Time at={created_at} /> },
    { label: "lastUsed", of: ({ last_used_at }) => <Time at={last_used_at} /> },
    { label: "ends", of: ({ expires_at }) => <Time at={expires_at} /> },
  ],
  make: [
    {
      label: "createKey",
      fields: () => [
        { name: "user", label: "user", required: true },
        { name: "name", label: "name" },
        { name: "scopes", label: "scopes", kind: "several", choices: mine(), hint: c("allOfRole") },
        { name: "days", label: "validDays", kind: "number", param: "expires_in_s", hint: c("emptyForever") },
      ],
      does: (_, { user, name, scopes, days }) => {
        const given = lines(scopes);
        const life = days ? { expires_in_s: Math.round(Number(days) * DAY_S) } : {};
        return json("POST", at(), { body: { user, name, ...(given.length && { scopes: given }), ...life } });
      },
      secret,
    },
  ],
  acts: [
    {
      label: "rotate",
      when: (key) => state(key) === "active" && key.rotated_to === null,
      question: (key) => c("rotateKey", { name: named(key) }),
      fields: () => [
        { name: "hours", label: "overlapHours", kind: "number", param: "overlap_s", required: true, value: "1" },
      ],
      does: ({ id }, { hours }) =>
        json("POST", at(`/${id}/rotate`), { body: { overlap_s: Math.round(Number(hours) * 3600) } }),
      secret,
    },
    {
      label: "revoke",
      danger: true,
      when: ({ revoked_at }) => revoked_at === null,
      question: (key) => c("revokeKey", { name: named(key) }),
      does: ({ id }) => json("POST", at(`/${id}/revoke`)),
    },
  ],
};

export function Keys(): VNode {
  return <Listing list={list} />;
}
