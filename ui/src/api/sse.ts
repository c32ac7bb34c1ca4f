// Server-sent events of a response.

export interface ServerEvent {
  id: string;
  data: string;
}

/** Yields the events as they come; ends when the connection does, also in the middle of an event. */
export async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent[]> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      rest += decoder.decode(value, { stream: true });
      const frames = rest.split(/\r?\n\r?\n/);
      rest = frames.pop() ?? "";
      const found = frames.map(event).filter(({ data }) => data !== "");
      if (found.length) yield found;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function event(frame: string): ServerEvent {
  const data: string[] = [];
  let id = "";
  for (const line of frame.split(/\r?\n/)) {
    const colon = line.indexOf(":");
    if (colon < 1) continue;
    const value = line.slice(colon + 1).replace(/^ /, "");
    if (line.startsWith("data:")) data.push(value);
    else if (line.startsWith("id:")) id = value;
  }
  return { id, data: data.join("\n") };
}
