// What a list of the console consists of: a view is mostly such a description.

import type { ComponentChildren, VNode } from "preact";
import type { Key } from "../i18n/console";

export interface Column<T> {
  label: Key;
  of: (row: T) => ComponentChildren;
  /** Numbers stand at the end of their column. */
  number?: boolean;
}

/** A field of a form, or of the filters above a list. */
export interface Field {
  name: string;
  label: Key;
  /** `lines` has a value in each line, `several` any number of the choices; `start` and `end` are days in local time. */
  kind?: "text" | "number" | "lines" | "choice" | "several" | "tick" | "day" | "start" | "end";
  choices?: readonly string[];
  /** Of a filter: it always has a value, and this is the first. */
  always?: string;
  required?: boolean;
  hint?: string;
  value?: string;
  max?: number;
  /** The field of the request that it becomes, if that has another name. */
  param?: string;
  /** The name of a field that must have the same value. */
  same?: string;
}

/** What was given in a form: numbers as digits, a tick as `yes`, and several values in lines. */
export type Given = Record<string, string>;

/** What can be done with a row, or `Act<null>` with the list itself. */
export interface Act<T> {
  label: Key;
  /** The scope that it needs beside the view's. */
  scope?: string;
  when?: (row: T) => boolean;
  /** It destroys or ends something: its question names the thing. */
  danger?: boolean;
  question?: (row: T) => string;
  fields?: (row: T) => Field[];
  does?: (row: T, given: Given) => Promise<unknown>;
  /** Something of the answer that is shown this once. */
  secret?: (answer: unknown) => string;
  /** It changes nothing, and shows more of the row. */
  shows?: (row: T) => VNode;
  /** It changes nothing, and leads to another view. */
  leads?: (row: T) => string;
}

export interface List<T> {
  title: Key;
  /** What the list is about, in a sentence. */
  about?: Key;
  path: string;
  /** Whether the stack's own key may ask for another tenant's. */
  tenants?: boolean;
  /** Part of each request. */
  fixed?: Record<string, string>;
  filters?: Field[];
  id: (row: T) => string;
  /** What people call it. */
  name?: (row: T) => string;
  columns: Column<T>[];
  acts?: Act<T>[];
  make?: Act<null>[];
  /** The answer is not in pages: the path takes no `limit` and `after`. */
  whole?: boolean;
  /** While there are such rows, the list is asked for again. */
  unfinished?: (row: T) => boolean;
  /** Where all of it is downloaded, with the same filters. */
  exports?: string;
}

export const ROWS = 25;

/** Returns the values of a field with several. */
export function lines(given: string | undefined): string[] {
  return (given ?? "")
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
}

/** Returns the parameter of a request for a filter: days become seconds, `end` the day after it. */
export function parameter({ kind }: Field, value: string): string {
  if (!value || (kind !== "start" && kind !== "end")) return value;
  const at = new Date(`${value}T00:00`);
  if (kind === "end") at.setDate(at.getDate() + 1);
  return Number.isNaN(at.getTime()) ? "" : String(Math.floor(at.getTime() / 1000));
}
