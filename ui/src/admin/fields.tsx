// Fields of forms and filters.

import type { TargetedEvent, TargetedInputEvent, VNode } from "preact";
import { useId } from "preact/hooks";
import { c } from "../i18n/console";
import { type Field, type Given, lines } from "./list";

interface Shown {
  field: Field;
  value: string;
  set: (value: string) => void;
  /** Why its value was not taken. */
  error?: string;
}

/** Returns the first values of fields. */
export function first(fields: Field[]): Given {
  return Object.fromEntries(fields.map(({ name, value, always }) => [name, value ?? always ?? ""]));
}

/** Returns the field of a form that becomes the field of a request at this path, such as `quotas[0].limit`. */
export function at(fields: Field[], path: string | null): Field | undefined {
  const names = path?.split(/[.[\]]+/) ?? [];
  return fields.find(({ name, param = name }) => names.includes(param));
}

export function FieldInput({ field, value, set, error }: Shown): VNode {
  const id = useId();
  const { kind, label, hint } = field;
  const described = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ");
  const about: About = { ...(described && { "aria-describedby": described }), ...(error && { "aria-invalid": "true" }) };
  const input = { id, field, value, set, about };
  const notes = (
    <>
      {hint && <p class="hint" id={`${id}-hint`}>{hint}</p>}
      {error && <p class="error" role="alert" id={`${id}-error`}>{error}</p>}
    </>
  );
  if (kind === "several") return <Several {...input}>{notes}</Several>;
  return (
    <div class={kind === "tick" ? "" : "field-of"}>
      {kind === "tick" ? (
        <label class="tick"><Tick {...input} />{c(label)}</label>
      ) : (
        <>
          <label for={id}>{c(label)}</label>
          <Input {...input} />
        </>
      )}
      {notes}
    </div>
  );
}

/** What assistive technology is told of a field. */
interface About {
  "aria-describedby"?: string;
  "aria-invalid"?: "true";
}

interface InputShown extends Omit<Shown, "error"> {
  id: string;
  about: About;
}

function Tick({ id, field, value, set, about }: InputShown): VNode {
  const onChange = (event: TargetedEvent<HTMLInputElement>) => set(event.currentTarget.checked ? "yes" : "");
  return <input {...about} id={id} name={field.name} type="checkbox" checked={value === "yes"} onChange={onChange} />;
}

function Input({ id, field, value, set, about }: InputShown): VNode {
  const { kind = "text", choices = [], required = false, max = 256 } = field;
  const shared = { ...about, id, name: field.name, value, required };
  if (kind === "choice") {
    return (
      <select {...shared} onChange={(event) => set(event.currentTarget.value)}>
        {!required && !field.always && <option value="">{c("any")}</option>}
        {required && !value && <option value="">{c("choose")}</option>}
        {choices.map((each) => <option key={each} value={each}>{each}</option>)}
      </select>
    );
  }
  if (kind === "lines") {
    return <textarea {...shared} dir="auto" rows={4} onInput={(event) => set(event.currentTarget.value)} />;
  }
  const onInput = (event: TargetedInputEvent<HTMLInputElement>) => set(event.currentTarget.value);
  if (kind === "number") return <input {...shared} type="number" step="any" min="0" onInput={onInput} />;
  if (kind !== "text") return <input {...shared} type="date" onInput={onInput} />;
  const text = { dir: "auto", maxLength: max, autocomplete: "off", spellcheck: false } as const;
  return <input {...shared} {...text} type="text" onInput={onInput} />;
}

function Several({ field, value, set, about, children }: InputShown & { children: VNode }): VNode {
  const chosen = lines(value);
  const { "aria-describedby": notes, ...each } = about;
  return (
    <fieldset aria-describedby={notes}>
      <legend>{c(field.label)}</legend>
      {children}
      {field.choices?.map((choice) => (
        <label key={choice} class="tick">
          <input
            {...each}
            type="checkbox"
            value={choice}
            checked={chosen.includes(choice)}
            onChange={(event) => {
              const others = chosen.filter((one) => one !== choice);
              set((event.currentTarget.checked ? [...others, choice] : others).join("\n"));
            }}
          />
          <bdi>{choice}</bdi>
        </label>
      ))}
    </fieldset>
  );
}
