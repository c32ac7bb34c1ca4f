// Numbers as people read them, by the unit of a panel, and the round numbers of its axis.

import { language } from "../../i18n";

function digits(value: number): string {
  return new Intl.NumberFormat(language.value, { maximumSignificantDigits: 3 }).format(value);
}

function scaled(value: number, base: number, names: string[]): string {
  let at = 0;
  let size = value;
  while (Math.abs(size) >= base && at < names.length - 1) {
    size /= base;
    at += 1;
  }
  return `${digits(size)}${names[at] ? ` ${names[at]}` : ""}`;
}

const DURATIONS: [number, string][] = [[86_400, "d"], [3600, "h"], [60, "min"], [1, "s"], [1e-3, "ms"], [1e-6, "µs"]];

function duration(value: number): string {
  const found = DURATIONS.find(([size]) => Math.abs(value) >= size) ?? DURATIONS[value === 0 ? 3 : 5];
  const [size, name] = found as [number, string];
  return `${digits(value / size)} ${name}`;
}

const BYTES = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const counted = (value: number) => scaled(value, 1000, ["", "k", "M", "G", "T"]);

const FORMATS: Record<string, (value: number) => string> = {
  seconds: duration,
  bytes: (value) => scaled(value, 1024, BYTES),
  "bytes/s": (value) => `${scaled(value, 1024, BYTES)}/s`,
  megabytes: (value) => scaled(value * 1_048_576, 1024, BYTES),
  ratio: (value) => `${digits(value * 100)}%`,
  percent: (value) => `${digits(value)}%`,
  currency: (value) =>
    new Intl.NumberFormat(language.value, {
      minimumFractionDigits: 2,
      maximumFractionDigits: Math.abs(value) < 1 ? 6 : 2,
    }).format(value),
  celsius: (value) => `${digits(value)} °C`,
  watts: (value) => scaled(value, 1000, ["W", "kW", "MW"]),
  "requests/s": (value) => `${counted(value)} /s`,
  "tokens/s": (value) => `${counted(value)} /s`,
  "operations/s": (value) => `${counted(value)} /s`,
};

/** Returns a value with its unit, a dash for none. */
export function measured(unit: string, value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : (FORMATS[unit] ?? counted)(value);
}

const HOURS = [60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400];

/** Returns the least distance between round values of an axis that is at least `least`. */
export function increment(unit: string, least: number): number {
  if (unit.startsWith("bytes") || unit === "megabytes") return 2 ** Math.ceil(Math.log2(least));
  if (unit === "seconds" && least > 30) {
    return HOURS.find((each) => each >= least) ?? decimal(least / 86_400) * 86_400;
  }
  return decimal(least);
}

function decimal(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  return ([1, 2, 5].find((each) => each * power >= least * 0.999_999) ?? 10) * power;
}

/** Returns the ends of an axis for these values: most units begin at zero. */
export function extent(unit: string, values: number[]): [number, number] {
  if (!values.length) return [0, 1];
  const zero = unit !== "celsius" && unit !== "watts";
  const low = values.reduce((a, b) => Math.min(a, b));
  const high = values.reduce((a, b) => Math.max(a, b));
  if (low === 0 && high === 0) return [0, 1];
  const from = zero ? Math.min(0, low) : low;
  const margin = (high - from || Math.abs(high) || 1) * 0.08;
  return [from < 0 || !zero ? from - margin : from, high + margin];
}

/** Returns the round values between two ends, at most `most`. */
export function ticks(unit: string, [from, to]: [number, number], most: number): number[] {
  const step = increment(unit, (to - from) / most);
  const first = Math.ceil(from / step);
  const count = Math.floor(to / step) - first + 1;
  return Array.from({ length: Math.max(0, count) }, (_, at) => (first + at) * step);
}

const TIMES = [60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 14_400, 21_600, 43_200, 86_400, 172_800];

/** Returns the round local times between two times in unix seconds, at most `most`. */
export function times(from: number, to: number, most: number): number[] {
  const step = TIMES.find((each) => (to - from) / each <= most) ?? 604_800;
  const shift = new Date(from * 1000).getTimezoneOffset() * 60;
  const found = [];
  for (let at = Math.ceil((from - shift) / step) * step + shift; at <= to; at += step) found.push(at);
  return found;
}

/** Returns a time in unix seconds; with its day if the range is longer than one. */
export function moment(time: number, range: number): string {
  const day = range > 90_000 ? ({ month: "numeric", day: "numeric" } as const) : {};
  const clock = { ...day, hour: "2-digit", minute: "2-digit", hourCycle: "h23" } as const;
  return new Intl.DateTimeFormat(language.value, clock).format(new Date(time * 1000));
}
