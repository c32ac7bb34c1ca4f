// Files of the next question: chosen or dropped, sent at once, and shown with their progress.

import { computed, effect, type Signal, signal } from "@preact/signals";
import type { VNode } from "preact";
import type { Attached } from "../api/chat";
import { json, request } from "../api/http";
import { type Upload, upload } from "../api/uploads";
import { t } from "../i18n";
import { Icon } from "../icons";
import { described } from "./ask";
import { keep, kept, onSwap, owner } from "./drafts";
import { named, status } from "./state";

/** What the API takes with one request. */
const MOST = 16;

interface Chosen {
  key: number;
  name: string;
  share: Signal<number>;
  error: Signal<string>;
  file: Signal<Attached | null>;
  upload: Upload | null;
  /** Whether it was taken off. */
  gone: boolean;
}

interface Limits {
  upload_bytes: number;
  file_kinds: string[];
}

const drafts = signal<readonly Chosen[]>([]);
/** Files of the conversations that are not shown, which may still be under way. */
const elsewhere = new Map<string, readonly Chosen[]>();
/** Why files were not taken. */
const refused = signal("");
/** Whether files that are sent are still under way. */
export const sending = computed(() => drafts.value.some(({ file, error }) => !file.value && !error.value));
/** Whether a file cannot go with the question: it stays, with its reason, until it is taken off. */
export const refusing = computed(() => drafts.value.some(({ error }) => error.value));
export const dragging = signal(false);

let keys = 0;
let limits: Promise<Limits> | null = null;

function known(): Promise<Limits> {
  limits ??= json<{ headrace: { limits: Limits } }>("GET", "/v1/me").then(({ headrace }) => headrace.limits);
  limits.catch(() => {
    limits = null;
  });
  return limits;
}

/** Sends files for the next question. */
export async function attach(files: Iterable<File>): Promise<void> {
  const all = [...files];
  const left = drafts.value.length + all.length - MOST;
  refused.value = left > 0 ? t("tooManyFiles", { count: MOST, left }) : "";
  for (const file of all.slice(0, MOST - drafts.value.length)) {
    const draft = newDraft(file.name, null);
    drafts.value = [...drafts.value, draft];
    void send(draft, file);
  }
}

function newDraft(name: string, file: Attached | null): Chosen {
  keys += 1;
  return {
    key: keys,
    name: named(name),
    share: signal(0),
    error: signal(""),
    file: signal(file),
    upload: null,
    gone: false,
  };
}

/** Shows the files of each conversation's draft, and keeps those that were sent; returns what ends that. */
export function followFiles(): () => void {
  const ends = [
    onSwap((to, from) => {
      if (from) elsewhere.set(from, drafts.peek());
      refused.value = "";
      drafts.value = elsewhere.get(to) ?? kept(to).files.map((file) => newDraft(file.name, file));
      elsewhere.delete(to);
    }),
    () => elsewhere.set(owner.peek(), drafts.peek()),
    effect(() => keep(owner.peek(), { files: drafts.value.flatMap(({ file }) => file.value ?? []) })),
  ];
  return () => ends.forEach((end) => end());
}

async function send(draft: Chosen, file: File): Promise<void> {
  try {
    const { upload_bytes, file_kinds } = await known();
    // Said here, without sending what would be refused. The API looks at the content itself.
    const ending = /\.[^.]+$/.exec(file.name)?.[0].toLowerCase() ?? "";
    if (!file_kinds.includes(ending)) return failed(draft, ending ? t("wrongKind", { kind: ending }) : t("noKind"));
    if (!file.size) return failed(draft, t("emptyFile"));
    if (file.size > upload_bytes) return failed(draft, t("tooLarge", { size: bytes(upload_bytes) }));
    if (draft.gone) return;
    draft.upload = upload(file, (share) => {
      draft.share.value = share;
    });
    draft.file.value = await draft.upload.done;
    status.value = t("attached", { name: draft.name });
  } catch (error) {
    failed(draft, described(error));
  }
}

function failed(draft: Chosen, message: string): void {
  if (!draft.gone) draft.error.value = message;
}

/** Takes a file out of the question, and deletes it where it was sent. */
function remove(draft: Chosen): void {
  drafts.value = drafts.value.filter((each) => each !== draft);
  refused.value = "";
  draft.gone = true;
  draft.upload?.stop();
  const file = draft.file.peek();
  if (file) request("DELETE", `/v1/files/${encodeURIComponent(file.id)}`).catch(() => {});
  document.getElementById("message")?.focus();
}

/** Returns the files that were sent, and begins anew. */
export function takeFiles(): Attached[] {
  const taken = drafts.peek().flatMap(({ file }) => file.peek() ?? []);
  drafts.value = [];
  refused.value = "";
  return taken;
}

export function Attachments(): VNode | null {
  if (!drafts.value.length && !refused.value) return null;
  return (
    <>
      <ul class="files" aria-label={t("files")}>
        {drafts.value.map((draft) => <DraftView key={draft.key} draft={draft} />)}
      </ul>
      {refused.value && <p class="error" role="alert">{refused}</p>}
      {refusing.value && <p class="note">{t("takeOff")}</p>}
    </>
  );
}

function DraftView({ draft }: { draft: Chosen }): VNode {
  const { name, share, error, file } = draft;
  return (
    <li class={error.value ? "file refused" : "file"}>
      <Icon name="file" />
      <span class="title" dir="auto">{name}</span>
      {!file.value && !error.value && (
        <progress value={share.value} aria-label={t("uploading", { name })}>{Math.round(share.value * 100)} %</progress>
      )}
      <button type="button" class="icon" aria-label={t("removeFile", { name })} onClick={() => remove(draft)}>
        <Icon name="close" />
      </button>
      {error.value && <p class="error" role="alert" dir="auto">{error}</p>}
    </li>
  );
}

/** The button that chooses files. */
export function AttachButton(): VNode {
  return (
    <label class="attach icon" title={t("attach")}>
      <Icon name="attach" />
      <span class="spoken">{t("attach")}</span>
      <input
        type="file"
        multiple
        onChange={(event) => {
          void attach([...(event.currentTarget.files ?? [])]);
          event.currentTarget.value = "";
        }}
      />
    </label>
  );
}

/** A file of a question that was asked, which is always a download. */
export function FileLink({ file }: { file: Attached }): VNode {
  return (
    <a class="file" href={`/v1/files/${encodeURIComponent(file.id)}/content`} download>
      <Icon name="file" />
      <span class="title" dir="auto">{named(file.name) || t("file")}</span>
    </a>
  );
}

/** Takes files that are dropped anywhere on the chat; returns what ends that. */
export function takeDrops(): () => void {
  const holds = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
  const over = (event: DragEvent) => {
    if (!holds(event)) return;
    // Without this the browser would leave the page and open the file.
    event.preventDefault();
    dragging.value = true;
  };
  const out = (event: DragEvent) => {
    if (event.relatedTarget === null) dragging.value = false;
  };
  const drop = (event: DragEvent) => {
    if (!holds(event)) return;
    event.preventDefault();
    dragging.value = false;
    void attach([...(event.dataTransfer?.files ?? [])]);
  };
  addEventListener("dragover", over);
  addEventListener("dragleave", out);
  addEventListener("drop", drop);
  return () => {
    removeEventListener("dragover", over);
    removeEventListener("dragleave", out);
    removeEventListener("drop", drop);
  };
}

function bytes(count: number): string {
  return count >= 1 << 20 ? `${Math.floor(count / (1 << 20))} MiB` : `${Math.floor(count / 1024)} KiB`;
}
