// What can be done with a conversation of the list: another title, the top of the list, the archive, deletion.

import type { VNode } from "preact";
import { useState } from "preact/hooks";
import type { Conversation, State } from "../api/conversations";
import { t } from "../i18n";
import { useModal } from "../modal";
import { go } from "../router";
import { described } from "./ask";
import type { Format } from "../own/export";
import { Receipt } from "../own/receipt";
import { save } from "../own/save";
import { change, remove } from "./list";
import { conversation as shown } from "./state";

interface Props {
  conversation: Conversation;
  close: () => void;
  share: () => void;
}

/** The button that was pressed is gone: the focus goes where the reader goes on. */
function focused(button: HTMLButtonElement | null): void {
  button?.focus();
}

export function ConversationDialog({ conversation, close, share }: Props): VNode {
  const { id, headrace } = conversation;
  const dialog = useModal();
  const [title, setTitle] = useState(headrace.title ?? "");
  const [sure, setSure] = useState(false);
  const [gone, setGone] = useState<readonly string[]>([]);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");
  const after = async (work: () => Promise<unknown>) => {
    try {
      await work();
      dialog.current?.close();
    } catch (failed) {
      setError(described(failed));
    }
  };
  const set = (state: Partial<State>) => after(() => change(id, state));
  const saved = (format: Format) => async () => {
    setBusy(true);
    setError("");
    try {
      await save(conversation, format);
      dialog.current?.close();
    } catch (failed) {
      setError(t("notSaved", { reason: described(failed) }));
    }
    setBusy(false);
  };
  const deleted = async () => {
    try {
      await remove(id, (each) => {
        if (shown.peek() === each) go("/");
        setGone((before) => [...before, each]);
      });
    } catch (failed) {
      setError(described(failed));
    }
  };
  return (
    <dialog ref={dialog} class="small" aria-labelledby="conversation" onClose={close}>
      <h2 id="conversation" dir="auto">{headrace.title || t("untitled")}</h2>
      {gone.length ? (
        <>
          {gone.map((each) => <Receipt key={each} id={each} />)}
          <p class="buttons">
            <button ref={focused} type="button" class="primary" onClick={() => dialog.current?.close()}>{t("close")}</button>
          </p>
        </>
      ) : sure ? (
        <>
          <p>{t("confirmDelete")}</p>
          <p class="buttons">
            <button type="button" onClick={() => dialog.current?.close()}>{t("cancel")}</button>
            <button type="button" class="danger" onClick={deleted}>{t("delete")}</button>
          </p>
        </>
      ) : (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            void set({ title: title.trim() });
          }}
        >
          <label for="title">{t("title")}</label>
          <div class="row">
            <input
              id="title"
              dir="auto"
              maxLength={256}
              value={title}
              onInput={(event) => setTitle(event.currentTarget.value)}
            />
            <button type="submit" class="primary">{t("save")}</button>
          </div>
          <p class="buttons">
            <button type="button" onClick={share}>{t("share")}</button>
            <button type="button" disabled={busy} onClick={saved("md")}>{t("saveMarkdown")}</button>
            <button type="button" disabled={busy} onClick={saved("json")}>{t("saveJson")}</button>
          </p>
          <p class="buttons">
            <button type="button" onClick={() => set({ pinned: !headrace.pinned })}>
              {t(headrace.pinned ? "unpin" : "pin")}
            </button>
            <button type="button" onClick={() => set({ archived: !headrace.archived })}>
              {t(headrace.archived ? "unarchive" : "toArchive")}
            </button>
            <button type="button" class="risky" onClick={() => setSure(true)}>{t("delete")}</button>
          </p>
        </form>
      )}
      {error && <p class="error" role="alert">{error}</p>}
    </dialog>
  );
}
