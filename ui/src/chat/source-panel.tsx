// The panel beside the chat with the passages of a source.

import type { VNode } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { context, type Context } from "../api/files";
import { t } from "../i18n";
import { Icon } from "../icons";
import { opened, type Passage } from "./state";

export function SourcePanel(): VNode | null {
  const shown = opened.value;
  const source = shown?.reply.sources.find(({ number }) => number === shown.number);
  return source ? <Panel key={`${source.file} ${source.number}`} {...source} /> : null;
}

type Shown = NonNullable<typeof opened.value>["reply"]["sources"][number];

function Panel({ number, title, file, passages }: Shown): VNode {
  const heading = useRef<HTMLHeadingElement>(null);
  // Before the panel is removed: an effect's cleanup would run after it, when the focus is lost already.
  useLayoutEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    heading.current?.focus();
    return () => before?.focus();
  }, []);
  return (
    <aside class="panel" aria-labelledby="source">
      <div class="panel-head">
        <h2 id="source" ref={heading} tabIndex={-1} dir="auto">
          <span class="number">{number}</span> {title}
        </h2>
        <button
          type="button"
          class="icon end"
          aria-label={t("close")}
          onClick={() => {
            opened.value = null;
          }}
        >
          <Icon name="close" />
        </button>
      </div>
      <p class="hint">{passages.length ? t("passage") : t("noPassage")}</p>
      {passages.map((passage) => <PassageView key={passage.quote} file={file} passage={passage} />)}
      {file && (
        <a class="button" href={`/v1/files/${encodeURIComponent(file)}/content`} download>
          <Icon name="file" />
          {t("download")}
        </a>
      )}
    </aside>
  );
}

/** The passage in the text of its file; alone while that is not there, or may not be read. */
function PassageView({ file, passage }: { file: string; passage: Passage }): VNode {
  const { quote, page, start, end } = passage;
  const [around, setAround] = useState<Context | null>(null);
  useEffect(() => {
    if (!file || end <= start) return;
    let shown = true;
    context(file, start, end).then(
      (found) => shown && found.passage && setAround(found),
      () => {},
    );
    return () => {
      shown = false;
    };
  }, []);
  return (
    <figure>
      <blockquote dir="auto">
        {around ? (
          <>
            {around.before}
            <mark>{around.passage}</mark>
            {around.after}
          </>
        ) : (
          quote
        )}
      </blockquote>
      {page !== null && <figcaption>{t("page", { number: page })}</figcaption>}
    </figure>
  );
}
