// Plain values as the lines of a stack's file that hold them.

/** Returns YAML in blocks; JSON's strings, numbers and empty collections are YAML too. */
export function yaml(value: object, indent = ""): string {
  const entries: [string, unknown][] = Array.isArray(value) ? value.map((each) => ["-", each]) : Object.entries(value);
  return entries
    .map(([name, each]) => {
      const key = name === "-" ? `${indent}-` : `${indent}${name}:`;
      if (typeof each !== "object" || each === null || Object.keys(each).length === 0) return `${key} ${scalar(each)}`;
      const inner = yaml(each, `${indent}  `);
      return name === "-" && !Array.isArray(each) ? `${key} ${inner.trimStart()}` : `${key}\n${inner}`;
    })
    .join("\n");
}

const PLAIN = /^(?!(y|n|yes|no|on|off|true|false|null)$)[a-z][\w./-]*$/i;

function scalar(value: unknown): string {
  return typeof value === "string" && PLAIN.test(value) ? value : JSON.stringify(value);
}
