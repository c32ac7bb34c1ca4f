// Other versions of a question: conversations that have everything before it in common.

import type { VNode } from "preact";
import type { Branch } from "../api/conversations";
import { t } from "../i18n";
import { Icon } from "../icons";
import { go } from "../router";
import { running } from "./ask";
import { conversation, family, status } from "./state";

/** Returns the conversations that differ at the item after the number `after`, and which of them `id` belongs to. */
export function versions(all: readonly Branch[], id: string, after: number): { ids: string[]; at: number } {
  const known = new Map(all.map((each) => [each.id, each]));
  const parent = (branch: Branch | undefined) => known.get(branch?.forked_from ?? "");
  // A conversation that shares more than that has the item from the one before it.
  let own = known.get(id);
  while (own && own.shared > after && parent(own)) own = parent(own);
  let first = own;
  while (first && first.shared >= after && parent(first)) first = parent(first);
  if (!own || !first) return { ids: [id], at: 0 };
  const reached = new Set([first.id]);
  const ids = [first.id];
  for (const each of all) {
    if (each.forked_from === null || !reached.has(each.forked_from) || each.shared < after) continue;
    reached.add(each.id);
    if (each.shared === after) ids.push(each.id);
  }
  return { ids, at: ids.indexOf(own.id) };
}

/** Leads from one version to the next, where they differ: at the item after the number `after`. */
export function Versions({ after }: { after: number | null }): VNode | null {
  const id = conversation.value;
  if (!id || after === null) return null;
  const { ids, at } = versions(family.value, id, after);
  if (ids.length < 2) return null;
  const text = t("version", { number: at + 1, count: ids.length });
  const step = (by: number) => () => {
    const to = ids[at + by];
    if (!to) return;
    status.value = t("version", { number: at + by + 1, count: ids.length });
    go(`/c/${to}`);
    document.querySelector<HTMLElement>(".thread")?.focus();
  };
  const busy = running.value !== null;
  return (
    <nav class="versions" aria-label={t("versions")}>
      <button type="button" class="icon" aria-label={t("earlierVersion")} disabled={busy || at === 0} onClick={step(-1)}>
        <Icon name="back" />
      </button>
      <span>{text}</span>
      <button
        type="button"
        class="icon"
        aria-label={t("laterVersion")}
        disabled={busy || at === ids.length - 1}
        onClick={step(1)}
      >
        <Icon name="forth" />
      </button>
    </nav>
  );
}
