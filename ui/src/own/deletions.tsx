// What the reader deleted, with receipts, and the deletion of all conversations.

import type { VNode } from "preact";
import { useEffect, useState } from "preact/hooks";
import { removeAll } from "../chat/list";
import { type Deletion, list } from "../api/deletions";
import { described } from "../described";
import { t } from "../i18n";
import { go } from "../router";
import { OwnDialog } from "./dialog";
import { ReceiptView } from "./receipt";

const focus = (button: HTMLElement | null) => button?.focus();

export function Deletions({ close }: { close: () => void }): VNode {
  const [receipts, setReceipts] = useState<readonly Deletion[] | null>(null);
  const [after, setAfter] = useState<string | null>(null);
  const [sure, setSure] = useState(false);
  const [error, setError] = useState("");
  const load = async (from: string | null) => {
    try {
      const page = await list(from);
      setReceipts((before) => [...(from ? (before ?? []) : []), ...page.data]);
      setAfter(page.has_more ? page.last_id : null);
    } catch (failed) {
      setError(described(failed));
    }
  };
  const again = (from: string | null) => {
    setError("");
    void load(from);
  };
  useEffect(() => void load(null), []);
  const deleteAll = async () => {
    setSure(false);
    setError("");
    try {
      await removeAll();
      go("/");
    } catch (failed) {
      setError(described(failed));
    }
    // Also one that broke off has a receipt.
    await load(null);
  };
  return (
    <OwnDialog id="deletions" title={t("deletions")} close={close}>
      <p class="hint">{t("deletionsHint")}</p>
      {error && <p class="error" role="alert">{error}</p>}
      {receipts === null && error && <button type="button" onClick={() => again(null)}>{t("retry")}</button>}
      {receipts === null && !error && <p class="hint">{t("loading")}</p>}
      {receipts?.length === 0 && <p>{t("noDeletions")}</p>}
      <ul class="memories">
        {receipts?.map((each) => <li key={each.id}><ReceiptView of={each} /></li>)}
      </ul>
      {after && <button type="button" onClick={() => again(after)}>{t("moreConversations")}</button>}
      {sure ? (
        <div key="sure" role="alert">
          <p>{t("confirmDeleteAll")}</p>
          <p class="buttons">
            {/* Not the button that asked: whoever presses Enter twice has not decided. */}
            <button type="button" ref={focus} onClick={() => setSure(false)}>{t("cancel")}</button>
            <button type="button" class="danger" onClick={deleteAll}>{t("deleteAll")}</button>
          </p>
        </div>
      ) : (
        <p key="ask" class="buttons">
          <button type="button" class="danger" onClick={() => setSure(true)}>{t("deleteAll")}</button>
        </p>
      )}
    </OwnDialog>
  );
}
