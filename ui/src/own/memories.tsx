// What assistants remember about the reader, who can make them forget it.

import type { VNode } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Page } from "../api/conversations";
import { json } from "../api/http";
import { described } from "../chat/ask";
import { status } from "../chat/state";
import { date, t } from "../i18n";
import { OwnDialog } from "./dialog";
import { Receipt } from "./receipt";

interface Memory {
  id: string;
  created_at: number;
  assistant: string;
  text: string;
}

const PATH = "/v1/memories";

export function Memories({ close }: { close: () => void }): VNode {
  const [memories, setMemories] = useState<readonly Memory[] | null>(null);
  const [after, setAfter] = useState<string | null>(null);
  const [sure, setSure] = useState(false);
  const [receipt, setReceipt] = useState<string | null>(null);
  const [error, setError] = useState("");
  const load = async (from: string | null) => {
    try {
      const query = new URLSearchParams({ limit: "50", ...(from && { after: from }) });
      const page = await json<Page<Memory>>("GET", `${PATH}?${query}`);
      setMemories((before) => [...(from ? (before ?? []) : []), ...page.data]);
      setAfter(page.has_more ? page.last_id : null);
    } catch (failed) {
      setError(described(failed));
    }
  };
  useEffect(() => void load(null), []);
  const forget = async (path: string, left: (all: readonly Memory[]) => readonly Memory[]) => {
    setError("");
    try {
      const gone = await json<{ id: string | null }>("DELETE", path);
      setReceipt(gone.id);
      setMemories((all) => left(all ?? []));
      status.value = t("forgotten");
    } catch (failed) {
      setError(described(failed));
    }
  };
  return (
    <OwnDialog id="memories" title={t("memories")} close={close}>
      <p class="hint">{t("memoriesHint")}</p>
      {error && <p class="error" role="alert">{error}</p>}
      {receipt && <Receipt key={receipt} id={receipt} />}
      {memories === null && !error && <p class="hint">{t("loading")}</p>}
      {memories?.length === 0 && <p>{t("noMemories")}</p>}
      <ul class="memories">
        {memories?.map(({ id, text, assistant, created_at }) => (
          <li key={id}>
            <p dir="auto">{text}</p>
            <p class="hint">{`${assistant} · ${date(created_at)}`}</p>
            <button
              type="button"
              aria-label={t("forgetThis", { text: text.slice(0, 80) })}
              onClick={() => forget(`${PATH}/${encodeURIComponent(id)}`, (all) => all.filter((each) => each.id !== id))}
            >
              {t("forget")}
            </button>
          </li>
        ))}
      </ul>
      {after && <button type="button" onClick={() => load(after)}>{t("moreConversations")}</button>}
      {sure && (
        <>
          <p>{t("confirmForget")}</p>
          <p class="buttons">
            <button type="button" onClick={() => setSure(false)}>{t("cancel")}</button>
            <button
              type="button"
              class="danger"
              onClick={() => {
                setSure(false);
                setAfter(null);
                void forget(PATH, () => []);
              }}
            >
              {t("forgetAll")}
            </button>
          </p>
        </>
      )}
      {!sure && !!memories?.length && (
        <p class="buttons">
          <button type="button" class="danger" onClick={() => setSure(true)}>{t("forgetAll")}</button>
        </p>
      )}
    </OwnDialog>
  );
}
