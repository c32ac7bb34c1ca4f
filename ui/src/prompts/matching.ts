// Which prompts fit what somebody looks for.

interface Named {
  name: string;
  description: string;
  headrace: { first_line: string };
}

/** Returns those with every word in their name, description or first line; whose name begins with all of it come first. */
export function matching<T extends Named>(prompts: readonly T[], query: string): T[] {
  const asked = query.trim().toLowerCase();
  const words = asked.split(/\s+/);
  const rank = ({ name }: T) => (name.toLowerCase().startsWith(asked) ? 0 : 1);
  return prompts
    .filter(({ name, description, headrace }) => {
      const text = `${name} ${description} ${headrace.first_line}`.toLowerCase();
      return words.every((word) => text.includes(word));
    })
    .sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
}
