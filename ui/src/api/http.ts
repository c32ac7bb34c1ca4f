// Requests to the API of this origin, with the session's cookie.

import { signal } from "@preact/signals";

export interface Session {
  id: string;
  tenant: string;
  user: string;
  role: string | null;
  scopes: string[];
  expires_at: number;
  csrf_token: string;
}

/** The session; null when nobody is signed in, undefined before that is known. */
export const session = signal<Session | null | undefined>(undefined);

/** An error of the API, or `offline` when there was no answer. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    /** Seconds after which a repetition may succeed. */
    readonly retryAfter: number | null = null,
    /** The path of the request's field that it is about, such as `quotas[0].limit`. */
    readonly param: string | null = null,
  ) {
    super(message);
  }
}

export interface Asked {
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

/** Returns the answer to a request; throws an `ApiError`. A 401 ends the session in the page too. */
export async function request(method: string, path: string, asked: Asked = {}): Promise<Response> {
  const headers: Record<string, string> = { ...asked.headers };
  if (asked.body !== undefined) headers["content-type"] = "application/json";
  const token = session.peek()?.csrf_token;
  if (method !== "GET" && token) headers["x-csrf-token"] = token;
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers,
      credentials: "same-origin",
      ...(asked.body !== undefined && { body: JSON.stringify(asked.body) }),
      ...(asked.signal && { signal: asked.signal }),
    });
  } catch (error) {
    if (asked.signal?.aborted) throw error;
    throw new ApiError(0, "offline", "");
  }
  if (response.ok) return response;
  if (response.status === 401) session.value = null;
  throw await failure(response);
}

export async function json<T>(method: string, path: string, asked: Asked = {}): Promise<T> {
  const response = await request(method, path, asked);
  try {
    return (await response.json()) as T;
  } catch {
    throw new ApiError(0, "offline", "");
  }
}

async function failure(response: Response): Promise<ApiError> {
  const after = Number(response.headers.get("retry-after")) || null;
  try {
    const { error } = (await response.json()) as { error: { code: string; message: string; param?: string | null } };
    return new ApiError(response.status, String(error.code), String(error.message), after, error.param ?? null);
  } catch {
    // A proxy before the gateway answers in its own words.
    return new ApiError(response.status, "offline", "", after);
  }
}
