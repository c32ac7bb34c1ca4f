// Erasures of users: counted first, then started, followed, and kept as a receipt.

import type { VNode } from "preact";
import { json } from "../../api/http";
import { c } from "../../i18n/console";
import { tenant } from "../address";
import { withQuery } from "../answer";
import type { List } from "../list";
import { Listing } from "../listing";
import { Loaded } from "../loaded";
import { Code, Facts, number, State, Time, Words } from "../values";

interface Erasure {
  id: string;
  created_at: number;
  finished_at: number | null;
  user: string | null;
  subject: string | null;
  dry_run: boolean;
  status: string;
  step: string;
  counts: Record<string, number> | null;
  error: string | null;
}

const begin = (user: string | undefined, dry_run: boolean) =>
  json("POST", withQuery("/v1/admin/erasures", { tenant: tenant.value }), { body: { user, dry_run } });
const total = (counts: Erasure["counts"]) => counts && Object.values(counts).reduce((sum, each) => sum + each, 0);

const list: List<Erasure> = {
  title: "erasures",
  path: "/v1/admin/erasures",
  tenants: true,
  unfinished: ({ status }) => status === "queued" || status === "running",
  id: ({ id }) => id,
  name: ({ user, subject, id }) => user ?? subject ?? id,
  columns: [
    { label: "user", of: ({ user, subject }) => (user ? <Words>{user}</Words> : <Code>{subject}</Code>) },
    { label: "kind", of: ({ dry_run }) => c(dry_run ? "counting" : "erasing") },
    { label: "state", of: ({ status, step, error }) => <><State of={status} /> <bdi>{error ?? step}</bdi></> },
    { label: "objects", number: true, of: ({ counts }) => number(total(counts)) },
    { label: "created", of: ({ created_at }) => <Time at={created_at} /> },
    { label: "finished", of: ({ finished_at }) => <Time at={finished_at} /> },
  ],
  make: [
    {
      label: "countData",
      question: () => c("countFirst"),
      fields: () => [{ name: "user", label: "user", required: true }],
      does: (_, { user }) => begin(user, true),
    },
    {
      label: "eraseUser",
      danger: true,
      question: () => c("eraseWarning"),
      fields: () => [
        { name: "user", label: "user", required: true },
        { name: "again", label: "userAgain", required: true, same: "user" },
      ],
      does: (_, { user }) => begin(user, false),
    },
  ],
  acts: [{ label: "receipt", shows: ({ id }) => <Receipt id={id} /> }],
};

function Receipt({ id }: { id: string }): VNode {
  const path = withQuery(`/v1/admin/erasures/${encodeURIComponent(id)}`, { tenant: tenant.value });
  const said = ({ status, dry_run }: Erasure) =>
    c(status !== "succeeded" ? "notErasedYet" : dry_run ? "countedOnly" : "erasedWhole");
  return <Loaded<Erasure> path={path} shows={(found) => <><p>{said(found)}</p><Facts of={found} /></>} />;
}

export function Erasures(): VNode {
  return <Listing list={list} />;
}
