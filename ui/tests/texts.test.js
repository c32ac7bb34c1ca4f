// Texts in other languages have the values of the English ones, and one word for each thing.

import assert from "node:assert/strict";
import test from "node:test";
import { ar } from "../src/i18n/ar";
import { ar as consoleAr } from "../src/i18n/console/ar";
import { en as consoleEn } from "../src/i18n/console/en";
import { en } from "../src/i18n/en";
import { texts as saved } from "../src/i18n/export";
import { ar as libraryAr } from "../src/i18n/library/ar";
import { en as libraryEn } from "../src/i18n/library/en";
import { ar as promptsAr } from "../src/i18n/prompts/ar";
import { en as promptsEn } from "../src/i18n/prompts/en";

const PAGES = {
  chat: [en, ar],
  console: [consoleEn, consoleAr],
  library: [libraryEn, libraryAr],
  prompts: [promptsEn, promptsAr],
  "saved conversation": [saved.en, saved.ar],
};

/** Things with the only word that Arabic texts have for them, without the signs of vowels. */
const WORDS = [
  [/\bdocuments?\b/i, /مستند/],
  [/\btenants?\b/i, /مؤسس/],
  [/\bvector stores?\b/i, /(مخزن|مخازن) المتجهات/],
  [/\btokens\b/i, /رموز/],
  [/\bmodels?\b/i, /نموذج|نماذج/],
  [/\bAPI\b/, /الواجهة البرمجية/],
  [/\bsettings\b/i, /الإعدادات/],
  [/\bconfiguration\b/i, /التهيئة/],
  [/^usage\b/i, /الاستهلاك/],
];
/** Words of other texts that mean the same. */
const OTHERS = /وثيقة|وثائق|(^|[^\p{L}])API/u;

const plain = (text) => text.normalize("NFC").replace(/[\u064b-\u0652]/g, "");
const values = (text) => [...text.matchAll(/\{\w+\}/g)].map(([value]) => value).sort();

for (const [page, [english, arabic]] of Object.entries(PAGES)) {
  test(`Arabic texts of the ${page} have the values of the English ones`, () => {
    for (const [key, text] of Object.entries(english)) assert.deepEqual(values(arabic[key]), values(text), key);
  });

  test(`Arabic texts of the ${page} have one word for each thing`, () => {
    for (const [key, text] of Object.entries(english)) {
      const said = plain(arabic[key]);
      assert.doesNotMatch(said, OTHERS, key);
      for (const [thing, word] of WORDS) if (thing.test(text)) assert.match(said, word, `${key}: ${text}`);
    }
  });
}
