// A conversation that somebody of the tenant shares: it is read, and nothing else can be done with it.

import type { VNode } from "preact";
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { ApiError } from "../api/http";
import { get, items, type Share } from "../api/shares";
import { Answer, Notes, Sources } from "../chat/message";
import { opened, type Reply } from "../chat/state";
import { CopyButton } from "../copy";
import { described } from "../described";
import { date, t } from "../i18n";
import { withoutMarks } from "../markdown/citations";
import { follow } from "../router";
import { read, type Shown } from "./read";

export function SharedView({ id }: { id: string }): VNode {
  const [share, setShare] = useState<Share | null>(null);
  const [shown, setShown] = useState<readonly Shown[]>([]);
  const [after, setAfter] = useState<string | null>(null);
  const [state, setState] = useState<"loading" | "ready" | "missing" | "failed">("loading");
  const [error, setError] = useState("");
  const busy = useRef(false);
  const load = async (from: string | null) => {
    // A second press would show the same items twice.
    if (busy.current) return;
    busy.current = true;
    try {
      const [about, page] = await Promise.all([get(id), items(id, from)]);
      setShare(about);
      setShown((before) => [...(from ? before : []), ...read(page.data)]);
      setAfter(page.has_more ? page.last_id : null);
      setState("ready");
    } catch (failed) {
      // A share can end while it is read: then nothing of it stays.
      const missing = failed instanceof ApiError && failed.status === 404;
      if (missing) setShown([]);
      setState(missing ? "missing" : "failed");
      setError(missing ? t("sharedMissing") : described(failed));
    } finally {
      busy.current = false;
    }
  };
  useEffect(() => {
    void load(null);
    return () => {
      opened.value = null;
    };
  }, []);
  return (
    <div class="column">
      <header class="head">
        <h1>{t("sharedConversation")}</h1>
        <a class="button end" href="/" onClick={follow}>{t("toChats")}</a>
      </header>
      <main class="talk">
        <div class="thread" tabIndex={0} role="region" aria-label={t("sharedConversation")}>
          <div class="messages">
            {share && state !== "missing" && (
              <p class="hint" dir="auto">{t("sharedBy", { name: share.owner, date: date(share.expires_at) })}</p>
            )}
            {shown.map((each) => <SharedMessage key={each.key} shown={each} />)}
            {after && state === "ready" && (
              <button type="button" class="quiet" onClick={() => load(after)}>{t("moreConversations")}</button>
            )}
            {state === "loading" && <p class="hint centre">{t("loading")}</p>}
            {(state === "missing" || state === "failed") && <p class="error centre" role="alert">{error}</p>}
            {state === "failed" && (
              <p class="centre"><button type="button" onClick={() => load(after)}>{t("retry")}</button></p>
            )}
          </div>
        </div>
      </main>
    </div>
  );
}

function SharedMessage({ shown }: { shown: Shown }): VNode {
  if (shown.kind === "withheld") return <p class="note withheld">{t("withheld")}</p>;
  if (shown.kind === "answer") return <SharedAnswer reply={shown.reply} />;
  return (
    <article class="question">
      <h2 class="spoken">{t("question")}</h2>
      {shown.text && <p dir="auto">{shown.text}</p>}
      {shown.attached && <p class="hint">{t("notShared")}</p>}
    </article>
  );
}

function SharedAnswer({ reply }: { reply: Reply }): VNode {
  const open = useCallback(
    (number: number) => {
      opened.value = { reply, number };
    },
    [reply],
  );
  return (
    <article class="answer">
      <h2 class="spoken">{t("answer")}</h2>
      <Answer reply={reply} open={open} />
      <footer>
        <Notes reply={reply} />
        <Sources reply={reply} open={open} />
        <div class="actions">
          {reply.document.text && <CopyButton text={() => withoutMarks(reply.document.text)} label={t("copyAnswer")} />}
        </div>
      </footer>
    </article>
  );
}
