// Files that are dropped or chosen, also in folders.

export interface Found {
  file: File;
  /** Its place in the folder that was chosen, or its name. */
  path: string;
}

interface Limits {
  upload_bytes: number;
  file_kinds: readonly string[];
}

/** Returns the files of a field. */
export function chosen(files: Iterable<File>): Found[] {
  return [...files].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
}

/** Returns what was dropped, with all that is in folders. */
export async function dropped({ items, files }: DataTransfer): Promise<Found[]> {
  // Before anything is waited for: afterwards the browser does not tell any more.
  const entries = [...items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  if (!entries.length) return chosen(files);
  return (await Promise.all(entries.map(inside))).flat();
}

async function inside(entry: FileSystemEntry): Promise<Found[]> {
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    return [{ file, path: entry.fullPath.replace(/^\//, "") }];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const found: FileSystemEntry[] = [];
  // A call returns some of them, and none at the end.
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) break;
    found.push(...some);
  }
  return (await Promise.all(found.map(inside))).flat();
}

/** Returns why a file would be refused, without sending it; the API looks at the content itself. */
export function refusal({ file }: Found, { upload_bytes, file_kinds }: Limits): "kind" | "empty" | "large" | null {
  const ending = /\.[^.]+$/.exec(file.name)?.[0].toLowerCase() ?? "";
  if (!file_kinds.includes(ending)) return "kind";
  if (!file.size) return "empty";
  return file.size > upload_bytes ? "large" : null;
}

export type { Limits };
