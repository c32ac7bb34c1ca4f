// The text of files, around passages.

import { json } from "./http";

interface FileText {
  text: string;
  /** Position of its first character in the whole text. */
  start: number;
}

/** What stands before a passage, the passage, and what follows. */
export interface Context {
  before: string;
  passage: string;
  after: string;
}

const AROUND = 400;

/** Returns a passage in its text. Positions count characters as Python does: a string of JavaScript may have two for one. */
export async function context(file: string, start: number, end: number): Promise<Context> {
  const path = `/v1/files/${encodeURIComponent(file)}/text?start=${start}&end=${end}`;
  const found = await json<FileText>("GET", path);
  const characters = [...found.text];
  const from = start - found.start;
  const to = end - found.start;
  const part = (first: number, last: number) => characters.slice(Math.max(0, first), Math.max(0, last)).join("");
  const cutBefore = from > AROUND ? "… " : "";
  const cutAfter = to + AROUND < characters.length ? " …" : "";
  return {
    before: cutBefore + part(from - AROUND, from),
    passage: part(from, to),
    after: part(to, to + AROUND) + cutAfter,
  };
}
