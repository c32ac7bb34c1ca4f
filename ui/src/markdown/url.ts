// Where a model's links may lead.

/** Returns the URL if it is an absolute one of http or https, else null. */
export function webAddress(href: string): URL | null {
  if (!/^https?:\/\//i.test(href)) return null;
  try {
    const url = new URL(href);
    // A user name before the host makes an address look like another one.
    return url.username || url.password ? null : url;
  } catch {
    return null;
  }
}
