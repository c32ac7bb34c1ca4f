// Saves a conversation as a file; how the file is written is loaded once it is asked for.

import { type Conversation, items } from "../api/conversations";
import { ApiError } from "../api/http";
import { whole } from "../chat/state";
import { language, t } from "../i18n";
import { marks } from "../markdown/citations";
import { download } from "./download";
import type { Format } from "./export";

/** Downloads a whole conversation. Throws an `ApiError`, and then there is no file. */
export async function save(conversation: Conversation, format: Format): Promise<void> {
  const { file } = await import("./export").catch(() => {
    throw new ApiError(0, "offline", "");
  });
  // What the page has is passed on: a module that both imported would be one more request of the first load.
  download(await file(conversation, format, { items, whole, marks, t, language: language.peek(), origin: location.origin }));
}
