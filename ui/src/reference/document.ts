// What is read of the OpenAPI document, and what is shown of its schemas.

export interface Schema {
  $ref?: string;
  type?: string | string[];
  enum?: unknown[];
  const?: unknown;
  anyOf?: Schema[];
  oneOf?: Schema[];
  allOf?: Schema[];
  items?: Schema;
  properties?: Record<string, Schema>;
  required?: string[];
  default?: unknown;
  description?: string;
  format?: string;
}

export interface Parameter {
  name: string;
  in: "path" | "query" | "header";
  required?: boolean;
  description?: string;
  style?: string;
  schema: Schema;
}

export interface Operation {
  method: string;
  path: string;
  operationId: string;
  summary: string;
  security: unknown[];
  parameters: Parameter[];
  requestBody?: { content: Record<string, { schema: Schema }> };
  responses: Record<string, { content?: Record<string, { schema: Schema }> }>;
}

export interface Document {
  info: { version: string };
  paths: Record<string, Record<string, Omit<Operation, "method" | "path">>>;
  components: { schemas: Record<string, Schema> };
}

/** Returns the operations by what their paths begin with, in the document's order. */
export function groups(document: Document): Map<string, Operation[]> {
  const found = new Map<string, Operation[]>();
  for (const [path, methods] of Object.entries(document.paths))
    for (const [method, operation] of Object.entries(methods)) {
      const parts = path.split("/").filter(Boolean);
      const name = `/${parts.slice(0, parts[0] === "v1" ? 2 : 1).join("/")}`;
      found.set(name, [...(found.get(name) ?? []), { ...operation, method: method.toUpperCase(), path }]);
    }
  return found;
}

/** Returns a schema without references at its top; of alternatives with null, the other one. */
export function resolved(schema: Schema, document: Document): Schema {
  if (schema.$ref) return resolved(document.components.schemas[schema.$ref.split("/").at(-1) ?? ""] ?? {}, document);
  const others = (schema.anyOf ?? schema.oneOf ?? schema.allOf)?.filter((each) => each.type !== "null") ?? [];
  return others.length === 1 && others[0] ? { ...resolved(others[0], document), ...named(schema) } : schema;
}

function named({ description }: Schema): Schema {
  return description === undefined ? {} : { description };
}

/** Returns a short name of what a schema takes. */
export function kind(schema: Schema, document: Document): string {
  const { type, enum: values, items, anyOf, oneOf, const: only } = resolved(schema, document);
  if (only !== undefined) return JSON.stringify(only);
  if (values) return values.map((each) => JSON.stringify(each)).join(" | ");
  if (anyOf ?? oneOf) return [...new Set((anyOf ?? oneOf ?? []).map((each) => kind(each, document)))].join(" | ");
  if (items) return `${kind(items, document)}[]`;
  return (Array.isArray(type) ? type.join(" | ") : type) ?? "any";
}

/** Returns the smallest value that has the required fields of a schema. */
export function example(schema: Schema, document: Document, depth = 0): unknown {
  const found = resolved(schema, document);
  if (found.const !== undefined) return found.const;
  if (found.enum) return found.enum[0];
  const first = (found.anyOf ?? found.oneOf)?.[0];
  if (first && depth < 6) return example(first, document, depth + 1);
  const type = Array.isArray(found.type) ? found.type[0] : found.type;
  if (type === "object") {
    const names = depth < 6 ? (found.required ?? []) : [];
    return Object.fromEntries(names.map((name) => [name, example(found.properties?.[name] ?? {}, document, depth + 1)]));
  }
  if (type === "array") return found.items && depth < 6 ? [example(found.items, document, depth + 1)] : [];
  return { string: "", integer: 1, number: 1, boolean: false }[type ?? ""] ?? null;
}
