// A secret that is shown this once.

import type { VNode } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { CopyButton } from "./copy";
import { t } from "./i18n";

export function Secret({ secret, close }: { secret: string; close: () => void }): VNode {
  const first = useRef<HTMLParagraphElement>(null);
  // The button that had the focus is gone; whoever listens hears what this is.
  useLayoutEffect(() => first.current?.focus(), []);
  return (
    <>
      <p ref={first} tabIndex={-1}>{t("shownOnce")}</p>
      <p class="secret"><code dir="ltr">{secret}</code><CopyButton text={secret} label={t("copySecret")} /></p>
      <p class="buttons"><button type="button" class="primary" onClick={close}>{t("kept")}</button></p>
    </>
  );
}
