// A streamed answer, over as many connections as it takes.

import { ApiError, request } from "./http";
import { events } from "./sse";

export interface Citation {
  start_index: number;
  end_index: number;
  file_id: string;
  file_name: string;
  title: string;
  quote?: string;
  position?: { start: number; end: number; page: number | null };
  support?: number;
}

/** A sentence that no document supports. */
export interface Unsupported {
  start_index: number;
  end_index: number;
}

/** A file that a question is about. */
export interface Attached {
  id: string;
  name: string;
}

/** One step of a strategy, such as a thought, or a call of a tool with its arguments. */
export interface Step {
  kind: string;
  name?: string;
  text: string;
}

/** A call of a tool that waits for the reader; `arguments` is JSON, `expires_at` in seconds since 1970. */
export interface Approval {
  id: string;
  tool: string;
  arguments: string;
  expires_at: number;
}

export interface Question {
  model: string;
  conversation: string | null;
  text: string;
  training: boolean;
  files: readonly Attached[];
  /** Ids of the calls that the question allows. */
  approvals: readonly string[];
}

interface Beside {
  citations?: Citation[];
  unsupported?: Unsupported[];
  steps?: Step[];
  approvals?: Approval[];
  items?: string[];
}

interface Delta {
  content?: string | null;
  refusal?: string | null;
  reasoning_content?: string | null;
  headrace?: Beside;
}

interface Chunk {
  id?: string;
  choices?: { delta?: Delta; finish_reason?: string | null }[];
  error?: { code?: string; message?: string };
}

/** What of an answer came. */
export type Part =
  | { kind: "text"; text: string; completion: string }
  | { kind: "step"; text: string }
  | { kind: "end"; reason: string; beside: Required<Beside> }
  | { kind: "reconnecting" };

const RECONNECTS = 6;
const FIRST_WAIT_MS = 400;

/** An answer under way, which can be stopped, or left and followed again. */
export class Answer {
  stopped = false;
  #stream: string | null;
  #last = "";
  readonly #abort = new AbortController();

  /** With the id of a stream, the answer began before, and is followed from its beginning. */
  constructor(
    private readonly question: Question,
    stream: string | null = null,
  ) {
    this.#stream = stream;
  }

  /** The id by which the answer can be followed again, once it has begun. */
  get stream(): string | null {
    return this.#stream;
  }

  /** Yields the parts; throws an `ApiError` when there is no answer, or when its rest is lost. */
  async *parts(): AsyncGenerator<Part> {
    let response = await (this.#stream ? this.#resume(0) : this.#begin());
    for (let failures = 0; ; ) {
      try {
        for await (const several of events(response.body as ReadableStream<Uint8Array>)) {
          for (const { id, data } of several) {
            if (id) this.#last = id;
            if (data === "[DONE]") return;
            failures = 0;
            yield* read(data);
          }
        }
        if (this.#abort.signal.aborted) return;
      } catch (error) {
        if (this.#abort.signal.aborted) return;
        if (error instanceof ApiError) throw error;
      }
      failures += 1;
      if (!this.#stream || failures > RECONNECTS) throw new ApiError(0, "stream_lost", "");
      yield { kind: "reconnecting" };
      response = await this.#resume(failures);
    }
  }

  /** Asks the server to end the answer, which keeps what it has of it; ends it here if that fails. */
  stop(): void {
    if (this.stopped) return;
    this.stopped = true;
    if (this.#stream) request("POST", `/v1/streams/${this.#stream}/stop`).catch(() => this.#abort.abort());
    else this.#abort.abort();
  }

  /** Ends it here alone: the server goes on. */
  leave(): void {
    this.#abort.abort();
  }

  get left(): boolean {
    return this.#abort.signal.aborted && !this.stopped;
  }

  async #begin(): Promise<Response> {
    const { model, conversation, text, training, files, approvals } = this.question;
    const parts = files.map(({ id, name }) => ({ type: "file", file: { file_id: id, filename: name } }));
    const response = await request("POST", "/v1/chat/completions", {
      body: {
        model,
        messages: [{ role: "user", content: parts.length ? [...parts, { type: "text", text }] : text }],
        stream: true,
        ...(conversation && { conversation }),
        ...(training && { store: true }),
        ...(approvals.length && { approvals }),
      },
      headers: { "headrace-resumable": "true" },
      signal: this.#abort.signal,
    });
    this.#stream = response.headers.get("headrace-stream");
    return response;
  }

  async #resume(failures: number): Promise<Response> {
    for (let tries = failures; ; tries += 1) {
      if (tries) await new Promise((done) => setTimeout(done, FIRST_WAIT_MS * 2 ** (tries - 1)));
      try {
        return await request("GET", `/v1/streams/${this.#stream}`, {
          headers: this.#last ? { "last-event-id": this.#last } : {},
          signal: this.#abort.signal,
        });
      } catch (error) {
        const gone = error instanceof ApiError && error.code !== "offline";
        if (gone || tries >= RECONNECTS || this.#abort.signal.aborted) throw error;
      }
    }
  }
}

function* read(data: string): Generator<Part> {
  let chunk: Chunk;
  try {
    chunk = JSON.parse(data) as Chunk;
  } catch {
    return;
  }
  if (chunk.error) throw new ApiError(500, chunk.error.code ?? "", chunk.error.message ?? "");
  const choice = chunk.choices?.[0];
  if (!choice) return;
  const text = choice.delta?.content ?? choice.delta?.refusal;
  if (text) yield { kind: "text", text, completion: chunk.id ?? "" };
  if (choice.delta?.reasoning_content) yield { kind: "step", text: choice.delta.reasoning_content };
  if (!choice.finish_reason) return;
  const { citations = [], unsupported = [], steps = [], approvals = [], items = [] } = choice.delta?.headrace ?? {};
  yield { kind: "end", reason: choice.finish_reason, beside: { citations, unsupported, steps, approvals, items } };
}
