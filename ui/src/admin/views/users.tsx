// Users of a tenant: their role and groups, and the sessions in which they are signed in.

import type { VNode } from "preact";
import { json } from "../../api/http";
import { c } from "../../i18n/console";
import { tenant, to } from "../address";
import { withQuery } from "../answer";
import { type List, lines } from "../list";
import { Listing } from "../listing";
import { Code, State, Time, Words } from "../values";

interface User {
  id: string;
  role: string;
  groups: string[];
  issuer: string | null;
  created_at: number;
  disabled: boolean;
}

interface Session {
  id: string;
  provider: string | null;
  key_id: string | null;
  created_at: number;
  last_used_at: number;
  expires_at: number;
}

const ROLES = ["user", "operator", "admin"];

const of = (user: User, rest = "") =>
  withQuery(`/v1/admin/users/${encodeURIComponent(user.id)}${rest}`, { tenant: tenant.value });

const list: List<User> = {
  title: "users",
  path: "/v1/admin/users",
  tenants: true,
  filters: [
    { name: "q", label: "nameHas" },
    { name: "role", label: "role", kind: "choice", choices: ROLES },
    { name: "disabled", label: "disabled", kind: "choice", choices: ["true", "false"] },
  ],
  id: ({ id }) => id,
  columns: [
    { label: "user", of: ({ id }) => <Words>{id}</Words> },
    { label: "role", of: ({ role }) => <Code>{role}</Code> },
    { label: "groups", of: ({ groups }) => <Words>{groups.join(", ")}</Words> },
    { label: "signsInAt", of: ({ issuer }) => <Code>{issuer}</Code> },
    { label: "state", of: ({ disabled }) => <State of={disabled ? "disabled" : "active"} /> },
    { label: "created", of: ({ created_at }) => <Time at={created_at} /> },
  ],
  make: [
    {
      label: "createUser",
      fields: () => [
        { name: "id", label: "user", required: true, max: 128 },
        { name: "role", label: "role", kind: "choice", choices: ROLES, required: true, value: "user" },
        { name: "groups", label: "groups", kind: "lines", hint: c("oneALine") },
      ],
      does: (_, { id, role, groups }) => {
        const path = withQuery("/v1/admin/users", { tenant: tenant.value });
        return json("POST", path, { body: { id, role, groups: lines(groups) } });
      },
    },
  ],
  acts: [
    { label: "keys", leads: ({ id }) => to("keys", { user: id }) },
    { label: "sessions", shows: (user) => <Listing inside list={sessions(user)} /> },
    {
      label: "change",
      fields: ({ role, groups }) => [
        { name: "role", label: "role", kind: "choice", choices: ROLES, required: true, value: role },
        { name: "groups", label: "groups", kind: "lines", hint: c("oneALine"), value: groups.join("\n") },
      ],
      does: (user, { role, groups }) => json("POST", of(user), { body: { role, groups: lines(groups) } }),
    },
    {
      label: "endSessions",
      danger: true,
      question: ({ id }) => c("endSessionsOf", { name: id }),
      does: (user) => json("DELETE", of(user, "/sessions")),
    },
    {
      label: "disable",
      danger: true,
      when: ({ disabled }) => !disabled,
      question: ({ id }) => c("disableUser", { name: id }),
      does: (user) => json("POST", of(user), { body: { disabled: true } }),
    },
    {
      label: "enable",
      when: ({ disabled }) => disabled,
      does: (user) => json("POST", of(user), { body: { disabled: false } }),
    },
  ],
};

function sessions(user: User): List<Session> {
  return {
    title: "sessions",
    path: `/v1/admin/users/${encodeURIComponent(user.id)}/sessions`,
    tenants: true,
    whole: true,
    id: ({ id }) => id,
    columns: [
      { label: "by", of: ({ provider, key_id }) => <Code>{provider ?? key_id}</Code> },
      { label: "began", of: ({ created_at }) => <Time at={created_at} /> },
      { label: "lastUsed", of: ({ last_used_at }) => <Time at={last_used_at} /> },
      { label: "ends", of: ({ expires_at }) => <Time at={expires_at} /> },
    ],
  };
}

export function Users(): VNode {
  return <Listing list={list} />;
}
