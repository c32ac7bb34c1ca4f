// Releases: a model gets a share of an alias's requests, and is promoted or rolled back.

import type { VNode } from "preact";
import { json } from "../../api/http";
import { c, type Key } from "../../i18n/console";
import type { Act, Field, List } from "../list";
import { Listing } from "../listing";
import { Code, Facts, percent, State, Time, Words } from "../values";

interface Release {
  id: string;
  created_at: number;
  ended_at: number | null;
  alias: string;
  target: string;
  version: string | null;
  base: string;
  share: number;
  evaluation: string | null;
  status: string;
  reason: string | null;
  revision: number;
  outcomes: object;
  evidence: object;
}

/** Why a version of the hub goes on without a passed gate: it stands in the audit log, the release and the card. */
const override = (): Field => ({
  name: "override",
  label: "gateOverride",
  param: "gate_override",
  max: 128,
  hint: c("gateOverrideHint"),
});

const overridden = (reason = "") => reason && { gate_override: { reason } };

/** Names the revision that is shown, so that nobody changes what has changed since. */
function change(label: "pause" | "resume" | "promote" | "rollback", from: string[], question?: Key): Act<Release> {
  return {
    label,
    scope: "hub:write",
    danger: label === "rollback",
    when: ({ status }) => from.includes(status),
    ...(question && { question: ({ alias, target, base }) => c(question, { alias, target, base }) }),
    ...(label === "promote" && { fields: ({ version }) => (version ? [override()] : []) }),
    does: ({ id, revision }, { override }) =>
      json("POST", `/v1/hub/releases/${id}/${label}`, { body: { revision, ...overridden(override) } }),
  };
}

const list: List<Release> = {
  title: "releases",
  path: "/v1/hub/releases",
  filters: [{ name: "alias", label: "alias", max: 128 }],
  id: ({ id }) => id,
  name: ({ alias, target }) => `${alias}: ${target}`,
  columns: [
    { label: "alias", of: ({ alias }) => <Code>{alias}</Code> },
    { label: "target", of: ({ target }) => <Code>{target}</Code> },
    { label: "base", of: ({ base }) => <Code>{base}</Code> },
    { label: "share", number: true, of: ({ share }) => percent(share) },
    { label: "state", of: ({ status, reason }) => <><State of={status} />{reason && <> <Words>{reason}</Words></>}</> },
    { label: "created", of: ({ created_at }) => <Time at={created_at} /> },
    { label: "finished", of: ({ ended_at }) => <Time at={ended_at} /> },
  ],
  make: [
    {
      label: "beginRelease",
      scope: "hub:write",
      fields: () => [
        { name: "alias", label: "alias", required: true, max: 128, hint: c("managedAlias") },
        { name: "target", label: "target", hint: c("targetOrVersion") },
        { name: "version", label: "version", hint: c("targetOrVersion") },
        { name: "percent", label: "sharePercent", kind: "number", param: "share", hint: c("shareDefault") },
        { name: "evaluation", label: "evaluation", hint: c("evaluationHint") },
        override(),
      ],
      does: (_, { percent: share, override, ...rest }) => {
        const given = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== ""));
        const body = { ...given, ...(share && { share: Number(share) / 100 }), ...overridden(override) };
        return json("POST", "/v1/hub/releases", { body });
      },
    },
  ],
  acts: [
    { label: "details", shows: (release) => <Facts of={release} /> },
    change("promote", ["canary", "paused"], "promoteRelease"),
    change("pause", ["canary"]),
    change("resume", ["paused"]),
    change("rollback", ["canary", "paused", "promoted"], "rollbackRelease"),
  ],
};

export function Releases(): VNode {
  return <Listing list={list} />;
}
