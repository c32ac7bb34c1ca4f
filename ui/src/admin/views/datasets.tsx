// Exports of rated answers, as data sets of the hub: rows of answers whose authors consented.

import type { VNode } from "preact";
import { json } from "../../api/http";
import { c } from "../../i18n/console";
import type { List } from "../list";
import { Listing } from "../listing";
import { Code, Facts, number, State, Time, Words } from "../values";

interface Dataset {
  id: string;
  format: string;
  status: string;
  reason: string | null;
  digest: string | null;
  counts: Record<string, number>;
  manifest: object;
  created_at: number;
  created_by: string | null;
}

const FORMATS = ["trl-sft", "trl-preference", "trl-unpaired-preference", "openai-chat", "openai-preference"];

const list: List<Dataset> = {
  title: "exports",
  path: "/v1/hub/datasets",
  unfinished: ({ status }) => status === "building",
  id: ({ id }) => id,
  columns: [
    { label: "id", of: ({ id }) => <Code>{id}</Code> },
    { label: "format", of: ({ format }) => <Code>{format}</Code> },
    { label: "state", of: ({ status, reason }) => <><State of={status} />{reason && <> <Words>{reason}</Words></>}</> },
    {
      label: "rows",
      of: ({ counts }) => {
        const splits = Object.entries(counts).map(([split, rows]) => `${split} ${number(rows)}`);
        return <bdi>{splits.join(", ") || "–"}</bdi>;
      },
    },
    { label: "createdBy", of: ({ created_by }) => <Words>{created_by}</Words> },
    { label: "created", of: ({ created_at }) => <Time at={created_at} /> },
  ],
  make: [
    {
      label: "createExport",
      scope: "hub:write",
      question: () => c("exportConsent"),
      fields: () => [
        { name: "format", label: "format", kind: "choice", choices: FORMATS, required: true, value: "trl-sft" },
        { name: "assistant", label: "assistant", max: 64, hint: c("optional") },
        { name: "model", label: "model", hint: c("optional") },
      ],
      does: (_, { format, assistant, model }) =>
        json("POST", "/v1/hub/datasets", { body: { format, ...(assistant && { assistant }), ...(model && { model }) } }),
    },
  ],
  acts: [
    { label: "details", shows: (dataset) => <Facts of={dataset} /> },
    {
      label: "delete",
      scope: "hub:write",
      danger: true,
      when: ({ status }) => status === "ready",
      question: ({ id }) => c("deleteExport", { name: id }),
      does: ({ id }) => json("DELETE", `/v1/hub/datasets/${id}`),
    },
  ],
};

export function Datasets(): VNode {
  return <Listing list={list} />;
}
