// Texts in random pieces, the same in each run.

export const SIZES = [1, 3, 7, 20];

/** A generator of numbers from 0 to 1 that gives the same in each run (mulberry32). */
export function random(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Yields a text in pieces of about `size` characters. */
export function* steps(text, size, next) {
  for (let at = 0; at < text.length; ) {
    const step = 1 + Math.floor(next() * 2 * size);
    yield text.slice(at, at + step);
    at += step;
  }
}
