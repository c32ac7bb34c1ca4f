// Background jobs: what waits, what runs and what failed.

import type { VNode } from "preact";
import { json } from "../../api/http";
import { c } from "../../i18n/console";
import { tenant } from "../address";
import { withQuery } from "../answer";
import type { List } from "../list";
import { Listing } from "../listing";
import { Code, number, State, Time, Words } from "../values";

export interface Job {
  id: string;
  kind: string;
  /** What it is about; the name is null where its reader may not read the thing. */
  subjects: { type: string; id: string; name: string | null }[];
  status: string;
  attempts: number;
  max_attempts: number;
  done: number;
  total: number;
  error_code: string | null;
  created_at: number;
  started_at: number | null;
  finished_at: number | null;
  cancel_requested: boolean;
  cancellable: boolean;
}

const STATES = ["queued", "running", "succeeded", "failed", "cancelled"];

/** What jobs are about, by its name where there is one. */
export function Subjects({ of: { subjects } }: { of: Job }): VNode {
  return (
    <>
      {subjects.length ? null : "–"}
      {subjects.map(({ type, id, name }) => (
        <div key={id} title={id}><span class="hint">{type}</span> {name === null ? <Code>{id}</Code> : <Words>{name}</Words>}</div>
      ))}
    </>
  );
}

/** Its first subject's name, if it has one, and its id. */
const called = ({ kind, id, subjects }: Job) => [kind, subjects[0]?.name, id].filter(Boolean).join(" ");

const list: List<Job> = {
  title: "jobs",
  path: "/v1/admin/jobs",
  tenants: true,
  filters: [
    { name: "status", label: "state", kind: "choice", choices: STATES },
    { name: "kind", label: "kind", max: 64 },
  ],
  unfinished: ({ status }) => status === "queued" || status === "running",
  id: ({ id }) => id,
  name: called,
  columns: [
    { label: "kind", of: ({ kind, id }) => <><Code>{kind}</Code> <Code>{id}</Code></> },
    { label: "subject", of: (job) => <Subjects of={job} /> },
    { label: "state", of: (job) => <><State of={job.status} />{job.cancel_requested && <> {c("cancelRequested")}</>}</> },
    { label: "progress", number: true, of: ({ done, total }) => (total ? `${number(done)} / ${number(total)}` : "–") },
    { label: "attempts", number: true, of: (job) => `${number(job.attempts)} / ${number(job.max_attempts)}` },
    { label: "reason", of: ({ error_code }) => <Code>{error_code}</Code> },
    { label: "created", of: ({ created_at }) => <Time at={created_at} /> },
    { label: "finished", of: ({ finished_at }) => <Time at={finished_at} /> },
  ],
  acts: [
    {
      label: "cancelJob",
      scope: "admin",
      danger: true,
      when: ({ cancellable, cancel_requested }) => cancellable && !cancel_requested,
      question: (job) => c("cancelJobOf", { name: called(job) }),
      does: ({ id }) => json("POST", withQuery(`/v1/admin/jobs/${id}/cancel`, { tenant: tenant.value })),
    },
  ],
};

export function Jobs(): VNode {
  return <Listing list={list} />;
}
