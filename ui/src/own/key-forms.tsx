// What is asked before something is done with a key.

import type { ComponentChildren, VNode } from "preact";
import { useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { session } from "../api/http";
import { type Key, make, type NewKey, rotate } from "../api/keys";
import { described } from "../described";
import { language, t } from "../i18n";

const HOUR_S = 3600;
const DAY_S = 24 * HOUR_S;
/** How long a replaced key works, in seconds. */
const OVERLAPS = [0, HOUR_S, DAY_S, 7 * DAY_S];
/** How long a new key works, in seconds; 0 is for good. */
const LIVES = [30 * DAY_S, 90 * DAY_S, 365 * DAY_S, 0];

interface Asked {
  label: string;
  danger?: boolean;
  does: () => Promise<void>;
  cancel: () => void;
  children: ComponentChildren;
}

/** A question with its fields, and why it could not be done. */
export function Ask({ label, danger = false, does, cancel, children }: Asked): VNode {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");
  const form = useRef<HTMLFormElement>(null);
  useLayoutEffect(() => form.current?.querySelector<HTMLElement>("input, select, button")?.focus(), []);
  const submit = async (event: Event) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setError("");
    try {
      await does();
    } catch (failed) {
      setError(described(failed));
      setBusy(false);
    }
  };
  return (
    <form ref={form} onSubmit={submit}>
      {children}
      <p class="error" role="alert">{error}</p>
      <p class="buttons">
        <button type="button" onClick={cancel}>{t("cancel")}</button>
        <button type="submit" class={danger ? "danger" : "primary"}>{label}</button>
      </p>
    </form>
  );
}

interface Made {
  made: (key: NewKey) => Promise<void>;
  cancel: () => void;
}

export function Make({ made, cancel }: Made): VNode {
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState<readonly string[]>([]);
  const [life, setLife] = useState(90 * DAY_S);
  const [nameId, lifeId] = [useId(), useId()];
  // Nobody can grant more than they have, and only the stack's own key has the scope `platform`.
  const choices = (session.value?.scopes ?? []).filter((scope) => scope !== "platform");
  return (
    <Ask label={t("makeKey")} does={async () => made(await make(name.trim(), scopes, life))} cancel={cancel}>
      <label for={nameId}>{t("keyName")}</label>
      <input id={nameId} dir="auto" maxLength={256} value={name} onInput={(event) => setName(event.currentTarget.value)} />
      <label for={lifeId}>{t("keyLasts")}</label>
      <select id={lifeId} value={life} onChange={(event) => setLife(Number(event.currentTarget.value))}>
        {LIVES.map((seconds) => <option key={seconds} value={seconds}>{seconds ? long(seconds) : t("forever")}</option>)}
      </select>
      <fieldset>
        <legend>{t("keyScopes")}</legend>
        {choices.map((scope) => (
          <label key={scope} class="tick">
            <input
              type="checkbox"
              checked={scopes.includes(scope)}
              onChange={({ currentTarget: { checked } }) =>
                setScopes((before) => [...before.filter((each) => each !== scope), ...(checked ? [scope] : [])])
              }
            />
            <code>{scope}</code>
          </label>
        ))}
        <p class="hint">{t("allScopes")}</p>
      </fieldset>
    </Ask>
  );
}

export function Replace({ id, made, cancel }: Made & Pick<Key, "id">): VNode {
  const [overlap, setOverlap] = useState(HOUR_S);
  const field = useId();
  return (
    <Ask label={t("replaceKey")} does={async () => made(await rotate(id, overlap))} cancel={cancel}>
      <label for={field}>{t("overlap")}</label>
      <select id={field} value={overlap} onChange={(event) => setOverlap(Number(event.currentTarget.value))}>
        {OVERLAPS.map((seconds) => <option key={seconds} value={seconds}>{seconds ? long(seconds) : t("notAtAll")}</option>)}
      </select>
    </Ask>
  );
}

function long(seconds: number): string {
  const [unit, size] = seconds < DAY_S ? (["hour", HOUR_S] as const) : (["day", DAY_S] as const);
  return new Intl.NumberFormat(language.value, { style: "unit", unit, unitDisplay: "long" }).format(seconds / size);
}
