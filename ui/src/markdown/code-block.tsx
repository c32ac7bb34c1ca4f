// A block of code, with its language and a button that copies it.

import type { VNode } from "preact";
import { CopyButton } from "../copy";
import { t } from "../i18n";

export function CodeBlock({ text, language }: { text: string; language: string }): VNode {
  const name = /^[\w+#.-]{1,24}/.exec(language)?.[0] ?? "";
  return (
    <figure class="code" dir="ltr">
      <figcaption>
        <span>{name}</span>
        <CopyButton text={text} label={t("copyCode")} />
      </figcaption>
      <pre tabIndex={0} aria-label={name || t("code")}>
        <code>{text}</code>
      </pre>
    </figure>
  );
}
