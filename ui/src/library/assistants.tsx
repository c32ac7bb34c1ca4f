/** @jsxRuntime classic */
/** @jsx h */
/** @jsxFrag Fragment */
// Assistants: their list, and the form that makes or changes one.

import type { VNode } from "preact";
import { Failure, Form, nameError, SelectField, Sure, TextField } from "./form";
import { described, Fragment, go, h, json, loadModels, model, models, request, status, t, useEffect, useState } from "./kit";
import {
  accessOf,
  type Audience,
  audienceOf,
  audiences,
  Entries,
  Entry,
  everything,
  type Listed,
  mayChange,
  usePages,
} from "./lists";
import { current, type Prompt } from "./prompts";
import { say } from "./texts";

interface Reference {
  id: string;
  version?: string | null;
  variables?: Record<string, string> | null;
}

/** What a version of an assistant has; others than these are kept as they are. */
interface Settings {
  model: string;
  description: string;
  starters: string[];
  instructions: string;
  prompt: Reference | null;
  vector_store_ids: string[];
}

interface Assistant extends Listed, Settings {
  object: string;
  created_at: number;
  version: number;
}

const PATH = "/v1/assistants";
const NEW: Settings = { model: "", description: "", starters: [], instructions: "", prompt: null, vector_store_ids: [] };

export function Assistants({ close }: { close: () => void }): VNode {
  const pages = usePages<Assistant>(PATH);
  const [made, setMade] = useState<Assistant | "new" | null>(null);
  const [gone, setGone] = useState("");
  const done = async () => {
    setMade(null);
    setGone("");
    await Promise.all([pages.reload(), loadModels()]);
  };
  if (made) return <AssistantForm of={made === "new" ? null : made} done={done} cancel={() => setMade(null)} />;
  const ask = (name: string) => {
    model.value = name;
    close();
    go("/");
  };
  const known = (name: string) => models.value?.some(({ id }) => id === name);
  return (
    <>
      <p class="hint">{say("assistantsHint")}</p>
      <p class="buttons">
        <button type="button" class="primary" onClick={() => setMade("new")}>{say("makeAssistant")}</button>
      </p>
      <Entries pages={pages} none={say("noAssistants")}>
        {(assistant) => (
          <Entry key={assistant.id} of={assistant} about={assistant.description}>
            <p class="buttons">
              {known(assistant.name) && (
                <button type="button" aria-label={say("askNamed", assistant)} onClick={() => ask(assistant.name)}>
                  {say("ask")}
                </button>
              )}
              {mayChange(assistant) && (
                <>
                  <button type="button" aria-label={say("changeNamed", assistant)} onClick={() => setMade(assistant)}>
                    {say("change")}
                  </button>
                  <button type="button" aria-label={say("deleteNamed", assistant)} onClick={() => setGone(assistant.id)}>
                    {t("delete")}
                  </button>
                </>
              )}
            </p>
            {gone === assistant.id && (
              <Sure
                text={say("sureAssistant")}
                cancel={() => setGone("")}
                does={async () => {
                  await request("DELETE", `${PATH}/${assistant.id}`);
                  status.value = say("deleted", assistant);
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
  of: Assistant | null;
  done: () => Promise<void>;
  cancel: () => void;
}

/** What a form of an assistant offers. */
interface Offered {
  stores: readonly Listed[];
  prompts: readonly Prompt[];
}

function AssistantForm({ of, done, cancel }: Shown): VNode {
  const [offered, setOffered] = useState<Offered | null>(null);
  const [error, setError] = useState("");
  useEffect(() => {
    Promise.all([everything<Listed>("/v1/vector_stores"), everything<Prompt>("/v1/prompts")]).then(
      ([stores, prompts]) => setOffered({ stores, prompts }),
      (failed) => setError(described(failed)),
    );
  }, []);
  if (error) return <Failure text={error} back={cancel} />;
  if (!offered) return <p class="hint">{t("loading")}</p>;
  return <Fields of={of} offered={offered} done={done} cancel={cancel} />;
}

function Fields({ of, offered: { stores, prompts }, done, cancel }: Shown & { offered: Offered }): VNode {
  const before = of ? audienceOf(of.headrace) : null;
  const answering = (models.value ?? []).filter(({ headrace }) => headrace.kind !== "assistant");
  const names = [...new Set([...(of ? [of.model] : []), ...answering.map(({ id }) => id)])];
  const [name, setName] = useState(of?.name ?? "");
  const [settings, setSettings] = useState<Settings>(of ? settingsOf(of) : { ...NEW, model: names[0] ?? "" });
  const [starters, setStarters] = useState(settings.starters.join("\n"));
  const [audience, setAudience] = useState<Audience>(before ?? "mine");
  const [variables, setVariables] = useState<readonly string[]>([]);
  const change = (changed: Partial<Settings>) => setSettings((now) => ({ ...now, ...changed }));
  const prompt = settings.prompt && prompts.find(({ id }) => id === settings.prompt?.id);
  useEffect(() => {
    setVariables([]);
    // Without the names of its variables the API says which are missing.
    if (prompt) void current(prompt).then((version) => setVariables(version.variables)).catch(() => {});
  }, [prompt?.id]);
  const save = async () => {
    const asked = starters.split("\n").map((line) => line.trim()).filter(Boolean);
    const body = { ...settings, starters: asked, ...(settings.prompt && { instructions: "" }) };
    if (!of) await json("POST", PATH, { body: { ...body, name, access: accessOf(audience) } });
    else {
      await json("POST", `${PATH}/${of.id}/versions`, { body });
      if (audience !== before) await json("POST", `${PATH}/${of.id}`, { body: { access: accessOf(audience) } });
    }
    status.value = say("saved", { name });
    await done();
  };
  const ticked = (id: string, on: boolean) => {
    const others = settings.vector_store_ids.filter((each) => each !== id);
    change({ vector_store_ids: on ? [...others, id] : others });
  };
  return (
    <Form
      label={say("save")}
      save={save}
      cancel={cancel}
      check={() => ({ name: of ? "" : nameError(name), model: settings.model ? "" : say("needed") })}
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
            value={settings.description}
            change={(description) => change({ description })}
          />
          <SelectField
            name="model"
            label={say("model")}
            error={errors["model"]}
            value={settings.model}
            change={(name) => change({ model: name })}
            options={names.map((each) => [each, each])}
          />
          {!settings.prompt && (
            <TextField
              name="instructions"
              label={say("instructions")}
              hint={say("instructionsHint")}
              error={errors["instructions"]}
              value={settings.instructions}
              change={(instructions) => change({ instructions })}
              rows={4}
            />
          )}
          {(prompts.length > 0 || settings.prompt) && (
            <SelectField
              name="prompt"
              label={say("fromPrompt")}
              error={errors["prompt"]}
              value={settings.prompt?.id ?? ""}
              change={(id) => change({ prompt: id ? { id } : null })}
              options={[["", say("noPrompt")], ...prompts.map((each) => [each.id, each.name] as const)]}
            />
          )}
          {variables.map((variable) => (
            <TextField
              key={variable}
              name={`variable ${variable}`}
              label={say("valueOf", { name: variable })}
              value={settings.prompt?.variables?.[variable] ?? ""}
              change={(value) =>
                settings.prompt &&
                change({ prompt: { ...settings.prompt, variables: { ...settings.prompt.variables, [variable]: value } } })
              }
            />
          ))}
          {stores.length > 0 && (
            <fieldset>
              <legend>{say("documents")}</legend>
              {stores.map(({ id, name: called }) => (
                <label key={id} class="tick">
                  <input
                    type="checkbox"
                    name="vector_store_ids"
                    checked={settings.vector_store_ids.includes(id)}
                    onChange={(event) => ticked(id, event.currentTarget.checked)}
                  />
                  <span dir="auto">{called}</span>
                </label>
              ))}
              <p class="error">{errors["vector_store_ids"]}</p>
            </fieldset>
          )}
          <TextField
            name="starters"
            label={say("starters")}
            hint={say("startersHint")}
            error={errors["starters"]}
            value={starters}
            change={setStarters}
            rows={3}
          />
          <SelectField
            name="access"
            label={say("access")}
            error={errors["access"]}
            value={audience}
            change={(each) => setAudience(each as Audience)}
            options={audiences(before)}
          />
        </>
      )}
    </Form>
  );
}

/** Returns what a new version begins with: a version is complete, and what it leaves out has its default. */
function settingsOf({ id, object, created_at, name, version, headrace, ...settings }: Assistant): Settings {
  return settings;
}
