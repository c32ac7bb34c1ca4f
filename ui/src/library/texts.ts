// The library's texts in the language of the page.

import { ar } from "../i18n/library/ar";
import { en, type LibraryTexts } from "../i18n/library/en";
import { language } from "./kit";

/** Returns a text with the values of its `{names}`; double braces stay. */
export function say(key: keyof LibraryTexts, values: object = {}): string {
  const text = (language.value === "ar" ? ar : en)[key];
  return text.replace(/(?<!\{)\{(\w+)\}(?!\})/g, (_, name) => String((values as Record<string, unknown>)[name] ?? ""));
}
