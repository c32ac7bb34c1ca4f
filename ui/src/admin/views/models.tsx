// Models with their replicas, and aliases with their targets. Both belong to the configuration, whose lines are shown.

import type { VNode } from "preact";
import { c } from "../../i18n/console";
import type { List } from "../list";
import { Listing } from "../listing";
import { Code, Facts, Lines, number, percent, State, YesNo } from "../values";
import { yaml } from "../yaml";

export interface Model {
  id: string;
  engine: string;
  task: string;
  context: number | null;
  adapters: { id: string; live: boolean }[];
  aliases: string[];
  price: object | null;
  replicas: { wanted: number; ready: number | null } | null;
}

interface Alias {
  id: string;
  managed: boolean;
  pinned: boolean;
  targets: { model: string; adapts: string | null; weight: number; share: number }[];
  release: { id: string; status: string; target: string; share: number } | null;
}

/** Returns the state of a model: the stack knows none of an endpoint that it does not run. */
export function health({ replicas }: Model): string {
  if (!replicas) return "remote";
  if (replicas.ready === null) return "unknown";
  if (replicas.ready >= replicas.wanted) return "ready";
  return replicas.ready ? "starting" : "failed";
}

const models: List<Model> = {
  title: "models",
  path: "/v1/admin/models",
  id: ({ id }) => id,
  columns: [
    { label: "name", of: ({ id }) => <Code>{id}</Code> },
    { label: "engine", of: ({ engine }) => <Code>{engine}</Code> },
    { label: "task", of: ({ task }) => <Code>{task}</Code> },
    { label: "state", of: (model) => <State of={health(model)} /> },
    {
      label: "replicas",
      number: true,
      of: ({ replicas }) => (replicas ? `${number(replicas.ready)} / ${number(replicas.wanted)}` : "–"),
    },
    { label: "adapters", number: true, of: ({ adapters }) => number(adapters.filter(({ live }) => live).length) },
    { label: "aliases", of: (model) => <Code>{model.aliases.join(", ")}</Code> },
    { label: "context", number: true, of: ({ context }) => number(context) },
  ],
  acts: [
    { label: "details", shows: (model) => <Facts of={model} /> },
    { label: "edit", shows: ({ id, engine }) => <Edit lines={yaml({ "headrace:models": [{ name: id, engine }] })} /> },
  ],
};

const aliases: List<Alias> = {
  title: "aliases",
  path: "/v1/admin/aliases",
  id: ({ id }) => id,
  columns: [
    { label: "name", of: ({ id }) => <Code>{id}</Code> },
    { label: "managed", of: ({ managed }) => <YesNo of={managed} /> },
    {
      label: "targets",
      of: ({ targets }) => (
        <ul class="plain">
          {targets.map(({ model, share }) => <li key={model}><Code>{model}</Code> {percent(share)}</li>)}
        </ul>
      ),
    },
    { label: "pinned", of: ({ pinned }) => <YesNo of={pinned} /> },
    {
      label: "release",
      of: ({ release }) => (release ? <><Code>{release.target}</Code> <State of={release.status} /></> : "–"),
    },
  ],
  acts: [{ label: "edit", shows: (alias) => <Edit lines={configured(alias)} /> }],
};

/** Releases may have changed the targets of a managed alias, so its own lines are only named. */
function configured({ id, managed, targets }: Alias): string {
  const fixed = { targets: targets.map(({ model, weight }) => ({ model, weight })) };
  const lines = yaml({ "headrace:aliases": [{ name: id, ...(!managed && fixed) }] });
  return managed ? `${lines}\n    managed:  # base, max_canary, auto_promote, guards, max_hours, pin` : lines;
}

function Edit({ lines }: { lines: string }): VNode {
  return (
    <>
      <p>{c("editLines")}</p>
      <Lines>{lines}</Lines>
    </>
  );
}

export function Models(): VNode {
  return (
    <>
      <Listing list={models} />
      <h2>{c("aliases")}</h2>
      <Listing list={aliases} inside />
    </>
  );
}
