/** @jsxRuntime classic */
/** @jsx h */
/** @jsxFrag Fragment */
// Prompts: their list, and the form that makes or changes one.

import type { VNode } from "preact";
import { Failure, Form, nameError, Sure, TextField } from "./form";
import { described, Fragment, h, json, request, status, t, useEffect, useState } from "./kit";
import { Entries, Entry, type Listed, mayChange, usePages } from "./lists";
import { say } from "./texts";

export interface Prompt extends Listed {
  description: string;
  version: number;
  labels: Record<string, number>;
  headrace: Listed["headrace"] & { first_line: string };
}

export interface Version {
  version: number;
  text: string;
  variables: string[];
}

const PATH = "/v1/prompts";

/** Returns the version that a request without a version gets. */
export function current({ id, labels, version }: Prompt): Promise<Version> {
  return json("GET", `${PATH}/${id}/versions/${labels["production"] ?? version}`);
}

export function Prompts(): VNode {
  const pages = usePages<Prompt>(PATH);
  const [made, setMade] = useState<Prompt | "new" | null>(null);
  const [gone, setGone] = useState("");
  const done = async () => {
    setMade(null);
    setGone("");
    await pages.reload();
  };
  if (made) return <PromptForm of={made === "new" ? null : made} done={done} cancel={() => setMade(null)} />;
  return (
    <>
      <p class="hint">{say("promptsHint")}</p>
      <p class="buttons">
        <button type="button" class="primary" onClick={() => setMade("new")}>{say("makePrompt")}</button>
      </p>
      <Entries pages={pages} none={say("noPrompts")}>
        {(prompt) => (
          <Entry key={prompt.id} of={prompt} about={prompt.description || prompt.headrace.first_line}>
            {mayChange(prompt) && (
              <p class="buttons">
                <button type="button" aria-label={say("changeNamed", prompt)} onClick={() => setMade(prompt)}>
                  {say("change")}
                </button>
                <button type="button" aria-label={say("deleteNamed", prompt)} onClick={() => setGone(prompt.id)}>
                  {t("delete")}
                </button>
              </p>
            )}
            {gone === prompt.id && (
              <Sure
                text={say("surePrompt")}
                cancel={() => setGone("")}
                does={async () => {
                  await request("DELETE", `${PATH}/${prompt.id}`);
                  status.value = say("deleted", prompt);
                  await done();
                }}
              />
            )}
          </Entry>
        )}
      </Entries>
    </>
  );
}

interface Shown {
  of: Prompt | null;
  done: () => Promise<void>;
  cancel: () => void;
}

function PromptForm({ of, done, cancel }: Shown): VNode {
  const [name, setName] = useState(of?.name ?? "");
  const [description, setDescription] = useState(of?.description ?? "");
  const [text, setText] = useState("");
  const [before, setBefore] = useState<Version | null>(null);
  const [error, setError] = useState("");
  useEffect(() => {
    if (!of) return;
    current(of).then(
      (version) => {
        setBefore(version);
        setText(version.text);
      },
      (failed) => setError(described(failed)),
    );
  }, []);
  const save = async () => {
    if (!of) await json("POST", PATH, { body: { name, description, text } });
    else {
      if (description !== of.description) await json("POST", `${PATH}/${of.id}`, { body: { description } });
      if (text !== before?.text) {
        const added = await json<Version>("POST", `${PATH}/${of.id}/versions`, { body: { text } });
        const production = of.labels["production"];
        // The label names what requests get: without this they would still get the earlier text.
        const body = { version: added.version, expected_version: production };
        if (production) await json("PUT", `${PATH}/${of.id}/labels/production`, { body });
      }
    }
    status.value = say("saved", { name });
    await done();
  };
  if (of && !before) return error ? <Failure text={error} back={cancel} /> : <p class="hint">{t("loading")}</p>;
  return (
    <Form
      label={say("save")}
      save={save}
      cancel={cancel}
      check={() => ({ name: of ? "" : nameError(name), text: text.trim() ? "" : say("needed") })}
    >
      {(errors) => (
        <>
          {of ? (
            <h3 dir="auto">{name}</h3>
          ) : (
            <TextField
              name="name"
              label={say("name")}
              hint={say("nameHint")}
              error={errors["name"]}
              value={name}
              change={setName}
            />
          )}
          <TextField
            name="description"
            label={say("description")}
            error={errors["description"]}
            value={description}
            change={setDescription}
          />
          <TextField
            name="text"
            label={say("promptText")}
            hint={say("promptTextHint")}
            error={errors["text"]}
            value={text}
            change={setText}
            rows={8}
          />
        </>
      )}
    </Form>
  );
}
