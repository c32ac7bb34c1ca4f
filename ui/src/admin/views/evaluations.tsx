// Evaluations: models scored by suites, with the decision of the gate.

import type { VNode } from "preact";
import { json } from "../../api/http";
import { c } from "../../i18n/console";
import type { List } from "../list";
import { Listing } from "../listing";
import { Code, Facts, number, State, Time } from "../values";

interface Evaluation {
  id: string;
  created_at: number;
  ended_at: number | null;
  suite: string;
  model: string;
  against: string | null;
  status: string;
  done: number;
  error: string | null;
  card: { gate?: { passed: boolean } | null } | null;
}

const list: List<Evaluation> = {
  title: "evaluations",
  path: "/v1/hub/evaluations",
  unfinished: ({ status }) => status === "queued" || status === "running",
  id: ({ id }) => id,
  name: ({ model, id }) => `${model} ${id}`,
  columns: [
    { label: "model", of: ({ model }) => <Code>{model}</Code> },
    { label: "against", of: ({ against }) => <Code>{against}</Code> },
    { label: "suite", of: ({ suite }) => <Code>{suite}</Code> },
    { label: "state", of: ({ status, error }) => <><State of={status} />{error && <> <bdi>{error}</bdi></>}</> },
    { label: "gate", of: ({ card }) => (card?.gate ? c(card.gate.passed ? "passed" : "notPassed") : "–") },
    { label: "answers", number: true, of: ({ done }) => number(done) },
    { label: "created", of: ({ created_at }) => <Time at={created_at} /> },
    { label: "finished", of: ({ ended_at }) => <Time at={ended_at} /> },
  ],
  make: [
    {
      label: "beginEvaluation",
      scope: "hub:write",
      fields: () => [
        { name: "suite", label: "suite", required: true, max: 64 },
        { name: "model", label: "model", required: true },
        { name: "against", label: "against", hint: c("gateNeeds") },
      ],
      does: (_, { suite, model, against }) =>
        json("POST", "/v1/hub/evaluations", { body: { suite, model, ...(against && { against }) } }),
    },
  ],
  acts: [
    { label: "card", shows: (evaluation) => <Facts of={evaluation} /> },
    {
      label: "cancelJob",
      scope: "hub:write",
      danger: true,
      when: ({ status }) => status === "queued" || status === "running",
      question: ({ model, id }) => c("cancelJobOf", { name: `${model} ${id}` }),
      does: ({ id }) => json("POST", `/v1/hub/evaluations/${id}/cancel`),
    },
  ],
};

export function Evaluations(): VNode {
  return <Listing list={list} />;
}
