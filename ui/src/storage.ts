// What the page keeps in the browser. Browsers may block storage: the page then forgets, and works.

export function stored(name: string): string | null {
  try {
    return localStorage.getItem(`headrace.${name}`);
  } catch {
    return null;
  }
}

export function store(name: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(`headrace.${name}`);
    else localStorage.setItem(`headrace.${name}`, value);
  } catch {
    // Nothing is lost but a preference.
  }
}
