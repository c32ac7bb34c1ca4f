// One route: its fields, a form that calls it, and the answer.

import { useSignal } from "@preact/signals";
import { call, type Answer } from "./call";
import { example, kind, resolved, type Document, type Operation, type Schema } from "./document";
import { key } from "./key";

interface Shown {
  operation: Operation;
  document: Document;
}

export function OperationView({ operation, document }: Shown) {
  const { method, path, summary, operationId } = operation;
  const open = useSignal(location.hash === `#${operationId}`);
  return (
    <details id={operationId} open={open.value} onToggle={(event) => (open.value = event.currentTarget.open)}>
      <summary>
        <b>{method}</b> <code>{path}</code> <span>{summary}</span>
      </summary>
      {open.value && <Details operation={operation} document={document} />}
    </details>
  );
}

function Details({ operation, document }: Shown) {
  const answer = useSignal<Answer | null>(null);
  const calling = useSignal<AbortController | null>(null);
  const { parameters, requestBody, responses, security } = operation;
  const body = requestBody?.content["application/json"]?.schema;
  const form = requestBody?.content["multipart/form-data"]?.schema;
  const success = Object.entries(responses).filter(([status]) => status < "400");

  async function send(event: SubmitEvent) {
    event.preventDefault();
    const controller = new AbortController();
    calling.value = controller;
    answer.value = null;
    try {
      const data = new FormData(event.currentTarget as HTMLFormElement);
      await call(operation, data, key.value, controller.signal, (told) => (answer.value = told));
    } catch {
      const text = answer.peek()?.text ?? "";
      answer.value = { status: controller.signal.aborted ? "Stopped" : "No answer", text };
    } finally {
      calling.value = null;
    }
  }

  return (
    <div class="operation">
      <p>{security.length > 0 ? "Needs an API key." : "Needs no API key."}</p>
      <form onSubmit={(event) => void send(event)}>
        {parameters.map(({ name, in: place, required, description, schema }) => (
          <Field
            key={`${place}:${name}`}
            name={`${place}:${name}`}
            label={`${name} (${place})`}
            required={required === true}
            schema={{ ...schema, ...(description !== undefined && { description }) }}
            document={document}
          />
        ))}
        {form &&
          Object.entries(form.properties ?? {}).map(([name, schema]) => (
            <Field
              key={name}
              name={`form:${name}`}
              label={name}
              required={form.required?.includes(name) === true}
              schema={schema}
              document={document}
            />
          ))}
        {body && (
          <label>
            Body
            <textarea name="body" rows={8} spellcheck={false} defaultValue={JSON.stringify(example(body, document), null, 2)} />
          </label>
        )}
        <div class="buttons">
          <button class="button" type="submit" disabled={calling.value !== null}>
            Call
          </button>
          {calling.value && (
            <button class="button" type="button" onClick={() => calling.value?.abort()}>
              Stop
            </button>
          )}
        </div>
      </form>
      <div role="status">{answer.value?.status}</div>
      {answer.value && (
        <pre class="answer" tabIndex={0} aria-label="Answer">
          {answer.value.text}
        </pre>
      )}
      {body && <Fields title="Fields of the body" schema={body} document={document} />}
      {success.map(([status, { content }]) =>
        Object.entries(content ?? {}).map(([type, { schema }]) => (
          <Fields key={status + type} title={`Answer ${status}, ${type}`} schema={schema} document={document} />
        )),
      )}
    </div>
  );
}

interface FieldShown {
  name: string;
  label: string;
  required: boolean;
  schema: Schema;
  document: Document;
}

function Field({ name, label, required, schema, document }: FieldShown) {
  const { enum: values, description, format, default: usual } = resolved(schema, document);
  const about = [description, usual !== undefined && usual !== null ? `by default ${String(usual)}` : ""].filter(Boolean).join("; ");
  return (
    <label>
      {label}
      {required && " *"}
      {about && <small>{about}</small>}
      {values ? (
        <select name={name} required={required}>
          {!required && <option value="" />}
          {values.map((each) => (
            <option key={String(each)}>{String(each)}</option>
          ))}
        </select>
      ) : format === "binary" ? (
        <input name={name} required={required} type="file" />
      ) : (
        <input name={name} required={required} autocomplete="off" />
      )}
    </label>
  );
}

function Fields({ title, schema, document }: { title: string; schema: Schema; document: Document }) {
  return (
    <details>
      <summary>{title}</summary>
      <Tree schema={schema} document={document} depth={0} />
    </details>
  );
}

function Tree({ schema, document, depth }: { schema: Schema; document: Document; depth: number }) {
  const found = resolved(schema, document);
  const { properties, required = [] } = found.items ? resolved(found.items, document) : found;
  if (!properties || depth > 3) return depth === 0 ? <p>{kind(schema, document)}</p> : null;
  return (
    <ul class="schema">
      {Object.entries(properties).map(([name, each]) => (
        <li key={name}>
          <code>{name}</code>
          {required.includes(name) && " *"} <span>{kind(each, document)}</span> {resolved(each, document).description}
          <Tree schema={each} document={document} depth={depth + 1} />
        </li>
      ))}
    </ul>
  );
}
