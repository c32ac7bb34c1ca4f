// The API reference at /docs: made of the stack's own OpenAPI document, whose routes can be called with a key.

import { signal } from "@preact/signals";
import { render } from "preact";
import { groups, type Document } from "./document";
import { key } from "./key";
import { OperationView } from "./operation";

const wanted = signal("");

function Reference({ document }: { document: Document }) {
  const words = wanted.value.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = [...groups(document)].map(([name, operations]) => {
    const fit = operations.filter(({ method, path, summary }) => {
      const text = `${method} ${path} ${summary}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
    return [name, operations, new Set(fit)] as const;
  });
  return (
    <main class="reference">
      <h1>Headrace API {document.info.version}</h1>
      <p>
        Every route of this stack, from its <a href="/openapi.json">OpenAPI document</a>. Calls are real: they change
        what the key may change.
      </p>
      <div class="fields">
        <label>
          API key
          <input
            id="key"
            type="password"
            autocomplete="off"
            spellcheck={false}
            value={key.value}
            onInput={(event) => (key.value = event.currentTarget.value.trim())}
          />
        </label>
        <label>
          Find
          <input id="find" type="search" value={wanted.value} onInput={(event) => (wanted.value = event.currentTarget.value)} />
        </label>
      </div>
      {shown.every(([, , fit]) => fit.size === 0) && <p role="status">No route fits.</p>}
      {shown.map(([name, operations, fit]) => (
        <section key={name} hidden={fit.size === 0}>
          <h2>{name}</h2>
          {operations.map((each) => (
            <OperationView key={each.operationId} operation={each} document={document} fits={fit.has(each)} />
          ))}
        </section>
      ))}
    </main>
  );
}

const root = document.getElementById("page");
if (root) {
  root.replaceChildren();
  document.title = "Headrace API";
  try {
    const answer = await fetch("/openapi.json", { credentials: "omit" });
    render(<Reference document={(await answer.json()) as Document} />, root);
    document.getElementById(location.hash.slice(1))?.scrollIntoView();
  } catch {
    render(<main class="reference"><h1>Headrace API</h1><p role="alert">The OpenAPI document cannot be loaded.</p></main>, root);
  }
}
