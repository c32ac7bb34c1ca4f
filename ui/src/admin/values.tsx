// Values as people read them.

import type { ComponentChildren, VNode } from "preact";
import { language } from "../i18n";
import { c } from "../i18n/console";

export function number(value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : new Intl.NumberFormat(language.value).format(value);
}

export function percent(value: number): string {
  return new Intl.NumberFormat(language.value, { style: "percent", maximumFractionDigits: 1 }).format(value);
}

export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  const units = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];
  const step = value ? Math.min(units.length - 1, Math.floor(Math.log10(value) / 3)) : 0;
  const shown = { style: "unit", unit: units[step] as string, unitDisplay: "short", maximumFractionDigits: 1 } as const;
  return new Intl.NumberFormat(language.value, shown).format(value / 1000 ** step);
}

/** A time in unix seconds. */
export function Time({ at }: { at: number | null | undefined }): VNode {
  if (at === null || at === undefined) return <>–</>;
  const moment = new Date(at * 1000);
  const shown = new Intl.DateTimeFormat(language.value, { dateStyle: "medium", timeStyle: "short" }).format(moment);
  return <time dateTime={moment.toISOString()}>{shown}</time>;
}

/** A time in ISO 8601. */
export function Moment({ at }: { at: string | null }): VNode {
  return <Time at={at === null ? null : Date.parse(at) / 1000} />;
}

/** More characters than a word has: ids and addresses, which may be broken where there is no room. */
const LONG = 20;

/** Something of the API's language, such as an id or a status. */
export function Code({ children }: { children: ComponentChildren }): VNode {
  const long = typeof children === "string" && children.split(/\s/).some((word) => word.length > LONG);
  return <bdi class={long ? "code long" : "code"}>{children || "–"}</bdi>;
}

const GOOD = new Set(["completed", "succeeded", "ready", "processed", "ok", "canary", "promoted", "active"]);
const BAD = new Set(["failed", "rejected", "denied", "disabled", "revoked", "expired", "error"]);

/** A state, which its word says too. */
export function State({ of }: { of: string }): VNode {
  const kind = GOOD.has(of) ? "good" : BAD.has(of) ? "bad" : "";
  return <bdi class={`state ${kind}`}>{of}</bdi>;
}

/** Text of people, in the direction of its language. */
export function Words({ children }: { children: ComponentChildren }): VNode {
  return <bdi>{children || "–"}</bdi>;
}

export function YesNo({ of }: { of: boolean }): VNode {
  return <>{c(of ? "yes" : "no")}</>;
}

/** An object of the API with all that is in it. */
export function Facts({ of }: { of: object }): VNode {
  return (
    <dl class="facts">
      {Object.entries(of).map(([name, value]) => (
        <div key={name}>
          <dt><Code>{name}</Code></dt>
          <dd><Fact of={value} /></dd>
        </div>
      ))}
    </dl>
  );
}

function Fact({ of }: { of: unknown }): VNode {
  if (of === null || of === undefined || of === "") return <>–</>;
  if (Array.isArray(of)) {
    if (!of.length) return <>–</>;
    return <ul>{of.map((each, place) => <li key={place}><Fact of={each} /></li>)}</ul>;
  }
  if (typeof of === "object") return Object.keys(of).length ? <Facts of={of} /> : <>–</>;
  if (typeof of === "boolean") return <YesNo of={of} />;
  if (typeof of === "number") return <bdi>{of}</bdi>;
  return <Words>{String(of)}</Words>;
}

/** Lines of a stack's configuration, to be edited in its file. */
export function Lines({ children }: { children: string }): VNode {
  return (
    <pre class="lines" dir="ltr" tabIndex={0} aria-label={c("linesToEdit")} role="group">
      <code>{children}</code>
    </pre>
  );
}
