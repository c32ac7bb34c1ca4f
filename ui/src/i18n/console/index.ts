// The console's texts in the language of its reader; those of sign-in and settings are the chat's.

import { effect, signal } from "@preact/signals";
import { language } from "..";
import { en, type ConsoleTexts } from "./en";

const texts = signal<ConsoleTexts>(en);

export type Key = keyof ConsoleTexts;

/** Follows the language of the page from now on; returns once the texts of the present one are there. */
export async function follow(): Promise<void> {
  await load(language.value);
  effect(() => void load(language.value));
}

async function load(name: string): Promise<void> {
  const loaded = name === "ar" ? (await import("./ar")).ar : en;
  if (name === language.peek()) texts.value = loaded;
}

/** Returns a text with the values of its `{names}`. */
export function c(key: Key, values: Record<string, string | number> = {}): string {
  return texts.value[key].replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}
