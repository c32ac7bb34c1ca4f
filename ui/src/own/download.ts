// Files that the page makes.

export interface Made {
  name: string;
  type: string;
  text: string;
}

/** Hands a file over to the browser, which keeps it. */
export function download({ name, type, text }: Made): void {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  // The browser reads the address after the click has been handled.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
