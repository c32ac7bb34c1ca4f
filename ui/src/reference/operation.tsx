// One route: its fields, a form that calls it, and the answer.

import { useSignal } from "@preact/signals";
import { call, type Answer } from "./call";
import { example, kind, resolved, type Document, type Operation, type Schema } from "./document";
import { key } from "./key";

interface Shown {
  operation: Operation;
  document: Document;
}

/** A route, whose form and answer stay when it is closed or does not fit what somebody looks for. */
export function OperationView({ operation, document, fits }: Shown & { fits: boolean }) {
  const { method, path, summary, operationId } = operation;
  const first = location.hash === `#${operationId}`;
  const opened = useSignal(first);
  return (
    <details id={operationId} hidden={!fits} open={first} onToggle={() => (opened.value = true)}>
      <summary>
        <b>{method}</b> <code>{path}</code> <span>{summary}</span>
      </summary>
      {opened.value && <Details operation={operation} document={document} />}
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
    } catch (error) {
      const failed = error instanceof SyntaxError ? `Not sent: ${error.message}` : "No answer";
      answer.value = { status: controller.signal.aborted ? "Stopped" : failed, text: answer.peek()?.text ?? "" };
    } finally {
      calling.value = null;
    }
  }

  return (
    <div class="operation">
      <p>{security.length > 0 ? "Needs an API key." : "Needs no API key."}</p>
      <form onSubmit={(event) => void send(event)}>
        {parameters.map(({ name, in: place, required, description, style, schema }) => (
          <Field
            key={`${place}:${name}`}
            name={`${place}:${name}`}
            label={`${name} (${place})`}
            required={required === true}
            schema={{ ...schema, description: [description, written(style, schema)].filter(Boolean).join("; ") }}
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

function written(style: string | undefined, schema: Schema): string {
  if (style === "deepObject") return "as a JSON object";
  return schema.type === "array" ? "separated by commas" : "";
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
