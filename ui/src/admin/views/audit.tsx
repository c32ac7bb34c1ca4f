// The audit log: who did what, whether the log was changed, and all of it as a file.

import type { VNode } from "preact";
import { c } from "../../i18n/console";
import { tenant } from "../address";
import { withQuery } from "../answer";
import type { List } from "../list";
import { Listing } from "../listing";
import { Loaded } from "../loaded";
import { Code, Facts, State, Time } from "../values";

interface AuditEvent {
  id: string;
  created_at: number;
  action: string;
  outcome: string;
  actor: string | null;
  key_id: string | null;
  target: string | null;
  subject: string | null;
  detail: Record<string, unknown> | null;
}

const list: List<AuditEvent> = {
  title: "audit",
  path: "/v1/admin/audit",
  tenants: true,
  exports: "/v1/admin/audit/export",
  filters: [
    { name: "action", label: "action", max: 64 },
    { name: "user", label: "user" },
    { name: "outcome", label: "outcome", kind: "choice", choices: ["ok", "denied"] },
    { name: "start", label: "from", kind: "start" },
    { name: "end", label: "until", kind: "end" },
  ],
  id: ({ id }) => id,
  name: ({ action, id }) => `${action} ${id}`,
  columns: [
    { label: "time", of: ({ created_at }) => <Time at={created_at} /> },
    { label: "action", of: ({ action }) => <Code>{action}</Code> },
    { label: "outcome", of: ({ outcome }) => <State of={outcome} /> },
    { label: "actor", of: ({ actor, key_id }) => <Code>{actor ?? key_id}</Code> },
    { label: "target", of: ({ target }) => <Code>{target}</Code> },
    { label: "subject", of: ({ subject }) => <Code>{subject}</Code> },
  ],
  make: [{ label: "verify", shows: () => <Verification /> }],
  acts: [{ label: "details", shows: (event) => <Facts of={event} /> }],
};

interface Verified {
  valid: boolean;
  events: number;
  unchecked: number;
  last: { seq: number; hash: string };
  problems: { seq: number; message: string }[];
}

function Verification(): VNode {
  const path = withQuery("/v1/admin/audit/verify", { tenant: tenant.value });
  return <Loaded<Verified> path={path} waiting="verifying" shows={(found) => <Found {...found} />} />;
}

function Found({ valid, events, unchecked, last, problems }: Verified): VNode {
  return (
    <>
      <p role="status" class={valid ? "verified" : "error"}>{c(valid ? "logValid" : "logChanged", { events })}</p>
      {unchecked > 0 && <p class="error">{c("logUnchecked", { unchecked })}</p>}
      <Facts of={{ last, problems }} />
    </>
  );
}

export function Audit(): VNode {
  return <Listing list={list} />;
}
