// The library: assistants, collections and prompts that people make in the page. Its dialog is loaded when it is opened.

import { signal } from "@preact/signals";
import { type ComponentType, Fragment, h, type VNode } from "preact";
import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { ApiError, json, request, session } from "../api/http";
import { load as loadModels, models } from "../api/models";
import { upload } from "../api/uploads";
import { status } from "../chat/state";
import { described } from "../described";
import { language, t } from "../i18n";
import { OwnDialog } from "../own/dialog";
import { model } from "../preferences";
import { go } from "../router";

/** What the dialog gets of the page: a module that both imported would be one more file of the first load. */
const KIT = {
  ApiError,
  Fragment,
  OwnDialog,
  described,
  go,
  h,
  json,
  language,
  loadModels,
  model,
  models,
  request,
  session,
  status,
  t,
  upload,
  useEffect,
  useId,
  useLayoutEffect,
  useRef,
  useState,
};
export type Kit = typeof KIT;

const shown = signal(false);
const View = signal<ComponentType<{ close: () => void }> | null>(null);

export async function openLibrary(): Promise<void> {
  const made = View.peek() ?? (await import("./view").then(({ library }) => library(KIT)).catch(() => null));
  if (!made) {
    status.value = t("offline");
    return;
  }
  View.value = made;
  shown.value = true;
}

export function Library(): VNode | null {
  const Shown = View.value;
  if (!shown.value || !Shown) return null;
  return (
    <Shown
      key={session.value?.id}
      close={() => {
        shown.value = false;
      }}
    />
  );
}
