// The messages of a conversation. The newest question stays at the top of the view while its answer comes, until the
// reader looks elsewhere.

import { signal } from "@preact/signals";
import type { VNode } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { chosen } from "../api/models";
import { t } from "../i18n";
import { Icon } from "../icons";
import { Versions } from "./branches";
import { ask, reconnecting, running } from "./ask";
import { MessageView } from "./message";
import { conversation, drawn, earlier, hasEarlier, hasLater, last, later, messages, show, state, toEnd } from "./state";

const NEAR = 48;
/** What is held in place while messages grow: the newest question, the end, or nothing once the reader looks elsewhere. */
const held = signal<"question" | "end" | "nothing">("question");
const atEnd = signal(true);

/** Returns where the newest question is at the top of the view, and of a long one as much as leaves half for the answer. */
function questionTop(view: HTMLElement, list: HTMLElement): number {
  const question = [...list.querySelectorAll<HTMLElement>(":scope > .question")].at(-1);
  if (!question) return 0;
  const space = Number.parseFloat(getComputedStyle(list).rowGap) || 0;
  const answer = question.nextElementSibling as HTMLElement | null;
  return Math.max(0, question.offsetTop - space, (answer?.offsetTop ?? 0) - view.clientHeight / 2);
}

export function Thread(): VNode {
  const main = useRef<HTMLDivElement>(null);
  const inner = useRef<HTMLDivElement>(null);
  const room = useRef<HTMLDivElement>(null);
  const place = () => {
    const [view, list, rest] = [main.current, inner.current, room.current];
    if (!view || !list || !rest) return;
    const top = questionTop(view, list);
    // A short answer leaves room below, or its question could not be at the top.
    const newest = messages.peek().at(-1);
    const writing = newest?.kind === "answer" && newest.status.peek() === "writing";
    const wanted = writing || rest.offsetHeight ? top + view.clientHeight - list.offsetHeight : 0;
    rest.style.height = `${Math.max(0, wanted)}px`;
    if (held.peek() === "question") view.scrollTo({ top });
    else if (held.peek() === "end") view.scrollTo({ top: view.scrollHeight });
    look();
  };
  const look = () => {
    const view = main.current;
    if (view) atEnd.value = view.scrollHeight - view.scrollTop - view.clientHeight < NEAR;
  };

  useEffect(() => {
    const watcher = new ResizeObserver(place);
    if (main.current) watcher.observe(main.current);
    if (inner.current) watcher.observe(inner.current);
    return () => watcher.disconnect();
  }, []);
  useLayoutEffect(() => {
    held.value = "question";
    if (room.current) room.current.style.height = "0";
    place();
  }, [conversation.value, messages.value.at(-1)?.key]);

  const before = useRef(0);
  const scrolled = () => {
    const [view, list] = [main.current, inner.current];
    if (!view || !list) return;
    const { scrollTop, scrollHeight, clientHeight } = view;
    look();
    const top = Math.min(questionTop(view, list), scrollHeight - clientHeight);
    if (held.peek() === "end" ? scrollTop < before.current : Math.abs(scrollTop - top) > NEAR) {
      held.value = atEnd.peek() && scrollTop > before.current ? "end" : "nothing";
    }
    before.current = scrollTop;
  };
  const letGo = (event: WheelEvent | KeyboardEvent) => {
    const back = "deltaY" in event ? event.deltaY < 0 : ["ArrowUp", "PageUp", "Home"].includes(event.key);
    if (back) held.value = "nothing";
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
        {!hasLater.value && <Versions after={last.value} />}
        {hasLater.value && <button type="button" class="quiet" onClick={later}>{t("later")}</button>}
        {reconnecting.value && <p class="hint centre" role="alert">{t("reconnecting")}</p>}
      </div>
      <div ref={room} />
      {(!atEnd.value || hasLater.value) && all.length > 0 && (
        <button
          type="button"
          class="to-end"
          aria-label={t("toEnd")}
          title={t("toEnd")}
          onClick={() => {
            toEnd();
            held.value = "end";
            place();
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
