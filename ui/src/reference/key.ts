// The API key of the reader, in memory alone: it is gone with the page.

import { signal } from "@preact/signals";

export const key = signal("");
