// What can be asked.

import { computed, signal } from "@preact/signals";
import { model } from "../preferences";
import { ApiError, json } from "./http";

export interface Model {
  id: string;
  headrace: {
    kind: string;
    task: string;
    description: string;
    /** Whether it answers with passages of documents, because its own words would not do. */
    quotes?: true;
    starters?: string[];
  };
}

export const models = signal<Model[] | null>(null);
/** Why they are not known. */
export const failure = signal<ApiError | null>(null);

/** What the conversation that is shown goes on with; null for a new one. */
export const kept = signal<string | null>(null);

/** What the next question goes to: that of its conversation, or the last choice for a new one, else the first assistant. */
export const chosen = computed<Model | null>(() => {
  const all = models.value ?? [];
  return (
    all.find(({ id }) => id === kept.value) ??
    all.find(({ id }) => id === model.value) ??
    all.find(({ headrace }) => headrace.kind === "assistant") ??
    all[0] ??
    null
  );
});

export async function load(): Promise<void> {
  try {
    const { data } = await json<{ data: Model[] }>("GET", "/v1/models");
    models.value = data.filter(({ headrace }) => headrace.task === "chat");
    failure.value = null;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    failure.value = error;
  }
}
