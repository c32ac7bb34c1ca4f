// Stored prompts for the message box: a button, and "/" as the first character, open them. Their dialog is loaded then.

import { type Signal, signal } from "@preact/signals";
import { h, type VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { json, session } from "../api/http";
import { described } from "../described";
import { language, t } from "../i18n";
import { Icon } from "../icons";
import { OwnDialog } from "../own/dialog";

const shown = signal<VNode | null>(null);
const error = signal("");
/** The session in which prompts may not be listed. */
const refused = signal("");

/** What the dialog gets of the page: a module that both imported would be one more file of the first load. */
const KIT = { h, useEffect, useRef, useState, json, session, described, language, OwnDialog, shown, error, refused };
export type Kit = typeof KIT;

function allowed(): boolean {
  const now = session.value;
  return !!now?.scopes.includes("data:read") && refused.value !== now.id;
}

async function open(draft: Signal<string>, slash: boolean): Promise<void> {
  const made = await import("./picker").catch(() => null);
  if (made) await made.open(KIT, draft, slash);
  else error.value = t("offline");
}

/** To be called after each change of the message box. */
export function written(draft: Signal<string>, before: string): void {
  error.value = "";
  if (!before && draft.peek() === "/" && allowed()) void open(draft, true);
}

export function PromptsButton({ draft }: { draft: Signal<string> }): VNode | null {
  if (!allowed()) return null;
  return (
    <button type="button" class="icon" aria-label={t("prompts")} title={t("prompts")} onClick={() => open(draft, false)}>
      <Icon name="prompts" />
    </button>
  );
}

export function PromptsError(): VNode | null {
  return error.value ? <p class="error" role="alert">{error}</p> : null;
}

export function Prompts(): VNode | null {
  return shown.value;
}
