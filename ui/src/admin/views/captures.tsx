// Answers whose authors consented to their use. Each that is opened is recorded in the audit log.

import type { VNode } from "preact";
import { c } from "../../i18n/console";
import { tenant } from "../address";
import { withQuery } from "../answer";
import type { List } from "../list";
import { Listing } from "../listing";
import { Loaded } from "../loaded";
import { Code, Facts, number, State, Time, Words } from "../values";

interface Capture {
  id: string;
  created_at: number;
  requested: string;
  assistant: string | null;
  model: string;
  adapter: string | null;
  outcome: string;
  up: number;
  down: number;
}

interface Read extends Capture {
  messages: { role: string; content: unknown }[];
  answer: { content: string | null; refusal: string | null; tool_calls: object[] }[];
  passages: object[];
  ratings: object[];
}

const one = (id: string) => withQuery(`/v1/admin/captures/${encodeURIComponent(id)}`, { tenant: tenant.value });

const list: List<Capture> = {
  title: "captures",
  path: "/v1/admin/captures",
  tenants: true,
  filters: [
    { name: "assistant", label: "assistant" },
    { name: "model", label: "model" },
    { name: "thumb", label: "thumb", kind: "choice", choices: ["up", "down"] },
    { name: "start", label: "from", kind: "start" },
    { name: "end", label: "until", kind: "end" },
  ],
  id: ({ id }) => id,
  columns: [
    { label: "time", of: ({ created_at }) => <Time at={created_at} /> },
    { label: "requested", of: ({ requested }) => <Code>{requested}</Code> },
    { label: "model", of: ({ model, adapter }) => <Code>{adapter ?? model}</Code> },
    { label: "outcome", of: ({ outcome }) => <State of={outcome} /> },
    { label: "good", number: true, of: ({ up }) => number(up) },
    { label: "bad", number: true, of: ({ down }) => number(down) },
  ],
  acts: [{ label: "read", shows: ({ id }) => <Loaded<Read> path={one(id)} shows={Reading} /> }],
};

function Reading({ messages, answer, passages, ratings }: Read): VNode {
  return (
    <>
      <p class="hint">{c("readAudited")}</p>
      {messages.map(({ role, content }, place) => (
        <section key={place} class="said">
          <h3><Code>{role}</Code></h3>
          <Content of={content} />
        </section>
      ))}
      <section class="said">
        <h3>{c("answer")}</h3>
        {answer.map(({ content, refusal, tool_calls }, place) => (
          <div key={place}>
            <Content of={content ?? refusal ?? ""} />
            {tool_calls.length > 0 && <Facts of={{ tool_calls }} />}
          </div>
        ))}
      </section>
      {(passages.length > 0 || ratings.length > 0) && <Facts of={{ passages, ratings }} />}
    </>
  );
}

function Content({ of }: { of: unknown }): VNode {
  if (typeof of === "string") return <p dir="auto"><Words>{of}</Words></p>;
  return <Facts of={{ content: of }} />;
}

export function Captures(): VNode {
  return <Listing list={list} />;
}
