// What people choose for themselves: colours, language, and whether their questions may train models.

import { effect, signal } from "@preact/signals";
import { direction, language, use } from "./i18n";
import { store, stored } from "./storage";

export const THEMES = ["system", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

const before = stored("theme");
export const theme = signal<Theme>(THEMES.find((each) => each === before) ?? "system");
/** Sent with each question: without it nothing of the answer can be exported. */
export const training = signal(stored("training") === "yes");
export const model = signal(stored("model") ?? "");

export async function prepare(): Promise<void> {
  await use(stored("language") ?? navigator.language);
  effect(() => {
    store("theme", theme.value === "system" ? null : theme.value);
    document.documentElement.dataset.theme = theme.value;
  });
  effect(() => store("training", training.value ? "yes" : null));
  effect(() => store("model", model.value || null));
  effect(() => {
    document.documentElement.lang = language.value;
    document.documentElement.dir = direction.value;
  });
}

export async function choose(name: string): Promise<void> {
  await use(name);
  store("language", name);
}
