// Asks, and shows the answer as it comes: at most once for each frame of the screen.

import { signal } from "@preact/signals";
import { Answer, type Approval, type Attached } from "../api/chat";
import { create, forkBefore, items, removeItem } from "../api/conversations";
import { ApiError } from "../api/http";
import { kept } from "../api/models";
import { described } from "../described";
import { training } from "../preferences";
import { t } from "../i18n";
import { go, replace } from "../router";
import { unmarked } from "../markdown/citations";
import { becomes } from "./drafts";
import { forgetStream, keepStream, keptStream } from "./kept-streams";
import { remember } from "./list";
import {
  add,
  cite,
  conversation,
  messages,
  newQuestion,
  newReply,
  type Question,
  questionOf,
  type Reply,
  show,
  state,
  type Status,
  status,
  without,
} from "./state";

export { described };

/** The answer under way. */
export const running = signal<{ answer: Answer; reply: Reply } | null>(null);
export const reconnecting = signal(false);

const HIDDEN_MS = 500;

/** Sends a question, and shows it with its answer or why there is none. */
export async function ask(
  text: string,
  model: string,
  files: readonly Attached[] = [],
  approvals: readonly string[] = [],
): Promise<void> {
  if (running.peek()) return;
  kept.value = model;
  const reply = newReply(text, model, training.peek());
  add(newQuestion(text, files), reply);
  status.value = "";
  try {
    const id = conversation.peek() ?? (await begin(text));
    const asked = { model, conversation: id, text, training: training.peek(), files, approvals };
    await run(new Answer(asked), reply, id);
  } catch (error) {
    fail(reply, error);
  }
}

/** Follows the answer that a conversation was waiting for when the page left it. */
export async function resume(id: string): Promise<void> {
  const under = keptStream(id);
  if (!under || running.peek() || conversation.peek() !== id) return;
  const [question, answer] = messages.peek().slice(-2);
  // The turn is stored before its end is sent.
  if (answer?.kind === "answer" && question?.kind === "question" && question.text === under.question) {
    forgetStream(id);
    return;
  }
  const reply = newReply(under.question, under.model, under.training);
  kept.value = under.model;
  const files = under.files ?? [];
  add(newQuestion(under.question, files), reply);
  const { model, training } = under;
  const asked = { model, conversation: id, text: under.question, training, files, approvals: [] };
  await run(new Answer(asked, under.stream), reply, id);
}

/** Leaves the answer under way to the server. */
export function leave(): void {
  running.peek()?.answer.leave();
  running.value = null;
}

async function run(answer: Answer, reply: Reply, id: string): Promise<void> {
  const mine = { answer, reply };
  running.value = mine;
  try {
    await follow(answer, reply, id);
  } catch (error) {
    if (!answer.left) fail(reply, error);
  } finally {
    if (!answer.left) forgetStream(id);
    if (running.peek() === mine) running.value = null;
    reconnecting.value = false;
    reply.version.value += 1;
  }
}

export function stop(): void {
  running.peek()?.answer.stop();
}

/** Asks a question again whose answer failed; the failed one leaves the page. */
export async function again(reply: Reply, model: string): Promise<void> {
  const id = conversation.peek();
  try {
    if (id && reply.document.text) await removePartial(id, reply);
  } catch (error) {
    status.value = described(error);
    return;
  }
  const files = questionOf(reply)?.files ?? [];
  without(reply);
  await ask(reply.question, reply.model || model, files);
}

/** Asks a question in other words, or once more, in another version: the conversation stays as it is beside it. */
export async function branch(question: Question, text: string, model: string): Promise<void> {
  const id = conversation.peek();
  const item = question.item.peek();
  if (running.peek() || !id || !item) return;
  const made = await forkBefore(id, item);
  await remember(made, made.headrace.title || text);
  await show(made.id);
  if (conversation.peek() !== made.id || state.peek() !== "ready") return;
  go(`/c/${made.id}`);
  await ask(text, model, question.files);
}

/** Lets calls of tools be made that waited for that. */
export function allow(calls: readonly Approval[], model: string): Promise<void> {
  return ask(t("allowed"), model, [], calls.map(({ id }) => id));
}

async function begin(text: string): Promise<string> {
  const made = await create();
  becomes(made.id);
  const named = remember(made, text);
  replace(`/c/${made.id}`);
  await named;
  return made.id;
}

async function follow(answer: Answer, reply: Reply, id: string): Promise<void> {
  const frames = new Frames(reply);
  let stays = false;
  try {
    for await (const part of answer.parts()) {
      reconnecting.value = part.kind === "reconnecting";
      if (!stays && answer.stream) {
        stays = true;
        const { question, model, training } = reply;
        const files = questionOf(reply)?.files ?? [];
        keepStream(id, { stream: answer.stream, question, model, training: !!training, files });
      }
      if (part.kind === "text") {
        reply.document.append(unmarked(part.text));
        if (part.completion) reply.target = { type: "response", id: part.completion };
        frames.ask();
      } else if (part.kind === "step") {
        reply.thinking += part.text;
        frames.ask();
      } else if (part.kind === "end") {
        const { citations, unsupported, steps, approvals, items } = part.beside;
        reply.reason = part.reason;
        reply.steps = steps;
        reply.approvals = approvals;
        const question = questionOf(reply);
        if (question) question.item.value = items[0] ?? null;
        reply.document.finish();
        cite(reply, citations, unsupported);
      }
    }
  } finally {
    frames.end();
    reply.document.finish();
  }
  if (answer.left) return;
  if (answer.stopped) settle(reply, reply.document.text ? "stopped" : "dropped", t("stopped"));
  else if (reply.reason) settle(reply, "done", t("complete"));
  else settle(reply, "lost", t("lost"));
}

/** Deletes the turn of an answer that broke off, which the server keeps as far as it came. */
async function removePartial(id: string, reply: Reply): Promise<void> {
  const [answer, question] = (await items(id, null, 2)).data;
  const text = question?.content?.map((part) => part.text ?? "").join("\n\n");
  if (!answer || !question || answer.status !== "incomplete" || text !== reply.question) return;
  await removeItem(id, answer.id);
  await removeItem(id, question.id);
}

function fail(reply: Reply, error: unknown): void {
  const lost = error instanceof ApiError && error.code === "stream_lost";
  reply.error = lost ? t("lost") : described(error);
  settle(reply, lost && reply.document.text ? "lost" : "failed", reply.error);
}

function settle(reply: Reply, now: Status, said: string): void {
  if (now !== "done") reply.target = null;
  reply.status.value = now;
  status.value = said;
}

/** Draws a reply at the next frame; a hidden page has none, and is drawn from time to time. */
class Frames {
  #frame = 0;
  #timer = 0;
  #steps = 0;

  constructor(private readonly reply: Reply) {}

  ask(): void {
    if (this.#frame || this.#timer) return;
    if (document.hidden) this.#timer = window.setTimeout(() => this.#draw(), HIDDEN_MS);
    else this.#frame = requestAnimationFrame(() => this.#draw());
  }

  end(): void {
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#timer);
  }

  #draw(): void {
    this.#frame = this.#timer = 0;
    const steps = this.reply.thinking.length !== this.#steps;
    this.#steps = this.reply.thinking.length;
    if (this.reply.document.update() || steps) this.reply.version.value += 1;
    else this.ask();
  }
}
