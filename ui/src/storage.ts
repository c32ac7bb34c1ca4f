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

/** Forgets all whose names begin so. */
export function forget(start: string): void {
  try {
    for (const name of Object.keys(localStorage)) {
      if (name.startsWith(`headrace.${start}`)) localStorage.removeItem(name);
    }
  } catch {
    // Nothing was kept.
  }
}
