// What an assistant did before its answer, folded; and calls of tools that wait for the reader.

import type { VNode } from "preact";
import { useState } from "preact/hooks";
import type { Approval, Step } from "../api/chat";
import { chosen } from "../api/models";
import { t } from "../i18n";
import { allow, running } from "./ask";
import { type Reply, status } from "./state";

/** The steps; while they come, their text. */
export function Steps({ reply }: { reply: Reply }): VNode | null {
  const { steps, thinking } = reply;
  if (!steps.length && !thinking) return null;
  return (
    <details class="steps">
      <summary>{steps.length ? t("steps", { count: steps.length }) : t("thinking")}</summary>
      {steps.length ? (
        <ol>{steps.map((step) => <StepView step={step} />)}</ol>
      ) : (
        <pre dir="auto">{thinking}</pre>
      )}
    </details>
  );
}

const KINDS = ["thought", "action", "observation", "program", "result", "vote", "switch", "limit", "approval", "node"] as const;

function StepView({ step }: { step: Step }): VNode {
  const kind = KINDS.find((each) => each === step.kind);
  return (
    <li>
      <strong>{kind ? t(`step_${kind}`) : step.kind}</strong>
      {step.name && <code dir="ltr">{step.name}</code>}
      <pre dir="auto">{readable(step.text)}</pre>
    </li>
  );
}

/** The calls with their arguments. Nothing is sent before one of the buttons. */
export function Approvals({ reply }: { reply: Reply }): VNode | null {
  const [decided, setDecided] = useState<string | null>(null);
  const calls = reply.approvals;
  if (!calls.length) return null;
  if (decided !== null) return decided ? <p class="note">{decided}</p> : null;
  const decide = (allowed: boolean) => {
    const expired = calls.some(({ expires_at }) => expires_at * 1000 <= Date.now());
    const said = !allowed ? t("notAllowed") : expired ? t("approvalExpired") : "";
    setDecided(said);
    if (said) status.value = said;
    else void allow(calls, reply.model || (chosen.peek()?.id ?? ""));
  };
  return (
    <section class="approvals" aria-label={t("approvals")}>
      <p>{t("approvalsHint")}</p>
      {calls.map((call) => <Call key={call.id} call={call} />)}
      <p class="buttons">
        <button type="button" onClick={() => decide(false)}>{t("deny")}</button>
        <button type="button" class="primary" disabled={running.value !== null} onClick={() => decide(true)}>
          {t("allow")}
        </button>
      </p>
    </section>
  );
}

function Call({ call }: { call: Approval }): VNode {
  return (
    <figure>
      <figcaption><code dir="ltr">{call.tool}</code></figcaption>
      <pre dir="ltr" tabIndex={0} aria-label={t("arguments", { tool: call.tool })}>{readable(call.arguments)}</pre>
    </figure>
  );
}

/** Returns JSON on several lines, and any other text as it is, with signs for what turns the direction of text. */
function readable(text: string): string {
  let shown = text;
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null) shown = JSON.stringify(value, null, 2);
  } catch {
    // It is no JSON.
  }
  return shown.replace(/[\u202a-\u202e\u2066-\u2069]/g, "\ufffd");
}
