// Numbers as people read them, by the unit of a panel.

const digits = (value) => new Intl.NumberFormat("en", { maximumSignificantDigits: 3 }).format(value);

function scaled(value, base, names) {
  let at = 0;
  while (Math.abs(value) >= base && at < names.length - 1) { value /= base; at += 1; }
  return `${digits(value)}${names[at] ? ` ${names[at]}` : ""}`;
}

function duration(value) {
  const size = Math.abs(value);
  if (size === 0) return "0 s";
  if (size < 1e-3) return `${digits(value * 1e6)} µs`;
  if (size < 1) return `${digits(value * 1e3)} ms`;
  if (size < 60) return `${digits(value)} s`;
  if (size < 3600) return `${digits(value / 60)} min`;
  return size < 86400 ? `${digits(value / 3600)} h` : `${digits(value / 86400)} d`;
}

const BYTES = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const counted = (value) => scaled(value, 1000, ["", "k", "M", "G", "T"]);
const FORMATS = {
  seconds: duration,
  bytes: (v) => scaled(v, 1024, BYTES),
  "bytes/s": (v) => `${scaled(v, 1024, BYTES)}/s`,
  megabytes: (v) => scaled(v * 1048576, 1024, BYTES),
  ratio: (v) => `${digits(v * 100)}%`,
  percent: (v) => `${digits(v)}%`,
  currency: (v) => new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: Math.abs(v) < 1 ? 6 : 2 }).format(v),
  celsius: (v) => `${digits(v)} °C`,
  watts: (v) => scaled(v, 1000, ["W", "kW", "MW"]),
  "requests/s": (v) => `${counted(v)} req/s`,
  "tokens/s": (v) => `${counted(v)} tokens/s`,
  "operations/s": (v) => `${counted(v)} ops/s`,
  1: counted,
};

export function said(unit, value) {
  return value === null || value === undefined ? "–" : FORMATS[unit](value);
}

const decimal = (from, to) => {
  const found = [];
  for (let power = from; power < to; power += 1) found.push(10 ** power, 2 * 10 ** power, 5 * 10 ** power);
  return found;
};
export const INCREMENTS = {
  seconds: [...decimal(-7, 1), 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400,
    ...decimal(0, 4).map((days) => days * 86400)],
  bytes: Array.from({ length: 56 }, (_, power) => 2 ** power),
  megabytes: Array.from({ length: 40 }, (_, power) => 2 ** power),
};
INCREMENTS["bytes/s"] = INCREMENTS.bytes;

export function moment(time, long) {
  const at = new Date(time * 1000);
  const two = (number) => String(number).padStart(2, "0");
  const clock = `${two(at.getHours())}:${two(at.getMinutes())}`;
  return long ? `${two(at.getMonth() + 1)}-${two(at.getDate())} ${clock}` : clock;
}
