/** @jsxRuntime classic */
/** @jsx h */
/** @jsxFrag Fragment */
// The documents of a collection: added by files and folders, with their progress, and deleted.

import type { VNode } from "preact";
import type { Upload } from "../api/uploads";
import { type Collection, type Document, PATH, removeDocument } from "./collection";
import { chosen, dropped, type Found, type Limits, refusal } from "./files";
import { Sure } from "./form";
import { ApiError, described, Fragment, h, json, request, status, t, upload, useEffect, useRef, useState } from "./kit";
import { Entries, mayChange, usePages } from "./lists";
import { say } from "./texts";

/** How many files are sent at once. */
const AT_ONCE = 3;
const PAUSE_MS = 1000;
/** How many names of files that are left out are said. */
const NAMED = 5;

/** A file that is sent. */
interface Sent {
  path: string;
  share: number;
  error: string;
}

interface Shown {
  of: Collection;
  back: () => void;
}

export function Documents({ of, back }: Shown): VNode {
  const pages = usePages<Document>(`${PATH}/${of.id}/files`);
  const [sent, setSent] = useState<readonly Sent[]>([]);
  const [leftOut, setLeftOut] = useState<readonly string[]>([]);
  const [over, setOver] = useState(false);
  const [gone, setGone] = useState("");
  const [error, setError] = useState("");
  const queue = useRef<{ found: Found; line: Sent }[]>([]);
  const under = useRef(new Set<Upload>());
  const ended = useRef(false);
  useEffect(
    () => () => {
      ended.current = true;
      under.current.forEach((each) => each.stop());
    },
    [],
  );
  const reading = pages.found?.some((each) => each.status === "in_progress");
  useEffect(() => {
    if (!reading) return;
    const timer = window.setTimeout(() => void pages.reload(), PAUSE_MS);
    return () => clearTimeout(timer);
  }, [pages.found]);
  // Lines are changed in place: this draws them again.
  const draw = () => !ended.current && setSent((all) => all.filter(({ share, error: why }) => share < 1 || why));

  const work = async () => {
    for (let next = queue.current.shift(); next && !ended.current; next = queue.current.shift()) {
      const { line } = next;
      try {
        await send(next.found, line);
        line.share = 1;
      } catch (failed) {
        line.error = described(failed);
      }
      draw();
    }
  };
  const send = async ({ file, path }: Found, line: Sent) => {
    const one = upload(file, (share) => {
      // All of it is there only once it belongs to the collection.
      line.share = Math.min(share, 0.99);
      draw();
    });
    under.current.add(one);
    const { id } = await one.done.finally(() => under.current.delete(one));
    try {
      // The API takes so many characters for an attribute.
      const body = { file_id: id, attributes: { path: path.slice(-512) } };
      await json("POST", `${PATH}/${of.id}/files`, { body });
    } catch (failed) {
      request("DELETE", `/v1/files/${id}`).catch(() => {});
      throw failed;
    }
  };
  const add = async (found: readonly Found[]) => {
    setError("");
    setLeftOut([]);
    try {
      const { headrace } = await json<{ headrace: { limits: Limits } }>("GET", "/v1/me");
      const { limits } = headrace;
      const size = Math.floor(limits.upload_bytes / (1 << 20));
      const why = found.map((each) => refusal(each, limits));
      setLeftOut(found.filter((_, at) => why[at] === "kind").map(({ path }) => path));
      const lines = found.map(({ path }, at) => {
        const refused = why[at];
        return { path, share: 0, error: refused === "empty" || refused === "large" ? say(refused, { size }) : "" };
      });
      setSent((before) => [...before.filter((each) => !each.error), ...lines.filter((_, at) => why[at] !== "kind")]);
      const good = found.flatMap((each, at) => (why[at] ? [] : [{ found: each, line: lines[at] as Sent }]));
      queue.current.push(...good);
      await Promise.all(Array.from({ length: AT_ONCE }, work));
      await pages.reload();
      status.value = say("added", { count: good.filter(({ line }) => !line.error).length });
    } catch (failed) {
      if (!(failed instanceof ApiError)) throw failed;
      setError(described(failed));
    }
  };
  const taken = (event: DragEvent) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    // The chat behind takes files too.
    event.preventDefault();
    event.stopPropagation();
    setOver(event.type === "dragover");
    if (event.type === "drop") void dropped(event.dataTransfer).then(add);
  };
  const field = (label: string, folder: boolean) => (
    <label class="button">
      {label}
      <input
        type="file"
        multiple
        {...(folder && { webkitdirectory: true })}
        onChange={(event) => {
          void add(chosen(event.currentTarget.files ?? []));
          event.currentTarget.value = "";
        }}
      />
    </label>
  );
  const rest = leftOut.length - NAMED;
  const names = [...leftOut.slice(0, NAMED), ...(rest > 0 ? [say("more", { count: rest })] : [])].join(", ");
  return (
    <div class={over ? "documents drop" : "documents"} onDragOver={taken} onDragLeave={() => setOver(false)} onDrop={taken}>
      <p class="row">
        <button type="button" onClick={back}>{say("toList")}</button>
      </p>
      <h3 dir="auto">{of.name}</h3>
      {mayChange(of) && (
        <>
          <p class="hint">{say("dropHere")}</p>
          <p class="buttons">
            {field(say("addFiles"), false)}
            {field(say("addFolder"), true)}
          </p>
        </>
      )}
      {error && <p class="error" role="alert">{error}</p>}
      {names && <p class="error" role="alert" dir="auto">{say("leftOut", { names })}</p>}
      {sent.length > 0 && (
        <ul class="memories sent">
          {sent.map(({ path, share, error: why }, at) => (
            <li key={at}>
              <p dir="auto">{path}</p>
              {why ? (
                <p class="error" role="alert" dir="auto">{why}</p>
              ) : (
                <progress value={share} aria-label={say("sending", { name: path })} />
              )}
            </li>
          ))}
        </ul>
      )}
      <Entries pages={pages} none={say("noDocuments")}>
        {(document) => (
          <Line
            key={document.id}
            of={document}
            change={mayChange(of)}
            sure={gone === document.id}
            ask={setGone}
            remove={async () => {
              await removeDocument(of.id, document);
              setGone("");
              await pages.reload();
            }}
          />
        )}
      </Entries>
    </div>
  );
}

interface One {
  of: Document;
  change: boolean;
  /** Whether its deletion is asked about. */
  sure: boolean;
  ask: (id: string) => void;
  remove: () => Promise<void>;
}

function Line({ of, change, sure, ask, remove }: One): VNode {
  const [name, setName] = useState(of.attributes?.path ?? "");
  useEffect(() => {
    if (name) return;
    json<{ filename: string }>("GET", `/v1/files/${of.id}`).then(
      ({ filename }) => setName(filename),
      () => setName(of.id),
    );
  }, []);
  const states = { in_progress: say("reading"), completed: say("read"), cancelled: say("cancelled"), failed: "" };
  return (
    <li>
      <p dir="auto">{name}</p>
      {of.status === "failed" ? (
        <p class="error" dir="auto">{say("unreadable", { reason: of.last_error?.message ?? "" })}</p>
      ) : (
        <p class="hint">{states[of.status]}</p>
      )}
      {change && (
        <button type="button" aria-label={say("deleteNamed", { name })} onClick={() => ask(of.id)}>{t("delete")}</button>
      )}
      {sure && <Sure text={say("sureDocument")} cancel={() => ask("")} does={remove} />}
    </li>
  );
}
