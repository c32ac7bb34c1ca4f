/** @jsxRuntime classic */
/** @jsx h */
// The dialog of stored prompts: a list that narrows as one writes, and fields for the variables of the chosen one.

import type { Signal } from "@preact/signals";
import type { ComponentType, h, TargetedKeyboardEvent, VNode } from "preact";
import type { Page } from "../api/conversations";
import { ar } from "../i18n/prompts/ar";
import { en } from "../i18n/prompts/en";
import { matching } from "./matching";
import type { Kit as Given } from ".";

/** The types of JSX are those of `h`. */
type Kit = Given & { h: typeof h };

interface Prompt {
  id: string;
  name: string;
  description: string;
  version: number;
  labels: Record<string, number>;
  headrace: { first_line: string };
}

interface Version {
  version: number;
  text: string;
  variables: string[];
}

interface Shown {
  prompts: readonly Prompt[];
  /** What is looked for at first. */
  query: string;
  /** Called with what was looked for, when no prompt was chosen. */
  leave: (query: string) => void;
  /** Called with the text of the chosen prompt. */
  take: (text: string) => void;
}

let Picker: ComponentType<Shown> | undefined;

/**
 * Shows the prompts, unless the reader may not use any. With a `slash`, what is written after it is looked for, and
 * nothing happens if it is no longer the first character of the draft.
 */
export async function open(kit: Kit, draft: Signal<string>, slash: boolean): Promise<void> {
  const { h, shown, error, session, refused } = kit;
  const id = session.peek()?.id ?? "";
  Picker ??= picker(kit);
  error.value = "";
  try {
    const prompts = await all(kit);
    const before = draft.peek();
    if (session.peek()?.id !== id || (slash && !/^\/.*$/.test(before))) return;
    const end = (text: string) => {
      draft.value = text;
      shown.value = null;
    };
    const leave = (query: string) => end(slash ? `/${query}` : draft.peek());
    const take = (text: string) => end(slash || !before ? text : `${before}\n${text}`);
    shown.value = <Picker key={id} prompts={prompts} query={slash ? before.slice(1) : ""} leave={leave} take={take} />;
  } catch (failed) {
    const status = (failed as { status?: number }).status;
    if (status === 403 || status === 404) refused.value = id;
    else error.value = kit.described(failed);
  }
}

async function all({ json }: Kit): Promise<Prompt[]> {
  const found: Prompt[] = [];
  for (let after = ""; ; ) {
    const page = await json<Page<Prompt>>("GET", `/v1/prompts?limit=100${after}`);
    found.push(...page.data);
    if (!page.has_more) return found;
    after = `&after=${page.last_id}`;
  }
}

/** Makes the dialog. */
function picker({ h, useEffect, useRef, useState, json, described, language, OwnDialog }: Kit): ComponentType<Shown> {
  const texts = () => (language.value === "ar" ? ar : en);

  function Picker({ prompts, query, leave, take }: Shown): VNode {
    const said = texts();
    const [asked, setAsked] = useState(query);
    const [at, setAt] = useState(0);
    const [chosen, setChosen] = useState<{ prompt: Prompt; version: Version } | null>(null);
    const [error, setError] = useState("");
    const busy = useRef(false);
    const over = useRef(false);
    const list = useRef<HTMLUListElement>(null);
    const found = matching(prompts, asked);
    const active = found[at];
    useEffect(() => list.current?.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" }), [at, asked]);

    const close = () => {
      if (!over.current) leave(asked);
      over.current = true;
    };
    const taken = (text: string) => {
      if (over.current) return;
      over.current = true;
      take(text);
      // The dialog gives the focus back to where it was, which may be the button.
      document.getElementById("prompts")?.closest("dialog")?.close();
      document.getElementById("message")?.focus();
    };
    const work = async (act: () => Promise<void>) => {
      if (busy.current) return;
      busy.current = true;
      setError("");
      try {
        await act();
      } catch (failed) {
        if (!over.current) setError(described(failed));
      } finally {
        busy.current = false;
      }
    };
    const choose = (prompt: Prompt) =>
      work(async () => {
        const number = prompt.labels.production ?? prompt.version;
        const version = await json<Version>("GET", `/v1/prompts/${prompt.id}/versions/${number}`);
        if (version.variables.length) setChosen({ prompt, version });
        else taken(version.text);
      });
    const fill = ({ prompt, version }: NonNullable<typeof chosen>, variables: Record<string, string>) =>
      work(async () => {
        const body = { version: String(version.version), variables };
        const { text } = await json<{ text: string }>("POST", `/v1/prompts/${prompt.id}/render`, { body });
        taken(text);
      });
    const keyed = (event: TargetedKeyboardEvent<HTMLInputElement>) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step && found.length) setAt((at + step + found.length) % found.length);
      else if (event.key !== "Enter" || event.isComposing) return;
      else if (active) void choose(active);
      else close();
      event.preventDefault();
    };
    return (
      <OwnDialog id="prompts" title={chosen ? chosen.prompt.name : said.title} close={close}>
        {chosen ? (
          <Fields
            names={chosen.version.variables}
            fill={(values) => fill(chosen, values)}
            back={() => {
              setError("");
              setChosen(null);
            }}
          />
        ) : (
          <div class="prompts">
            <input
              role="combobox"
              autofocus
              dir="auto"
              autocomplete="off"
              spellcheck={false}
              aria-label={said.search}
              placeholder={said.search}
              aria-autocomplete="list"
              aria-expanded={!!active}
              aria-controls={active && "prompts-found"}
              aria-activedescendant={active && `prompt-${active.id}`}
              value={asked}
              onInput={(event) => {
                setAsked(event.currentTarget.value);
                setAt(0);
              }}
              onKeyDown={keyed}
            />
            {active && (
              <ul ref={list} id="prompts-found" role="listbox" aria-label={said.title}>
                {found.map((prompt, index) => (
                  <li
                    key={prompt.id}
                    id={`prompt-${prompt.id}`}
                    role="option"
                    aria-selected={index === at}
                    title={prompt.description || undefined}
                    onClick={() => choose(prompt)}
                  >
                    <strong dir="auto">{prompt.name}</strong>
                    <span class="hint" dir="auto">{prompt.headrace.first_line}</span>
                  </li>
                ))}
              </ul>
            )}
            <p class="hint" role="status">{active ? "" : prompts.length ? said.noMatch : said.none}</p>
          </div>
        )}
        {error && <p class="error" role="alert">{error}</p>}
      </OwnDialog>
    );
  }

  interface Asked {
    names: readonly string[];
    fill: (values: Record<string, string>) => void;
    back: () => void;
  }

  function Fields({ names, fill, back }: Asked): VNode {
    const said = texts();
    const form = useRef<HTMLFormElement>(null);
    useEffect(() => form.current?.querySelector("textarea")?.focus(), []);
    return (
      <form
        ref={form}
        onSubmit={(event) => {
          event.preventDefault();
          const given = new FormData(event.currentTarget);
          fill(Object.fromEntries(names.map((name) => [name, String(given.get(name))])));
        }}
      >
        {names.map((name, index) => (
          <label key={name} for={`variable-${index}`} dir="auto">
            {name}
            <textarea
              id={`variable-${index}`}
              name={name}
              rows={1}
              dir="auto"
              onKeyDown={(event) => {
                if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
                event.preventDefault();
                form.current?.requestSubmit();
              }}
            />
          </label>
        ))}
        <p class="buttons">
          <button type="button" onClick={back}>{said.back}</button>
          <button type="submit" class="primary">{said.insert}</button>
        </p>
      </form>
    );
  }

  return Picker;
}
