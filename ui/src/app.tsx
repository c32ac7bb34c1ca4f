// The page: sign-in, or the chat; sign-in again when the session ends, over what was there.

import { effect, signal } from "@preact/signals";
import type { VNode } from "preact";
import { useEffect } from "preact/hooks";
import * as models from "./api/models";
import { session } from "./api/http";
import * as signIn from "./api/sign-in";
import { leave, resume, running, stop } from "./chat/ask";
import { Composer, focusComposer } from "./chat/composer";
import { Header } from "./chat/header";
import * as list from "./chat/list";
import { Settings } from "./chat/settings";
import { open as sidebarOpen, Sidebar } from "./chat/sidebar";
import { SourcePanel } from "./chat/source-panel";
import { clear, conversation, opened, show, status } from "./chat/state";
import { Thread } from "./chat/thread";
import { t } from "./i18n";
import { Library } from "./library";
import { Own } from "./own";
import { Prompts } from "./prompts";
import { conversationIn, path, shareIn } from "./router";
import { SharedView } from "./shared/view";
import { Expired, SignIn } from "./sign-in";

/** Whether somebody was signed in since the page was loaded. */
const wasIn = signal(false);
/** The newest session's id: what one person may read of a share is not for the next. */
const reader = signal("");
const unreachable = signal(false);

async function begin(): Promise<void> {
  unreachable.value = false;
  try {
    await signIn.load();
  } catch {
    unreachable.value = true;
  }
}

async function fill(): Promise<void> {
  await Promise.allSettled([models.load(), list.load()]);
}

function route(): void {
  const id = conversationIn(path.value);
  if (id === conversation.peek()) return;
  leave();
  if (id) void show(id).then(() => resume(id));
  else clear();
}

export function App(): VNode {
  useEffect(() => {
    void begin();
    addEventListener("keydown", keyed);
    const unfollow = list.follow();
    const unfill = effect(() => {
      if (!session.value) return;
      wasIn.value = true;
      reader.value = session.value.id;
      void fill();
    });
    return () => {
      unfollow();
      unfill();
    };
  }, []);
  useEffect(() => effect(() => (wasIn.value ? route() : undefined)), []);
  useEffect(
    () =>
      effect(() => {
        const shown = shareIn(path.value) ? t("sharedConversation") : conversation.value && list.title.value;
        document.title = shown ? `${shown} - Headrace` : "Headrace";
      }),
    [],
  );

  if (unreachable.value) return <Unreachable />;
  if (!wasIn.value) return session.value === null ? <SignIn /> : <p class="blank">{t("loading")}</p>;
  const shared = shareIn(path.value);
  if (shared) {
    return (
      <>
        <div class="frame">
          <SharedView key={`${reader.value} ${shared}`} id={shared} />
          <SourcePanel />
        </div>
        {session.value === null && <Expired />}
      </>
    );
  }
  return (
    <>
      <a class="skip" href="#message" onClick={focusComposer}>{t("skip")}</a>
      <div class="frame">
        <Sidebar />
        <div class="column" inert={sidebarOpen.value}>
          <Header />
          <main class="talk">
            <Thread />
            <Composer />
          </main>
        </div>
        <SourcePanel />
      </div>
      <p class="spoken" role="status">{status}</p>
      <Settings />
      <Own />
      <Library />
      <Prompts />
      {session.value === null && <Expired />}
    </>
  );
}

function Unreachable(): VNode {
  return (
    <main class="blank">
      <p role="alert">{t("offline")}</p>
      <button type="button" class="primary" onClick={begin}>{t("retry")}</button>
    </main>
  );
}

function keyed(event: KeyboardEvent): void {
  if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
  const writing = (event.target as HTMLElement).matches("input, textarea, select");
  if (event.key === "Escape") {
    if (opened.value) opened.value = null;
    else if (sidebarOpen.value) sidebarOpen.value = false;
    else if (running.peek()) stop();
  } else if (event.key === "/" && !writing) {
    event.preventDefault();
    focusComposer();
  }
}
