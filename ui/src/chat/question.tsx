// A question: its text and files, other versions of it, and its change.

import type { VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { chosen } from "../api/models";
import { t } from "../i18n";
import { Icon } from "../icons";
import { branch, described, running } from "./ask";
import { Versions } from "./branches";
import { FileLink } from "./attachments";
import type { Question } from "./state";

export function QuestionView({ question }: { question: Question }): VNode {
  const [editing, setEditing] = useState(false);
  return (
    <article class="question">
      <h2 class="spoken">{t("you")}</h2>
      {question.files.length > 0 && (
        <ul class="files" aria-label={t("files")}>
          {question.files.map((file) => <li key={file.id}><FileLink file={file} /></li>)}
        </ul>
      )}
      {editing ? (
        <Editor question={question} close={() => setEditing(false)} />
      ) : (
        <>
          {question.text && <p dir="auto">{question.text}</p>}
          <footer>
            {question.item.value && (
              <button
                type="button"
                class="icon"
                aria-label={t("edit")}
                title={t("edit")}
                disabled={running.value !== null}
                onClick={() => setEditing(true)}
              >
                <Icon name="edit" />
              </button>
            )}
            <Versions after={question.after} />
          </footer>
        </>
      )}
    </article>
  );
}

function Editor({ question, close }: { question: Question; close: () => void }): VNode {
  const [text, setText] = useState(question.text);
  const [error, setError] = useState("");
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => field.current?.focus(), []);
  const send = async () => {
    const model = chosen.peek();
    if (!text.trim() || !model) return;
    try {
      await branch(question, text.trim(), model.id);
    } catch (failed) {
      setError(described(failed));
    }
  };
  return (
    <form
      class="editor"
      onSubmit={(event) => {
        event.preventDefault();
        void send();
      }}
    >
      <textarea
        ref={field}
        dir="auto"
        rows={Math.min(12, text.split("\n").length + 1)}
        aria-label={t("edit")}
        value={text}
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Escape") {
            event.stopPropagation();
            close();
          } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            void send();
          }
        }}
      />
      <p class="hint">{t("editHint")}</p>
      {error && <p class="error" role="alert">{error}</p>}
      <p class="buttons">
        <button type="button" onClick={close}>{t("cancel")}</button>
        <button type="submit" class="primary" disabled={!text.trim() || running.value !== null}>{t("send")}</button>
      </p>
    </form>
  );
}
