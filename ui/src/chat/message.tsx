// One message: a question, or an answer with what can be done about it.

import { computed } from "@preact/signals";
import type { VNode } from "preact";
import { useCallback, useMemo, useState } from "preact/hooks";
import { chosen } from "../api/models";
import { CopyButton } from "../copy";
import { t } from "../i18n";
import { Icon } from "../icons";
import { withoutMarks } from "../markdown/citations";
import { BlockView } from "../markdown/render";
import { again, branch, described, running } from "./ask";
import { QuestionView } from "./question";
import { Rating } from "./rating";
import { type Message, opened, questionOf, type Reply } from "./state";
import { Approvals, Steps } from "./steps";

export function MessageView({ message }: { message: Message }): VNode {
  return message.kind === "question" ? <QuestionView question={message} /> : <ReplyView reply={message} />;
}

function ReplyView({ reply }: { reply: Reply }): VNode {
  const open = useCallback(
    (number: number) => {
      opened.value = { reply, number };
    },
    [reply],
  );
  reply.version.value;
  const writing = reply.status.value === "writing";
  return (
    <article class="answer" aria-busy={writing}>
      {reply.model ? (
        <h2 class="who" dir="auto" aria-label={t("answerOf", { name: reply.model })}>{reply.model}</h2>
      ) : (
        <h2 class="spoken">{t("answer")}</h2>
      )}
      <Steps reply={reply} />
      <Answer reply={reply} open={open} />
      {!writing && <Foot reply={reply} open={open} />}
    </article>
  );
}

interface Opening {
  reply: Reply;
  open: (number: number) => void;
}

/** The text of an answer, with marks that open its sources. */
export function Answer({ reply, open }: Opening): VNode {
  // Each part of an answer follows it alone: the same properties draw nothing anew.
  reply.version.value;
  const { frozen, open: tail } = reply.document;
  return (
    <div class="text">
      {frozen.map((block) => <BlockView key={block.key} block={block} open={open} />)}
      {tail.map((block) => <BlockView key={block.key} block={block} open={open} />)}
      {reply.status.value === "writing" && !frozen.length && !tail.length && <Waiting />}
    </div>
  );
}

function Waiting(): VNode {
  return (
    <p class="waiting" role="img" aria-label={t("answering")}>
      <span /><span /><span />
    </p>
  );
}

/** Why an answer ended early, and what no document supports. */
export function Notes({ reply }: { reply: Reply }): VNode {
  reply.version.value;
  const status = reply.status.value;
  const notes = {
    stopped: t("stopped"),
    dropped: t("stoppedNotKept"),
    lost: t("lost"),
    failed: reply.error,
    done: { length: t("cut"), incomplete: t("incomplete"), content_filter: t("filtered") }[reply.reason],
    writing: undefined,
  }[status];
  return (
    <>
      {notes && <p class={status === "failed" || status === "lost" ? "error" : "note"} dir="auto">{notes}</p>}
      {reply.unsupported > 0 && (
        <p class="note">
          <span class="unsupported" aria-hidden="true">?</span>{" "}
          {reply.unsupported === 1 ? t("unsupportedOne") : t("unsupportedMany", { count: reply.unsupported })}
        </p>
      )}
    </>
  );
}

export function Sources({ reply, open }: Opening): VNode | null {
  reply.version.value;
  if (!reply.sources.length) return null;
  return (
    <ul class="sources" aria-label={t("sources")}>
      {reply.sources.map(({ number, title }) => (
        <li key={number}>
          <button type="button" dir="auto" aria-label={t("sourceNamed", { number, title })} onClick={() => open(number)}>
            <span class="number">{number}</span>
            <span class="title">{title}</span>
          </button>
        </li>
      ))}
    </ul>
  );
}

function Foot({ reply, open }: Opening): VNode {
  const status = reply.status.value;
  const [failure, setFailure] = useState("");
  const idle = useMemo(() => computed(() => running.value === null), []);
  return (
    <footer>
      <Notes reply={reply} />
      <Sources reply={reply} open={open} />
      <Approvals reply={reply} />
      {failure && <p class="error" role="alert">{failure}</p>}
      <div class="actions">
        {reply.document.text && (
          <CopyButton text={() => withoutMarks(reply.document.text)} label={t("copyAnswer")} />
        )}
        {(status === "failed" || status === "lost" || status === "dropped") && reply.question && idle.value && (
          <button type="button" class="small" onClick={() => again(reply, chosen.peek()?.id ?? "")}>
            <Icon name="again" />
            {t("again")}
          </button>
        )}
        {status !== "failed" && status !== "lost" && status !== "dropped" && questionOf(reply)?.item.value && (
          <button
            type="button"
            class="icon"
            aria-label={t("regenerate")}
            title={t("regenerate")}
            disabled={!idle.value}
            onClick={() => regenerate(reply).then(setFailure)}
          >
            <Icon name="again" />
          </button>
        )}
        {reply.target && <Rating reply={reply} />}
      </div>
    </footer>
  );
}

/** Asks for another answer in another version; returns why there is none. */
async function regenerate(reply: Reply): Promise<string> {
  const question = questionOf(reply);
  const model = chosen.peek();
  if (!question || !model) return "";
  try {
    await branch(question, question.text, model.id);
    return "";
  } catch (error) {
    return described(error);
  }
}
