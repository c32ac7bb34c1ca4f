// The receipt of a deletion: what, how many, when, and where an auditor finds it.

import type { VNode } from "preact";
import { useEffect, useId, useState } from "preact/hooks";
import { type Deletion, get } from "../api/deletions";
import { described } from "../described";
import { language, t } from "../i18n";
import { download } from "./download";

export function ReceiptView({ of }: { of: Deletion }): VNode {
  const { id, kind, deleted, items, created_at, status, event } = of;
  const time = new Intl.DateTimeFormat(language.value, { dateStyle: "medium", timeStyle: "medium" });
  const save = () =>
    download({ name: `deletion-${id}.json`, type: "application/json", text: `${JSON.stringify(of, null, 2)}\n` });
  return (
    <div class="receipt">
      <p>{t(`deleted_${kind}`, { count: deleted, items: items ?? 0 })}</p>
      <p class="hint">{`${time.format(created_at * 1000)} · ${t(`deletion_${status}`)}`}</p>
      <p class="hint">{t("receiptNumber")} <code dir="ltr">{id}</code></p>
      <p class="hint">{t("receiptEvent")} <code dir="ltr">{event.id}</code>, <code dir="ltr">{event.hash}</code></p>
      <button type="button" aria-label={t("saveReceiptOf", { id })} onClick={save}>{t("saveReceipt")}</button>
    </div>
  );
}

/** The receipt of what has just been deleted. */
export function Receipt({ id }: { id: string }): VNode {
  const [found, setFound] = useState<Deletion | null>(null);
  const [error, setError] = useState("");
  const heading = useId();
  useEffect(() => {
    get(id).then(setFound, (failed) => setError(t("noReceipt", { reason: described(failed) })));
  }, [id]);
  return (
    <section aria-labelledby={heading} aria-live="polite">
      <h3 id={heading}>{t("receipt")}</h3>
      {found && <ReceiptView of={found} />}
      {error && <p class="error" role="alert">{error}</p>}
      {!found && !error && <p class="hint">{t("loading")}</p>}
    </section>
  );
}
