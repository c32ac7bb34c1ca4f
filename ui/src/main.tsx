import { render } from "preact";
import { App } from "./app";
import { prepare } from "./preferences";

await prepare();
const root = document.getElementById("page");
if (root) {
  root.replaceChildren();
  render(<App />, root);
}
