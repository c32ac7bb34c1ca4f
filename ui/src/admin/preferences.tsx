// Who is signed in, colours and language, and sign-out.

import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { session } from "../api/http";
import { signOut } from "../api/sign-in";
import { LANGUAGES, language, t } from "../i18n";
import { Icon } from "../icons";
import { choose, THEMES, type Theme, theme } from "../preferences";
import { Dialog } from "./act-dialog";

export function Preferences(): VNode {
  const [shown, setShown] = useState(false);
  const { user = "", tenant = "" } = session.value ?? {};
  return (
    <>
      <button type="button" class="icon end" aria-label={t("settings")} title={t("settings")} onClick={() => setShown(true)}>
        <Icon name="settings" />
      </button>
      {shown && (
        <Dialog title={t("settings")} close={() => setShown(false)}>
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
              {Object.entries(LANGUAGES).map(([tag, name]) => <option key={tag} value={tag} lang={tag}>{name}</option>)}
            </select>
          </div>
          <div class="identity">
            <p>{t("signedInAs", { user, tenant })}</p>
            <button type="button" onClick={signOut}>{t("signOut")}</button>
          </div>
        </Dialog>
      )}
    </>
  );
}
