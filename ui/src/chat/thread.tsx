// The messages of a conversation. The end is followed while the reader is there, and let go by any look back.

import { signal } from "@preact/signals";
import type { VNode } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { chosen } from "../api/models";
import { t } from "../i18n";
import { Icon } from "../icons";
import { operates } from "../operating";
import { ask, reconnecting, running } from "./ask";
import { MessageView } from "./message";
import { conversation, drawn, earlier, hasEarlier, hasLater, later, messages, show, state, toEnd } from "./state";

const NEAR = 48;
const following = signal(true);

export function Thread(): VNode {
  const main = useRef<HTMLDivElement>(null);
  const inner = useRef<HTMLDivElement>(null);
  const toBottom = () => main.current?.scrollTo({ top: main.current.scrollHeight });

  useEffect(() => {
    const watcher = new ResizeObserver(() => {
      if (following.peek()) toBottom();
    });
    if (inner.current) watcher.observe(inner.current);
    return () => watcher.disconnect();
  }, []);
  useLayoutEffect(() => {
    following.value = true;
    toBottom();
  }, [conversation.value, messages.value.at(-1)?.key]);

  // A scroll event may come after the answer grew: only going back lets the end go.
  const before = useRef(0);
  const scrolled = () => {
    const shown = main.current;
    if (!shown) return;
    const { scrollTop, scrollHeight, clientHeight } = shown;
    if (scrollHeight - scrollTop - clientHeight < NEAR) following.value = true;
    else if (scrollTop < before.current) following.value = false;
    before.current = scrollTop;
  };
  const letGo = (event: WheelEvent | KeyboardEvent) => {
    const back = "deltaY" in event ? event.deltaY < 0 : ["ArrowUp", "PageUp", "Home"].includes(event.key);
    if (back) following.value = false;
  };
  const all = drawn.value;
  return (
    // Keyboards scroll what has the focus.
    <div ref={main} class="thread" tabIndex={-1} onScroll={scrolled} onWheel={letGo} onKeyDown={letGo}>
      <div ref={inner} class="messages">
        {hasEarlier.value && <button type="button" class="quiet" onClick={earlier}>{t("earlier")}</button>}
        {state.value === "loading" && <p class="hint centre">{t("loading")}</p>}
        {state.value === "missing" && <p class="error centre" role="alert">{t("notFound")}</p>}
        {state.value === "failed" && <Failed />}
        {state.value === "ready" && !all.length && <Greeting />}
        {all.map((message) => <MessageView key={message.key} message={message} />)}
        {hasLater.value && <button type="button" class="quiet" onClick={later}>{t("later")}</button>}
        {reconnecting.value && <p class="hint centre" role="alert">{t("reconnecting")}</p>}
      </div>
      {(!following.value || hasLater.value) && all.length > 0 && (
        <button
          type="button"
          class="to-end"
          aria-label={t("toEnd")}
          title={t("toEnd")}
          onClick={() => {
            toEnd();
            following.value = true;
            toBottom();
          }}
        >
          <Icon name="arrow" />
          {running.value && <span class="dot" />}
        </button>
      )}
    </div>
  );
}

function Greeting(): VNode {
  const model = chosen.value;
  return (
    <div class="greeting">
      <h2>{t("greeting")}</h2>
      {model?.headrace.description && <p dir="auto">{model.headrace.description}</p>}
      {model?.headrace.quotes && (
        <p class="hint">
          {t("onlyQuotes")} {operates() && <>{t("betterModel")} <code dir="ltr">make up MODEL=list</code></>}
        </p>
      )}
      {!!model?.headrace.starters?.length && (
        <ul class="starters" aria-label={t("starters")}>
          {model.headrace.starters.map((text) => (
            <li key={text}>
              <button type="button" dir="auto" onClick={() => ask(text, model.id)}>{text}</button>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

function Failed(): VNode {
  const id = conversation.value;
  return (
    <p class="error centre" role="alert">
      {t("offline")} <button type="button" onClick={() => id && show(id)}>{t("retry")}</button>
    </p>
  );
}
