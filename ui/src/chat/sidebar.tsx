// The list of conversations.

import { signal } from "@preact/signals";
import type { VNode } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { Conversation } from "../api/conversations";
import { t } from "../i18n";
import { Icon } from "../icons";
import { follow } from "../router";
import { ShareDialog } from "../shared/dialog";
import { Mark } from "../sign-in";
import { ConversationDialog } from "./conversation-dialog";
import { archive, hasMore, listed, more, query } from "./list";
import { conversation } from "./state";

/** Whether the list is shown over the chat, on narrow screens. */
export const open = signal(false);

const edited = signal<Conversation | null>(null);
const shared = signal<Conversation | null>(null);

export function Sidebar(): VNode {
  const close = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (open.value) close.current?.focus();
  }, [open.value]);
  const shown = listed.value;
  return (
    <>
      <div
        class={open.value ? "side open" : "side"}
        aria-label={t("conversations")}
        role={open.value ? "dialog" : "navigation"}
        aria-modal={open.value || undefined}
      >
        <div class="side-head">
          <Mark />
          <span class="name">Headrace</span>
          <button
            ref={close}
            type="button"
            class="icon narrow end"
            aria-label={t("closeConversations")}
            onClick={() => {
              open.value = false;
            }}
          >
            <Icon name="close" />
          </button>
        </div>
        <a class="new" href="/" onClick={chosen}>
          <Icon name="plus" />
          {t("newChat")}
        </a>
        <input
          type="search"
          aria-label={t("search")}
          placeholder={t("search")}
          dir="auto"
          maxLength={256}
          value={query.value}
          onInput={(event) => {
            query.value = event.currentTarget.value;
          }}
        />
        {shown?.length ? <ul>{shown.map((each) => <Entry key={each.id} conversation={each} />)}</ul> : null}
        {shown?.length === 0 && <p class="hint">{t(query.value ? "nothingFound" : archive.value ? "nothingArchived" : "noConversations")}</p>}
        {hasMore.value && <button type="button" class="quiet" onClick={more}>{t("moreConversations")}</button>}
        <button
          type="button"
          class="quiet foot"
          aria-pressed={archive.value}
          onClick={() => {
            archive.value = !archive.value;
          }}
        >
          {t("archive")}
        </button>
      </div>
      {edited.value && (
        <ConversationDialog key={edited.value.id} conversation={edited.value} close={closeDialog} share={share} />
      )}
      {shared.value && <ShareDialog conversation={shared.value} close={closeShare} />}
    </>
  );
}

function closeDialog(): void {
  edited.value = null;
}

/** The conversation's dialog gives way to that of its links. */
function share(): void {
  shared.value = edited.value;
  edited.value = null;
}

function closeShare(): void {
  shared.value = null;
}

function chosen(event: MouseEvent): void {
  follow(event);
  open.value = false;
}

function Entry({ conversation: each }: { conversation: Conversation }): VNode {
  const title = each.headrace.title || t("untitled");
  return (
    <li>
      <a
        href={`/c/${each.id}`}
        onClick={chosen}
        title={title}
        aria-current={conversation.value === each.id ? "page" : undefined}
      >
        <bdi>{title}</bdi>
      </a>
      {each.headrace.pinned && <Icon name="pin" />}
      <button
        type="button"
        class="icon"
        aria-label={t("changeConversation", { title })}
        onClick={() => {
          edited.value = each;
        }}
      >
        <Icon name="more" />
      </button>
    </li>
  );
}
