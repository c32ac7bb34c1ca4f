// Versions of models and adapters in the hub: what they were made of, how they scored, and whether they are live.

import type { VNode } from "preact";
import { json } from "../../api/http";
import { c } from "../../i18n/console";
import type { List } from "../list";
import { Listing } from "../listing";
import { Loaded } from "../loaded";
import { bytes, Code, Facts, State, Time } from "../values";

interface Version {
  id: string;
  name: string;
  number: number;
  kind: string;
  status: string;
  reason: string | null;
  base: string | null;
  method: string;
  bytes: number;
  card: object | null;
  provenance: object | null;
  recipe: object | null;
  created_at: number;
  created_by: string | null;
}

interface Lineage {
  ancestors: Version[];
  descendants: Version[];
  datasets: { id: string; format: string; status: string }[];
}

interface Consent {
  tenant: string;
  scope: string;
  created_at: number;
  revoked_at: number | null;
}

const at = (id: string, rest = "") => `/v1/hub/versions/${id}${rest}`;
const named = ({ name, number }: Version) => `${name} ${number}`;
const servable = ({ kind, status }: Version) => kind === "adapter" && status === "ready";

const list: List<Version> = {
  title: "versions",
  path: "/v1/hub/versions",
  filters: [
    { name: "name", label: "nameIs", max: 48 },
    { name: "kind", label: "kind", kind: "choice", choices: ["model", "adapter", "reward"] },
    { name: "status", label: "state", kind: "choice", choices: ["building", "ready", "rejected", "retired"] },
  ],
  unfinished: ({ status }) => status === "building",
  id: ({ id }) => id,
  name: named,
  columns: [
    { label: "name", of: (version) => <><Code>{named(version)}</Code> <Code>{version.id}</Code></> },
    { label: "kind", of: ({ kind }) => <Code>{kind}</Code> },
    { label: "base", of: ({ base }) => <Code>{base}</Code> },
    { label: "method", of: ({ method }) => <Code>{method}</Code> },
    { label: "state", of: ({ status, reason }) => <><State of={status} />{reason && <> <bdi>{reason}</bdi></>}</> },
    { label: "size", number: true, of: (version) => bytes(version.bytes) },
    { label: "created", of: ({ created_at }) => <Time at={created_at} /> },
  ],
  acts: [
    { label: "card", shows: (version) => <Facts of={version} /> },
    { label: "lineage", shows: ({ id }) => <Loaded<Lineage> path={at(id, "/lineage")} shows={LineageOf} /> },
    {
      label: "live",
      when: servable,
      shows: ({ id }) => <Loaded<object> path={at(id, "/live")} shows={(live) => <Facts of={live} />} />,
    },
    { label: "serve", scope: "hub:write", when: servable, does: ({ id }) => json("POST", at(id, "/serve")) },
    {
      label: "withdraw",
      scope: "hub:write",
      danger: true,
      when: servable,
      question: (version) => c("withdrawVersion", { name: named(version) }),
      does: ({ id }) => json("POST", at(id, "/withdraw")),
    },
    {
      label: "consents",
      when: ({ kind }) => kind === "adapter",
      shows: ({ id }) => <Loaded<{ data: Consent[] }> path={at(id, "/consents")} shows={ConsentsOf} />,
    },
    {
      label: "giveConsent",
      scope: "hub:write",
      when: servable,
      question: (version) => c("giveConsentTo", { name: named(version) }),
      fields: () => [
        { name: "tenant", label: "tenant", required: true, max: 128 },
        { name: "scope", label: "consentScope", kind: "choice", choices: ["call", "release"], required: true, value: "call", hint: c("consentScopeHint") },
      ],
      does: ({ id }, { tenant, scope }) => json("POST", at(id, "/consents"), { body: { tenant, scope } }),
    },
    {
      label: "revokeConsent",
      scope: "hub:write",
      danger: true,
      when: servable,
      question: (version) => c("revokeConsentOf", { name: named(version) }),
      fields: () => [{ name: "tenant", label: "tenant", required: true, max: 128 }],
      does: ({ id }, { tenant }) => json("POST", at(id, "/consents/revoke"), { body: { tenant } }),
    },
    {
      label: "retire",
      scope: "hub:write",
      danger: true,
      when: ({ status }) => status === "ready",
      question: (version) => c("retireVersion", { name: named(version) }),
      fields: () => [
        { name: "reason", label: "reason", max: 2000 },
        { name: "delete", label: "deleteArtefacts", kind: "tick", param: "delete_artefacts" },
      ],
      does: ({ id }, { reason, delete: files }) =>
        json("POST", at(id, "/retire"), { body: { reason, delete_artefacts: files === "yes" } }),
    },
  ],
};

function LineageOf({ ancestors, descendants, datasets }: Lineage): VNode {
  return (
    <>
      <h3>{c("madeFrom")}</h3>
      <Names of={ancestors.map((each) => ({ ...each, name: named(each) }))} />
      <h3>{c("datasets")}</h3>
      <Names of={datasets.map((each) => ({ ...each, name: each.format }))} />
      <h3>{c("madeOfIt")}</h3>
      <Names of={descendants.map((each) => ({ ...each, name: named(each) }))} />
    </>
  );
}

function ConsentsOf({ data }: { data: Consent[] }): VNode {
  if (!data.length) return <p class="hint">{c("none")}</p>;
  return (
    <ul class="plain">
      {data.map(({ tenant, scope, created_at, revoked_at }) => (
        <li key={`${tenant} ${created_at}`}>
          <Code>{tenant}</Code> <Code>{scope}</Code> <Time at={created_at} /> {revoked_at !== null && <State of="revoked" />}
        </li>
      ))}
    </ul>
  );
}

function Names({ of }: { of: { id: string; name: string; status: string }[] }): VNode {
  if (!of.length) return <p class="hint">{c("none")}</p>;
  return (
    <ul class="plain">
      {of.map(({ id, name, status }) => <li key={id}><Code>{name}</Code> <Code>{id}</Code> <State of={status} /></li>)}
    </ul>
  );
}

export function Versions(): VNode {
  return <Listing list={list} />;
}
