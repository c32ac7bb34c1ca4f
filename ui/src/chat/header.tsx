// The head of the chat: the assistant or model, and what the conversation is called.

import { h, type VNode } from "preact";
import { chosen, kept, type Model, models } from "../api/models";
import { t } from "../i18n";
import { Icon } from "../icons";
import { model } from "../preferences";
import { title } from "./list";
import { openSettings } from "./settings";
import { open } from "./sidebar";
import { conversation } from "./state";

export function Header(): VNode {
  const all = models.value ?? [];
  const assistants = all.filter(({ headrace }) => headrace.kind === "assistant");
  const others = all.filter(({ headrace }) => headrace.kind !== "assistant");
  return (
    <header class="head">
      <h1 class="spoken">{title.value}</h1>
      <button
        type="button"
        class="icon narrow"
        aria-label={t("openConversations")}
        aria-expanded={open.value}
        onClick={() => {
          open.value = true;
        }}
      >
        <Icon name="menu" />
      </button>
      <label class="chooser">
        <span class="spoken">{t("model")}</span>
        <select
          value={chosen.value?.id ?? ""}
          disabled={!all.length}
          onChange={(event) => {
            // In a conversation the choice is for that alone.
            (conversation.peek() ? kept : model).value = event.currentTarget.value;
          }}
        >
          {/* Where a browser can draw the options, the name alone stays shown; others show their text. */}
          <button type="button" tabIndex={-1}>{h("selectedcontent", {})}</button>
          <Group label={t("assistants")} models={assistants} />
          <Group label={t("models")} models={others} />
        </select>
      </label>
      <button type="button" class="icon end" aria-label={t("settings")} title={t("settings")} onClick={openSettings}>
        <Icon name="settings" />
      </button>
    </header>
  );
}

function Group({ label, models }: { label: string; models: Model[] }): VNode | null {
  if (!models.length) return null;
  return (
    <optgroup label={label}>
      {models.map(({ id, headrace }) => (
        <option key={id} value={id}>
          {id}
          {headrace.description && (
            <span class="about" dir="auto"><span class="dash">{" – "}</span>{headrace.description}</span>
          )}
        </option>
      ))}
    </optgroup>
  );
}
