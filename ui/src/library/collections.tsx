/** @jsxRuntime classic */
/** @jsx h */
/** @jsxFrag Fragment */
// Collections: their list, the form that makes or changes one, and its documents.

import type { VNode } from "preact";
import { type Collection, type Document, PATH, removeDocument } from "./collection";
import { Documents } from "./documents";
import { Form, SelectField, Sure, TextField } from "./form";
import { Fragment, h, json, request, status, t, useState } from "./kit";
import { accessOf, type Audience, audienceOf, audiences, Entries, Entry, everything, mayChange, usePages } from "./lists";
import { say } from "./texts";

/** Returns how many documents a collection has, and what is to be known of them. */
function counts({ file_counts: { in_progress: reading, failed, total } }: Collection): string {
  if (reading) return say("countsReading", { total, reading });
  return say(failed ? "countsFailed" : "counts", { total, failed });
}

export function Collections(): VNode {
  const pages = usePages<Collection>(PATH);
  const [made, setMade] = useState<Collection | "new" | null>(null);
  const [open, setOpen] = useState<Collection | null>(null);
  const [gone, setGone] = useState("");
  const back = async () => {
    setMade(null);
    setOpen(null);
    setGone("");
    await pages.reload();
  };
  const saved = async (collection: Collection) => {
    setOpen(made === "new" ? collection : null);
    setMade(null);
    await pages.reload();
  };
  if (made) return <CollectionForm of={made === "new" ? null : made} done={saved} cancel={() => setMade(null)} />;
  if (open) return <Documents of={open} back={back} />;
  const remove = async (collection: Collection) => {
    const documents = await everything<Document>(`${PATH}/${collection.id}/files`);
    for (const each of documents) await removeDocument(collection.id, each);
    await request("DELETE", `${PATH}/${collection.id}`);
    status.value = say("deleted", collection);
    await back();
  };
  return (
    <>
      <p class="hint">{say("collectionsHint")}</p>
      <p class="buttons">
        <button type="button" class="primary" onClick={() => setMade("new")}>{say("makeCollection")}</button>
      </p>
      <Entries pages={pages} none={say("noCollections")}>
        {(collection) => (
          <Entry key={collection.id} of={collection} about={counts(collection)}>
            <p class="buttons">
              <button type="button" aria-label={say("openNamed", collection)} onClick={() => setOpen(collection)}>
                {say("open")}
              </button>
              {mayChange(collection) && (
                <>
                  <button type="button" aria-label={say("changeNamed", collection)} onClick={() => setMade(collection)}>
                    {say("change")}
                  </button>
                  <button type="button" aria-label={say("deleteNamed", collection)} onClick={() => setGone(collection.id)}>
                    {t("delete")}
                  </button>
                </>
              )}
            </p>
            {gone === collection.id && (
              <Sure text={say("sureCollection")} cancel={() => setGone("")} does={() => remove(collection)} />
            )}
          </Entry>
        )}
      </Entries>
    </>
  );
}

interface Shown {
  of: Collection | null;
  done: (made: Collection) => Promise<void>;
  cancel: () => void;
}

function CollectionForm({ of, done, cancel }: Shown): VNode {
  const before = of ? audienceOf(of.headrace) : null;
  const [name, setName] = useState(of?.name ?? "");
  const [audience, setAudience] = useState<Audience>(before ?? "mine");
  const save = async () => {
    const body = { name: name.trim(), ...(audience !== before && { access: accessOf(audience) }) };
    const made = await json<Collection>("POST", of ? `${PATH}/${of.id}` : PATH, { body });
    status.value = say("saved", made);
    await done(made);
  };
  return (
    <Form label={say("save")} save={save} cancel={cancel} check={() => ({ name: name.trim() ? "" : say("needed") })}>
      {(errors) => (
        <>
          <TextField name="name" label={say("name")} error={errors["name"]} value={name} change={setName} />
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
