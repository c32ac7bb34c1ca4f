// Settings of the reader, and sign-out.

import { signal } from "@preact/signals";
import type { VNode } from "preact";
import { session } from "../api/http";
import { signOut } from "../api/sign-in";
import { LANGUAGES, language, t } from "../i18n";
import { Icon } from "../icons";
import { useModal } from "../modal";
import { operates } from "../operating";
import { own } from "../own";
import { choose, THEMES, type Theme, theme, training } from "../preferences";

const shown = signal(false);

export function openSettings(): void {
  shown.value = true;
}

export function Settings(): VNode | null {
  return shown.value ? <Dialog /> : null;
}

function Dialog(): VNode {
  const dialog = useModal();
  const instead = (name: NonNullable<typeof own.value>) => () => {
    dialog.current?.close();
    own.value = name;
  };
  const { user = "", tenant = "" } = session.value ?? {};
  return (
    <dialog
      ref={dialog}
      class="settings"
      aria-labelledby="settings"
      onClose={() => {
        shown.value = false;
      }}
    >
      <div class="panel-head">
        <h2 id="settings">{t("settings")}</h2>
        <button type="button" class="icon end" aria-label={t("close")} onClick={() => dialog.current?.close()}>
          <Icon name="close" />
        </button>
      </div>
      <div class="field">
        <label for="theme">{t("theme")}</label>
        <select
          id="theme"
          value={theme.value}
          onChange={(event) => {
            theme.value = event.currentTarget.value as Theme;
          }}
        >
          {THEMES.map((name) => <option key={name} value={name}>{t(name)}</option>)}
        </select>
      </div>
      <div class="field">
        <label for="language">{t("language")}</label>
        <select id="language" value={language.value} onChange={(event) => choose(event.currentTarget.value)}>
          {Object.entries(LANGUAGES).map(([tag, name]) => (
            <option key={tag} value={tag} lang={tag}>{name}</option>
          ))}
        </select>
      </div>
      <label class="tick">
        <input
          type="checkbox"
          checked={training.value}
          onChange={(event) => {
            training.value = event.currentTarget.checked;
          }}
        />
        {t("training")}
      </label>
      <p class="buttons">
        <button type="button" onClick={instead("memories")}>{t("memories")}</button>
        <button type="button" onClick={instead("usage")}>{t("usage")}</button>
        <button type="button" onClick={instead("keys")}>{t("apiKeys")}</button>
        <button type="button" onClick={instead("deletions")}>{t("deletions")}</button>
        {operates() && <a class="button" href="/admin">{t("toConsole")}</a>}
      </p>
      <h3>{t("keys")}</h3>
      <dl class="keys">
        <dt><kbd>Enter</kbd></dt><dd>{t("keySend")}</dd>
        <dt><kbd>Shift</kbd> <kbd>Enter</kbd></dt><dd>{t("keyLine")}</dd>
        <dt><kbd>Esc</kbd></dt><dd>{t("keyStop")}</dd>
        <dt><kbd>/</kbd></dt><dd>{t("keyFocus")}</dd>
        <dt><kbd>/</kbd></dt><dd>{t("keyPrompts")}</dd>
      </dl>
      <div class="identity">
        <p>{t("signedInAs", { user, tenant })}</p>
        <button type="button" onClick={signOut}>{t("signOut")}</button>
      </div>
    </dialog>
  );
}
