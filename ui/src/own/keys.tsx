// The reader's API keys: made with their secret shown once, confirmed, replaced and revoked.

import type { VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { confirm, type Key, list, type Me, mayMake, me, type NewKey, revoke, state } from "../api/keys";
import { byKey } from "../api/sign-in";
import { status } from "../chat/state";
import { described } from "../described";
import { date, t } from "../i18n";
import { Secret } from "../secret";
import { OwnDialog } from "./dialog";
import { Ask, Make, Replace } from "./key-forms";

type Act = "confirm" | "replace" | "revoke";
/** What is being asked: about a new key, or about one. */
type Asked = "make" | { act: Act; id: string };

export function ApiKeys({ close }: { close: () => void }): VNode {
  const [who, setWho] = useState<Me | null>(null);
  const [keys, setKeys] = useState<readonly Key[] | null>(null);
  const [after, setAfter] = useState<string | null>(null);
  const [asked, setAsked] = useState<Asked | null>(null);
  const [secret, setSecret] = useState("");
  const [error, setError] = useState("");
  const top = useRef<HTMLDivElement>(null);
  const load = async (from: string | null) => {
    setError("");
    try {
      const found = await me();
      setWho(found);
      if (!found.confirmed) return;
      const page = await list(from);
      setKeys((before) => [...(from ? (before ?? []) : []), ...page.data]);
      setAfter(page.has_more ? page.last_id : null);
    } catch (failed) {
      setError(described(failed));
    }
  };
  useEffect(() => void load(null), []);
  const cancel = () => {
    const opener = asked && document.getElementById(asked === "make" ? asked : `${asked.act}-${asked.id}`);
    setAsked(null);
    opener?.focus();
  };
  const done = async (said: "keyMade" | "keyConfirmed" | "keyRevoked") => {
    setAsked(null);
    status.value = t(said);
    await load(null);
  };
  const changed = (said: "keyConfirmed" | "keyRevoked") => async (key: Key) => {
    await done(said);
    document.getElementById(key.id)?.focus();
  };
  const made = async (key: NewKey, old = "") => {
    setSecret(key.key);
    // A session acts as its key and ends with it: this one goes on with the new key.
    if (old && old === who?.key_id) await byKey(key.key).catch(() => {});
    await done("keyMade");
  };
  const kept = () => {
    setSecret("");
    top.current?.focus();
  };
  const entry = (key: Key) => {
    const about = typeof asked === "object" && asked?.id === key.id ? asked.act : null;
    const current = key.id === who?.key_id;
    return (
      <Entry key={key.id} of={key} current={current} open={about} ask={(act) => setAsked({ act, id: key.id })}>
        {about === "confirm" && (
          <Ask label={t("confirmKey")} does={async () => changed("keyConfirmed")(await confirm(key.id))} cancel={cancel}>
            <p>{t("confirmKeyQuestion")}</p>
          </Ask>
        )}
        {about === "replace" && <Replace id={key.id} made={(next) => made(next, key.id)} cancel={cancel} />}
        {about === "revoke" && (
          <Ask danger label={t("revoke")} does={async () => changed("keyRevoked")(await revoke(key.id))} cancel={cancel}>
            <p>{t("revokeKeyQuestion")}</p>
            {current && <p>{t("revokeEndsSession")}</p>}
          </Ask>
        )}
      </Entry>
    );
  };
  return (
    <OwnDialog id="api-keys" title={t("apiKeys")} close={close}>
      {secret ? (
        <Secret secret={secret} close={kept} />
      ) : (
        <div ref={top} tabIndex={-1}>
          <p class="hint">{t("apiKeysHint")}</p>
          {error && <p class="error" role="alert">{error}</p>}
          {!who && !error && <p class="hint">{t("loading")}</p>}
          {who && !who.confirmed && <First of={who} made={(next) => made(next, who.key_id)} close={close} />}
          {who?.confirmed && !mayMake() && <p class="hint">{t("askForKeys")}</p>}
          {who?.confirmed && mayMake() && (
            <>
              <p class="buttons">
                <button type="button" id="make" aria-expanded={asked === "make"} onClick={() => setAsked("make")}>
                  {t("makeKey")}
                </button>
              </p>
              {asked === "make" && <Make made={made} cancel={cancel} />}
            </>
          )}
          {keys?.length === 0 && <p>{t("noApiKeys")}</p>}
          <ul class="memories">{keys?.map(entry)}</ul>
          {after && <button type="button" onClick={() => load(after)}>{t("moreConversations")}</button>}
        </div>
      )}
    </OwnDialog>
  );
}

/** The session's key is one that somebody else made: it can do nothing but be replaced. */
function First({ of, made, close }: { of: Me; made: (key: NewKey) => Promise<void>; close: () => void }): VNode {
  return (
    <>
      <p>{t("firstKey")}</p>
      <Replace id={of.key_id} made={made} cancel={close} />
    </>
  );
}

interface Shown {
  of: Key;
  current: boolean;
  /** What is asked about it. */
  open: Act | null;
  ask: (act: Act) => void;
  children: (VNode | false)[];
}

function Entry({ of: key, current, open, ask, children }: Shown): VNode {
  const now = state(key);
  const ended = now === "revoked" || now === "expired";
  const name = key.name || key.id;
  const acts: Record<Act, boolean> = {
    confirm: now === "unconfirmed",
    replace: now === "active" && !key.rotated_to,
    revoke: !ended,
  };
  const offered = (Object.keys(acts) as Act[]).filter((act) => acts[act]);
  const labels = {
    confirm: [t("confirmKey"), t("confirmKeyNamed", { name })],
    replace: [t("replaceKey"), t("replaceKeyNamed", { name })],
    revoke: [t("revoke"), t("revokeKeyNamed", { name })],
  } as const;
  const said = [
    t(`key_${now}`),
    t("keyMadeOn", { date: date(key.created_at) }),
    key.last_used_at === null ? t("keyNeverUsed") : t("keyUsedOn", { date: date(key.last_used_at) }),
    key.expires_at !== null && now !== "revoked" && t("keyEndsOn", { date: date(key.expires_at) }),
  ];
  return (
    <li id={key.id} tabIndex={-1} class={ended ? "ended" : ""}>
      <p dir="auto"><strong>{name}</strong></p>
      <p class="hint">{said.filter(Boolean).join(" · ")}</p>
      <p class="hint"><code dir="ltr">{key.scopes.join(", ")}</code></p>
      {current && <p class="hint">{t("keyOfSession")}</p>}
      {offered.length > 0 && (
        <p class="buttons">
          {offered.map((act) => (
            <button
              key={act}
              type="button"
              id={`${act}-${key.id}`}
              aria-label={labels[act][1]}
              aria-expanded={open === act}
              onClick={() => ask(act)}
            >
              {labels[act][0]}
            </button>
          ))}
        </p>
      )}
      {children}
    </li>
  );
}
