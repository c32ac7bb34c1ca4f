// An act: its question and fields, why it failed, and a secret that is shown this once.

import type { ComponentChildren, VNode } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { ApiError } from "../api/http";
import { described } from "../described";
import { t } from "../i18n";
import { c } from "../i18n/console";
import { Icon } from "../icons";
import { useModal } from "../modal";
import { Secret } from "../secret";
import { at, FieldInput, first } from "./fields";
import type { Act, Field, Given } from "./list";
import { say } from "./said";

interface Shown<T> {
  act: Act<T>;
  row: T;
  name: string;
  close: () => void;
  /** Called once it is done. */
  done: () => void;
}

export function ActDialog<T>({ act, row, name, close, done }: Shown<T>): VNode {
  const [secret, setSecret] = useState("");
  const title = name ? `${c(act.label)}: ${name}` : c(act.label);
  const finished = (answer: unknown) => {
    say(c("done", { act: title }));
    done();
    const once = act.secret?.(answer);
    if (once) setSecret(once);
    else close();
  };
  const form = () => <Form act={act} row={row} close={close} finished={finished} />;
  return (
    <Dialog title={title} close={close} wide={!!act.shows}>
      {secret ? <Secret secret={secret} close={close} /> : act.shows ? act.shows(row) : form()}
    </Dialog>
  );
}

interface FormShown<T> {
  act: Act<T>;
  row: T;
  close: () => void;
  finished: (answer: unknown) => void;
}

/** Why it was not done: the field whose value is wrong, if it is one of the form. */
interface Failure {
  text: string;
  field?: string;
}

function Form<T>({ act, row, close, finished }: FormShown<T>): VNode {
  const [fields] = useState(() => act.fields?.(row) ?? []);
  const [given, setGiven] = useState<Given>(() => first(fields));
  const [failure, setFailure] = useState<Failure | null>(null);
  const [busy, setBusy] = useState(false);
  const form = useRef<HTMLFormElement>(null);
  useEffect(() => form.current?.querySelector<HTMLElement>("[aria-invalid]")?.focus(), [failure]);
  const fail = (text: string, field?: Field) => {
    setFailure(field ? { text: `${c(field.label)}: ${text}`, field: field.name } : { text });
  };
  const submit = async (event: Event) => {
    event.preventDefault();
    if (busy) return;
    const other = fields.find(({ name, same }) => same && given[name] !== given[same]);
    if (other) {
      fail(c("notTheSame"), other);
      return;
    }
    setBusy(true);
    setFailure(null);
    try {
      finished(await act.does?.(row, given));
    } catch (failed) {
      fail(described(failed), at(fields, failed instanceof ApiError ? failed.param : null));
      setBusy(false);
    }
  };
  return (
    <form ref={form} onSubmit={submit}>
      {act.question && <p>{act.question(row)}</p>}
      {fields.map((field) => (
        <FieldInput
          key={field.name}
          field={field}
          value={given[field.name] ?? ""}
          set={(value) => setGiven((before) => ({ ...before, [field.name]: value }))}
          error={failure?.field === field.name ? failure.text : ""}
        />
      ))}
      <p class="error" role="alert">{failure?.field ? "" : failure?.text}</p>
      <p class="buttons">
        <button type="button" onClick={close}>{t("cancel")}</button>
        <button type="submit" class={act.danger ? "danger" : "primary"} disabled={busy}>{c(act.label)}</button>
      </p>
    </form>
  );
}

interface DialogShown {
  title: string;
  close: () => void;
  wide?: boolean;
  children: ComponentChildren;
}

export function Dialog({ title, close, wide = false, children }: DialogShown): VNode {
  const dialog = useModal();
  const id = useId();
  return (
    <dialog ref={dialog} class={wide ? "wide" : ""} aria-labelledby={id} onClose={close}>
      <div class="panel-head">
        <h2 id={id} dir="auto">{title}</h2>
        <button type="button" class="icon end" aria-label={t("close")} onClick={() => dialog.current?.close()}>
          <Icon name="close" />
        </button>
      </div>
      {children}
    </dialog>
  );
}
