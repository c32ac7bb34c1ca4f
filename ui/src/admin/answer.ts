// The answer to a GET, as state of a component.

import { useCallback, useEffect, useState } from "preact/hooks";
import { json, session } from "../api/http";
import { described } from "../described";

export interface Page<T> {
  data: T[];
  has_more: boolean;
  last_id: string | null;
}

export interface Answer<T> {
  /** The newest answer; it stays while the next is on its way. */
  data: T | null;
  error: string;
  busy: boolean;
  reload: () => void;
}

/** Asks for a path, and again when it changes, or when its reader has signed in again. */
export function useAnswer<T>(path: string): Answer<T> {
  const [data, setData] = useState<T | null>(null);
  const [error, setError] = useState("");
  const [times, setTimes] = useState(0);
  const [answered, setAnswered] = useState("");
  const reader = session.value?.id ?? "";
  const asked = `${times} ${reader} ${path}`;
  useEffect(() => {
    if (!reader) return;
    const abort = new AbortController();
    json<T>("GET", path, { signal: abort.signal }).then(
      (found) => {
        if (abort.signal.aborted) return;
        setData(found);
        setError("");
        setAnswered(asked);
      },
      (failed) => {
        if (abort.signal.aborted) return;
        setError(described(failed));
        setAnswered(asked);
      },
    );
    return () => abort.abort();
  }, [asked]);
  const reload = useCallback(() => setTimes((before) => before + 1), []);
  return { data, error, busy: reader !== "" && answered !== asked, reload };
}

/** Returns a path with a query, without empty values. */
export function withQuery(path: string, query: Record<string, string>): string {
  const asked = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== "")).toString();
  return asked ? `${path}?${asked}` : path;
}
