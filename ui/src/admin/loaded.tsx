// What depends on one answer: until it is there, that it is awaited, or why there is none.

import type { VNode } from "preact";
import { t } from "../i18n";
import { c, type Key } from "../i18n/console";
import { useAnswer } from "./answer";

interface Shown<T> {
  path: string;
  waiting?: Key;
  shows: (answer: T) => VNode;
}

export function Loaded<T>({ path, waiting = "loading", shows }: Shown<T>): VNode {
  const { data, error, reload } = useAnswer<T>(path);
  if (error) return <Failure error={error} reload={reload} />;
  return data ? shows(data) : <p role="status">{c(waiting)}</p>;
}

/** Why there is no answer, with a way to ask again. */
export function Failure({ error, reload }: { error: string; reload: () => void }): VNode {
  return (
    <p class="failure">
      <span class="error" role="alert">{error}</span>
      <button type="button" class="small" onClick={reload}>{t("retry")}</button>
    </p>
  );
}
