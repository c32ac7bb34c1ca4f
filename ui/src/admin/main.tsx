// The operator's console, a page of its own beside the chat.

import { render } from "preact";
import { follow } from "../i18n/console";
import { prepare } from "../preferences";
import { Console } from "./console";

await prepare();
await follow();
const root = document.getElementById("page");
if (root) {
  root.replaceChildren();
  render(<Console />, root);
}
