// The page's texts in the language of its reader. English comes with the page, others when they are chosen.

import { computed, signal } from "@preact/signals";
import { en, type Texts } from "./en";

export const LANGUAGES = { en: "English", ar: "العربية" } as const;
type Language = keyof typeof LANGUAGES;

const RIGHT_TO_LEFT: readonly string[] = ["ar"];
const texts = signal<Texts>(en);

export const language = signal<Language>("en");
export const direction = computed(() => (RIGHT_TO_LEFT.includes(language.value) ? "rtl" : "ltr"));

/** Changes the language to that of a tag such as `ar-EG`, or to English if the page does not speak it. */
export async function use(tag: string): Promise<void> {
  const name = tag.slice(0, 2).toLowerCase();
  texts.value = name === "ar" ? (await import("./ar")).ar : en;
  language.value = name === "ar" ? "ar" : "en";
}

/** Returns a text with the values of its `{names}`. */
export function t(key: keyof Texts, values: Record<string, string | number> = {}): string {
  return texts.value[key].replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

export function date(seconds: number): string {
  return new Intl.DateTimeFormat(language.value, { dateStyle: "medium" }).format(new Date(seconds * 1000));
}
