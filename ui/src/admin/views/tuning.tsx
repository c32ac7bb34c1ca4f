// Jobs that tune models.

import type { VNode } from "preact";
import { json } from "../../api/http";
import { c } from "../../i18n/console";
import type { List } from "../list";
import { Listing } from "../listing";
import { Loaded } from "../loaded";
import { Code, Facts, number, State, Time, Words } from "../values";

interface TuningJob {
  id: string;
  method: string;
  name: string;
  base: string;
  dataset: string | null;
  status: string;
  stage: string;
  step: number;
  steps: number;
  version: string | null;
  error: { code: string; message: string } | null;
  created_at: number;
  finished_at: number | null;
}

const list: List<TuningJob> = {
  title: "tuningJobs",
  path: "/v1/hub/jobs",
  unfinished: ({ status }) => status === "queued" || status === "running",
  id: ({ id }) => id,
  name: ({ name, id }) => `${name} ${id}`,
  columns: [
    { label: "name", of: ({ name, id }) => <><Code>{name}</Code> <Code>{id}</Code></> },
    { label: "method", of: ({ method }) => <Code>{method}</Code> },
    { label: "base", of: ({ base }) => <Code>{base}</Code> },
    { label: "state", of: ({ status, stage }) => <><State of={status} />{stage && <> <Words>{stage}</Words></>}</> },
    { label: "progress", number: true, of: ({ step, steps }) => (steps ? `${number(step)} / ${number(steps)}` : "–") },
    { label: "reason", of: ({ error }) => <Words>{error && `${error.message} (${error.code})`}</Words> },
    { label: "version", of: ({ version }) => <Code>{version}</Code> },
    { label: "created", of: ({ created_at }) => <Time at={created_at} /> },
  ],
  acts: [
    { label: "details", shows: (job) => <Facts of={job} /> },
    { label: "events", shows: ({ id }) => <Events id={id} /> },
    {
      label: "cancelJob",
      scope: "hub:write",
      danger: true,
      when: ({ status }) => status === "queued" || status === "running",
      question: ({ name, id }) => c("cancelJobOf", { name: `${name} ${id}` }),
      does: ({ id }) => json("POST", `/v1/hub/jobs/${id}/cancel`),
    },
  ],
};

const NEWEST = 200;

function Events({ id }: { id: string }): VNode {
  const newest = (events: object[]) => ({ events: events.slice(-NEWEST).reverse() });
  const shows = ({ data }: { data: object[] }) => <Facts of={newest(data)} />;
  return <Loaded<{ data: object[] }> path={`/v1/hub/jobs/${id}/events`} shows={shows} />;
}

export function Tuning(): VNode {
  return <Listing list={list} />;
}
