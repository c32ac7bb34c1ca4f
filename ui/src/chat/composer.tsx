// The box in which a question is written.

import type { VNode } from "preact";
import { useEffect } from "preact/hooks";
import { chosen, failure, load, models } from "../api/models";
import { session } from "../api/http";
import { t } from "../i18n";
import { Icon } from "../icons";
import { PromptsButton, PromptsError, written } from "../prompts";
import { AttachButton, Attachments, dragging, followFiles, refusing, sending, takeDrops, takeFiles } from "./attachments";
import { ask, described, running, stop } from "./ask";
import { draft, followDraft } from "./drafts";
import { conversation, state, status } from "./state";

export function focusComposer(): void {
  document.getElementById("message")?.focus();
}

export function Composer(): VNode {
  const busy = running.value !== null;
  useEffect(focusComposer, [conversation.value === null]);
  useEffect(takeDrops, []);
  useEffect(followDraft, []);
  useEffect(followFiles, []);
  const send = () => {
    const text = draft.peek().trim();
    const model = chosen.peek();
    // Before its messages are there, a conversation's model is not known either.
    if (state.peek() === "loading") return;
    if (!text || !model || running.peek() || sending.peek() || !session.peek()) return;
    if (refusing.peek()) {
      status.value = t("takeOff");
      return;
    }
    draft.value = "";
    void ask(text, model.id, takeFiles());
  };
  return (
    <form
      class={dragging.value ? "composer drop" : "composer"}
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      {!models.value && failure.value && (
        <p class="error" role="alert">
          {described(failure.value)} <button type="button" onClick={load}>{t("retry")}</button>
        </p>
      )}
      {models.value?.length === 0 && <p class="error" role="alert">{t("noModels")}</p>}
      <Attachments />
      <PromptsError />
      <div class="box">
        <AttachButton />
        <PromptsButton draft={draft} />
        <textarea
          id="message"
          rows={1}
          dir="auto"
          aria-label={t("message")}
          placeholder={t("placeholder")}
          value={draft.value}
          onInput={(event) => {
            const before = draft.peek();
            draft.value = event.currentTarget.value;
            written(draft, before);
          }}
          onKeyDown={(event) => {
            // While a word is composed, as in Japanese, Enter ends the word.
            if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
            event.preventDefault();
            send();
          }}
        />
        {busy ? (
          <button type="button" class="send" aria-label={t("stop")} title={t("stop")} onClick={stop}>
            <Icon name="stop" />
          </button>
        ) : (
          <button type="submit" class="send" aria-label={t("send")} title={t("send")} disabled={!draft.value.trim() || sending.value || refusing.value}>
            <Icon name="send" />
          </button>
        )}
      </div>
      <p class="hint">{t(dragging.value ? "dropHere" : "hint")}</p>
    </form>
  );
}
