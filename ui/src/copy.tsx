// A button that copies a text.

import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { t } from "./i18n";
import { Icon } from "./icons";

const SHOWN_MS = 1600;

export function CopyButton({ text, label }: { text: string | (() => string); label: string }): VNode {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(typeof text === "string" ? text : text());
      setCopied(true);
      setTimeout(() => setCopied(false), SHOWN_MS);
    } catch {
      // Without the permission nothing is copied, and the button does not claim otherwise.
    }
  };
  return (
    <button type="button" class="icon" onClick={copy} aria-label={copied ? t("copied") : label} title={label}>
      <Icon name={copied ? "check" : "copy"} />
    </button>
  );
}
