/** @jsxRuntime classic */
/** @jsx h */
// Forms of the library: each says beside a field why that was not taken.

import type { ComponentChildren, VNode } from "preact";
import { ApiError, described, h, t, useId, useLayoutEffect, useRef, useState } from "./kit";
import { say } from "./texts";

const NAME = /^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$/;

/** Returns why a text is no name of an assistant or a prompt; empty if it is one. */
export function nameError(name: string): string {
  if (!name) return say("needed");
  return NAME.test(name) ? "" : say("badName");
}

interface Shown {
  label: string;
  /** Why fields cannot be sent, by their names; empty texts say nothing. */
  check: () => Record<string, string>;
  save: () => Promise<void>;
  cancel: () => void;
  children: (errors: Record<string, string>) => ComponentChildren;
}

/** A form whose errors stand beside the fields that they name, or at its end; nothing that was written is lost. */
export function Form({ label, check, save, cancel, children }: Shown): VNode {
  const [busy, setBusy] = useState(false);
  const [errors, setErrors] = useState<Record<string, string>>({});
  const form = useRef<HTMLFormElement>(null);
  useLayoutEffect(() => form.current?.querySelector<HTMLElement>("input, textarea, select")?.focus(), []);
  useLayoutEffect(() => form.current?.querySelector<HTMLElement>("[aria-invalid=true]")?.focus(), [errors]);
  const submit = async (event: Event) => {
    event.preventDefault();
    if (busy) return;
    const wrong = Object.entries(check()).filter(([, why]) => why);
    setErrors(Object.fromEntries(wrong));
    if (wrong.length) return;
    setBusy(true);
    try {
      await save();
    } catch (failed) {
      const field = (failed instanceof ApiError && failed.param?.split(/[.[]/)[0]) || "";
      const known = field && form.current?.querySelector(`[name="${CSS.escape(field)}"]`);
      setErrors({ [known ? field : ""]: described(failed) });
      setBusy(false);
    }
  };
  return (
    <form ref={form} noValidate onSubmit={submit}>
      {children(errors)}
      <p class="error" role="alert">{errors[""]}</p>
      <p class="buttons">
        <button type="button" onClick={cancel}>{t("cancel")}</button>
        <button type="submit" class="primary">{label}</button>
      </p>
    </form>
  );
}

interface Field {
  name: string;
  label: string;
  hint?: string;
  error?: string | undefined;
  children: (attributes: Attributes) => VNode;
}

interface Attributes {
  id: string;
  name: string;
  "aria-describedby": string | undefined;
  "aria-invalid": boolean;
}

/** A label, what is written there, what it may be, and why it was not taken. */
export function Field({ name, label, hint, error, children }: Field): VNode {
  const id = useId();
  const about = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ");
  return (
    <div class="entry">
      <label for={id}>{label}</label>
      {children({ id, name, "aria-describedby": about || undefined, "aria-invalid": !!error })}
      {hint && <p class="hint" id={`${id}-hint`}>{hint}</p>}
      {error && <p class="error" id={`${id}-error`}>{error}</p>}
    </div>
  );
}

interface Written extends Omit<Field, "children"> {
  value: string;
  change: (value: string) => void;
  /** Number of lines. */
  rows?: number;
}

/** A field in which text is written. */
export function TextField({ value, change, rows = 1, ...field }: Written): VNode {
  return (
    <Field {...field}>
      {(attributes) =>
        rows > 1 ? (
          <textarea {...attributes} rows={rows} dir="auto" value={value} onInput={(e) => change(e.currentTarget.value)} />
        ) : (
          <input {...attributes} dir="auto" autocomplete="off" value={value} onInput={(e) => change(e.currentTarget.value)} />
        )
      }
    </Field>
  );
}

interface Picked extends Omit<Field, "children"> {
  value: string;
  change: (value: string) => void;
  options: readonly (readonly [value: string, text: string])[];
}

export function SelectField({ value, change, options, ...field }: Picked): VNode {
  return (
    <Field {...field}>
      {(attributes) => (
        <select {...attributes} value={value} onChange={(e) => change(e.currentTarget.value)}>
          {options.map(([each, text]) => <option key={each} value={each}>{text}</option>)}
        </select>
      )}
    </Field>
  );
}

interface Question {
  text: string;
  does: () => Promise<void>;
  cancel: () => void;
}

/** Asks before something is deleted. */
export function Sure({ text, does, cancel }: Question): VNode {
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const no = useRef<HTMLButtonElement>(null);
  useLayoutEffect(() => no.current?.focus(), []);
  const yes = async () => {
    if (busy) return;
    setBusy(true);
    setError("");
    try {
      await does();
    } catch (failed) {
      setError(described(failed));
      setBusy(false);
    }
  };
  return (
    <div class="sure">
      <p>{text}</p>
      <p class="error" role="alert">{error}</p>
      <p class="buttons">
        <button type="button" ref={no} onClick={cancel}>{t("cancel")}</button>
        <button type="button" class="danger" onClick={yes}>{t("delete")}</button>
      </p>
    </div>
  );
}

/** What could not be loaded for a form. */
export function Failure({ text, back }: { text: string; back: () => void }): VNode {
  return (
    <div>
      <p class="error" role="alert">{text}</p>
      <p class="buttons"><button type="button" onClick={back}>{say("back")}</button></p>
    </div>
  );
}
