// A rating: a thumb, then a comment and the consent beside it. Nothing is sent before the button.

import type { VNode } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { rate } from "../api/feedback";
import { session } from "../api/http";
import { t } from "../i18n";
import { Icon } from "../icons";
import { described } from "./ask";
import { type Reply, status } from "./state";

type Thumb = "up" | "down";

export function Rating({ reply }: { reply: Reply }): VNode | null {
  const [chosen, setThumb] = useState<Thumb | null>(null);
  const [thanked, setThanked] = useState(false);
  const sent = reply.rated.value !== null;
  const thumb = reply.rated.value ?? chosen;
  if (!session.value?.scopes.includes("feedback")) return null;
  const button = (which: Thumb, label: string) => (
    <button
      type="button"
      class="icon"
      aria-label={label}
      title={label}
      aria-pressed={thumb === which}
      disabled={sent}
      onClick={() => setThumb(thumb === which ? null : which)}
    >
      <Icon name={which} />
    </button>
  );
  const done = () => {
    reply.rated.value = thumb;
    setThanked(true);
    status.value = t("thanks");
  };
  return (
    <>
      {button("up", t("good"))}
      {button("down", t("bad"))}
      {thanked && <span class="hint">{t("thanks")}</span>}
      {thumb && !sent && <Details key={thumb} reply={reply} thumb={thumb} done={done} />}
    </>
  );
}

function Details({ reply, thumb, done }: { reply: Reply; thumb: Thumb; done: () => void }): VNode {
  const [comment, setComment] = useState("");
  const [consent, setConsent] = useState(false);
  const [error, setError] = useState("");
  const first = useRef<HTMLTextAreaElement>(null);
  const id = useId();
  useEffect(() => first.current?.focus(), []);
  const send = async (event: Event) => {
    event.preventDefault();
    if (!reply.target) return;
    try {
      await rate({ target: reply.target, thumb, comment: comment.trim(), consent });
      done();
    } catch (failed) {
      setError(described(failed));
    }
  };
  return (
    <form class="rating" aria-label={t("rate")} onSubmit={send}>
      <label for={id}>{t("comment")}</label>
      <textarea
        id={id}
        ref={first}
        rows={2}
        dir="auto"
        maxLength={10_000}
        value={comment}
        onInput={(event) => setComment(event.currentTarget.value)}
      />
      {reply.training === false && <p class="hint">{t("noConsent")}</p>}
      {reply.training && (
        <label class="tick">
          <input
            type="checkbox"
            checked={consent}
            onChange={(event) => setConsent(event.currentTarget.checked)}
          />
          {t("consent")}
        </label>
      )}
      {error && <p class="error" role="alert">{error}</p>}
      <button type="submit" class="primary">{t("sendRating")}</button>
    </form>
  );
}
