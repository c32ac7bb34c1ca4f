// Tenants: whoever has the scope `platform` creates and disables them, and looks into them.

import type { VNode } from "preact";
import { json } from "../../api/http";
import { c } from "../../i18n/console";
import { to } from "../address";
import type { List } from "../list";
import { Listing } from "../listing";
import { Code, State, Time, Words } from "../values";

interface Tenant {
  id: string;
  name: string;
  created_at: number;
  disabled: boolean;
}

const change = (row: Tenant, body: object) => json("POST", `/v1/admin/tenants/${encodeURIComponent(row.id)}`, { body });

const list: List<Tenant> = {
  title: "tenants",
  path: "/v1/admin/tenants",
  filters: [{ name: "q", label: "nameHas" }],
  id: ({ id }) => id,
  columns: [
    { label: "id", of: ({ id }) => <Code>{id}</Code> },
    { label: "name", of: ({ name }) => <Words>{name}</Words> },
    { label: "state", of: ({ disabled }) => <State of={disabled ? "disabled" : "active"} /> },
    { label: "created", of: ({ created_at }) => <Time at={created_at} /> },
  ],
  make: [
    {
      label: "createTenant",
      fields: () => [
        { name: "id", label: "id", required: true, max: 63, hint: c("tenantId") },
        { name: "name", label: "name" },
      ],
      does: (_, { id = "", name = "" }) => json("POST", "/v1/admin/tenants", { body: { id, name } }),
    },
  ],
  acts: [
    { label: "lookInto", leads: ({ id }) => to("users", { tenant: id }) },
    {
      label: "rename",
      fields: ({ name }) => [{ name: "name", label: "name", required: true, value: name }],
      does: (row, { name = "" }) => change(row, { name }),
    },
    {
      label: "disable",
      danger: true,
      when: ({ disabled }) => !disabled,
      question: ({ id }) => c("disableTenant", { name: id }),
      does: (row) => change(row, { disabled: true }),
    },
    { label: "enable", when: ({ disabled }) => disabled, does: (row) => change(row, { disabled: false }) },
  ],
};

export function Tenants(): VNode {
  return <Listing list={list} />;
}
