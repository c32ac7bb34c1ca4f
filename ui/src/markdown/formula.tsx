// A formula: MathML once what makes it is loaded, which only an answer with a formula asks for; until then its source.

import { signal } from "@preact/signals";
import { h, type VNode } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import { t } from "../i18n";
import { withoutMarks } from "./citations";
import type { Formula } from "./formulas";
import type { mathml } from "./mathml";

const maker = signal<typeof mathml | null>(null);
let loading: Promise<void> | null = null;

/** Loads what makes MathML. Without it, formulas stay as they are written. */
export function load(): Promise<void> {
  loading ??= import("./mathml").then(
    (made) => {
      maker.value = made.mathml;
    },
    () => {
      loading = null;
    },
  );
  return loading;
}

/** A longer formula in a line may be wider than a phone, and is scrolled. */
const WIDE = 40;

export function FormulaView({ formula }: { formula: Formula }): VNode {
  const { raw, text, display } = formula;
  const make = maker.value;
  useEffect(() => void load(), []);
  const made = useMemo(() => make?.(h, withoutMarks(text), display), [make, raw]);
  if (!made) return <code dir="ltr">{withoutMarks(raw)}</code>;
  if (!display && text.length < WIDE) return made;
  const name = display ? "formula" : "formula wide";
  // Keyboards scroll what has the focus.
  return <span class={name} dir="ltr" tabIndex={0} role="group" aria-label={t("formula")}>{made}</span>;
}
