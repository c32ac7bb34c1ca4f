// Calls of routes, as a form describes them.

import type { Operation } from "./document";

/** Maximum number of characters of an answer that are shown. */
const MOST = 200_000;

export interface Answer {
  status: string;
  text: string;
}

/** Sends a request and reports its answer as it arrives; throws when there is none. */
export async function call(
  operation: Operation,
  form: FormData,
  key: string,
  signal: AbortSignal,
  told: (answer: Answer) => void,
): Promise<void> {
  const value = (name: string) => String(form.get(name) ?? "");
  let path = operation.path;
  const query = new URLSearchParams();
  const headers: Record<string, string> = key ? { authorization: `Bearer ${key}` } : {};
  for (const { name, in: place, style, schema } of operation.parameters) {
    const given = value(`${place}:${name}`);
    if (place === "path") path = path.replace(`{${name}}`, encodeURIComponent(given));
    else if (!given) continue;
    else if (place !== "query") headers[name] = given;
    else if (style === "deepObject")
      for (const [key, each] of Object.entries(JSON.parse(given) as object)) query.append(`${name}[${key}]`, String(each));
    else for (const each of schema.type === "array" ? given.split(",") : [given]) query.append(name, each);
  }
  const response = await fetch(query.size ? `${path}?${query}` : path, {
    method: operation.method,
    headers: form.has("body") ? { ...headers, "content-type": "application/json" } : headers,
    credentials: "omit", // the key alone acts, not somebody's session
    signal,
    ...(form.has("body") ? { body: value("body") } : multipart(operation, form)),
  });
  const type = response.headers.get("content-type") ?? "";
  const status = `${response.status} ${response.statusText} ${type}`;
  if (/octet-stream/.test(type)) {
    const { size } = await response.blob();
    told({ status, text: `${size} bytes` });
    return;
  }
  let text = "";
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  for (let part = await reader?.read(); part && !part.done; part = await reader?.read()) {
    text += part.value;
    if (text.length > MOST) {
      await reader?.cancel(); // the stack need not send on
      break;
    }
    told({ status, text });
  }
  const shown = whole(text);
  told({ status, text: shown.length > MOST ? `${shown.slice(0, MOST)}\n(The rest is not shown.)` : shown });
}

function multipart(operation: Operation, form: FormData): { body?: FormData } {
  if (!operation.requestBody) return {};
  const body = new FormData();
  for (const [name, given] of form.entries())
    if (name.startsWith("form:") && (given instanceof File ? given.name : given)) body.append(name.slice(5), given);
  return { body };
}

function whole(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
