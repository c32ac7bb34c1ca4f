// Sign-in: at the organisation's identity provider, or by key.

import type { VNode } from "preact";
import { useEffect, useState } from "preact/hooks";
import { ApiError } from "./api/http";
import { byKey, linkFailure, load, loginUrl, providers } from "./api/sign-in";
import { described } from "./described";
import { t } from "./i18n";
import { useModal } from "./modal";

export function SignIn(): VNode {
  return (
    <main class="sign-in">
      <Mark />
      <h1>{t("signInTitle")}</h1>
      <Ways />
    </main>
  );
}

/** Over the page: the session has ended, and what was written stays. */
export function Expired(): VNode {
  const dialog = useModal();
  useEffect(() => void load().catch(() => {}), []);
  return (
    <dialog ref={dialog} class="sign-in" aria-labelledby="expired" onCancel={(event) => event.preventDefault()}>
      <h2 id="expired">{t("signIn")}</h2>
      <p>{t("expired")}</p>
      <Ways />
    </dialog>
  );
}

function Ways(): VNode {
  const { data, key } = providers.value;
  const failed = linkFailure.value;
  return (
    <>
      {failed && <p class="error" role="alert">{failed.status === 401 ? t("usedLink") : described(failed)}</p>}
      {data.map(({ name, label }) => (
        <a class="primary" href={loginUrl(name)}>
          {data.length > 1 || label ? t("signInWith", { name: label || name }) : t("signInProvider")}
        </a>
      ))}
      {data.length > 0 && key && <p class="or">{t("or")}</p>}
      {key && <ByKey />}
    </>
  );
}

function ByKey(): VNode {
  const [key, setKey] = useState("");
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = async (event: Event) => {
    event.preventDefault();
    if (!key.trim() || busy) return;
    setBusy(true);
    try {
      await byKey(key.trim());
    } catch (failed) {
      setError(failed instanceof ApiError && failed.status === 401 ? t("wrongKey") : described(failed));
      setBusy(false);
    }
  };
  return (
    <form onSubmit={submit}>
      <label for="key">{t("key")}</label>
      <input
        id="key"
        type="password"
        autocomplete="off"
        spellcheck={false}
        dir="ltr"
        required
        value={key}
        onInput={(event) => setKey(event.currentTarget.value)}
        aria-describedby="key-hint key-error"
        aria-invalid={error !== ""}
      />
      <p id="key-hint" class="hint">{t("keyHint")}</p>
      <p id="key-error" class="error" role="alert">{error}</p>
      <button type="submit" class="primary" disabled={busy}>{t("signIn")}</button>
    </form>
  );
}

/** The product's mark: water that is led to a wheel. */
export function Mark(): VNode {
  return (
    <svg class="logo" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" />
      <path d="M7 9v14M25 9v14M7 13c3-3 6-3 9 0s6 3 9 0M7 19c3-3 6-3 9 0s6 3 9 0" />
    </svg>
  );
}
