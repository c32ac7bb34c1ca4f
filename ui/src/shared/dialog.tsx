// Links to a conversation for others of the tenant: what they show, how long they work, and their end.

import type { VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Conversation } from "../api/conversations";
import { create, list, revoke, type Share } from "../api/shares";
import { status } from "../chat/state";
import { CopyButton } from "../copy";
import { described } from "../described";
import { date, language, t } from "../i18n";
import { OwnDialog } from "../own/dialog";

const DAYS = [1, 7, 30, 90, 365];
const DEFAULT = 30;
const DAY_S = 86_400;

export function ShareDialog({ conversation, close }: { conversation: Conversation; close: () => void }): VNode {
  const [shares, setShares] = useState<readonly Share[] | null>(null);
  const [days, setDays] = useState(DEFAULT);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");
  const make = useRef<HTMLButtonElement>(null);
  const act = async (work: () => Promise<void>) => {
    if (busy) return;
    setBusy(true);
    setError("");
    try {
      await work();
    } catch (failed) {
      setError(described(failed));
    } finally {
      setBusy(false);
    }
  };
  useEffect(() => void act(async () => setShares(await list(conversation.id))), []);
  const created = () =>
    act(async () => {
      const made = await create(conversation.id, days * DAY_S).catch(async (failed) => {
        // It may have been made all the same.
        setShares(await list(conversation.id).catch(() => shares));
        throw failed;
      });
      setShares((all) => [made, ...(all ?? [])]);
      status.value = t("linkMade");
    });
  const revoked = (id: string) =>
    act(async () => {
      await revoke(id);
      // Its button, which has the focus, goes with it.
      make.current?.focus();
      setShares((all) => (all ?? []).filter((each) => each.id !== id));
      status.value = t("linkRevoked");
    });
  const unit = new Intl.NumberFormat(language.value, { style: "unit", unit: "day", unitDisplay: "long" });
  return (
    <OwnDialog id="share" title={t("shareTitle")} close={close}>
      <p dir="auto">{conversation.headrace.title || t("untitled")}</p>
      <p class="hint">{t("shareHint")}</p>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void created();
        }}
      >
        <label for="days">{t("linkLasts")}</label>
        <div class="row">
          <select id="days" value={days} onChange={(event) => setDays(Number(event.currentTarget.value))}>
            {DAYS.map((count) => <option key={count} value={count}>{unit.format(count)}</option>)}
          </select>
          <button type="submit" class="primary" ref={make} disabled={busy && !shares}>{t("createLink")}</button>
        </div>
      </form>
      {error && <p class="error" role="alert">{error}</p>}
      <ul class="memories links">
        {shares?.map((share) => <Link key={share.id} share={share} end={() => revoked(share.id)} />)}
      </ul>
    </OwnDialog>
  );
}

function Link({ share, end }: { share: Share; end: () => void }): VNode {
  const address = `${location.origin}/s/${share.id}`;
  const until = date(share.expires_at);
  return (
    <li>
      <div class="row">
        <input
          readOnly
          dir="ltr"
          aria-label={t("link")}
          value={address}
          onFocus={(event) => event.currentTarget.select()}
        />
        <CopyButton text={address} label={t("copyLink")} />
      </div>
      <p class="hint">{t("linkUntil", { date: until })}</p>
      <button type="button" aria-label={t("revokeLink", { date: until })} onClick={end}>{t("revoke")}</button>
    </li>
  );
}
