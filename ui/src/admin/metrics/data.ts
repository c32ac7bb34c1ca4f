// Dashboards and alerts as the API answers them.

export interface Line {
  name: string;
  values: (number | null)[];
}

export type Colour = "green" | "yellow" | "orange" | "red";

export interface Panel {
  id: string;
  title: string;
  description: string;
  kind: "timeseries" | "stat" | "table" | "heatmap";
  unit: string;
  base: Colour;
  steps: { value: number; colour: Colour }[];
  stacked: boolean;
  width: number;
  alerts: string[];
  series: Line[];
  columns: string[];
  rows: (string | number | null)[][];
  error: string | null;
}

export interface Summary {
  id: string;
  title: string;
  description: string;
}

export interface Rollout {
  /** Unix seconds. */
  at: number;
  parts: string[];
}

export interface Dashboard extends Summary {
  range: string;
  start: number;
  step: number;
  filters: { name: string; title: string; value: string | null; values: string[] }[];
  rows: { title: string; panels: Panel[] }[];
  alerts: string[];
  rollouts: Rollout[];
}

export interface Firing {
  id: string;
  severity: string;
  count: number;
  /** The first of them, the oldest first. */
  instances: { summary: string | null; since: number | null }[];
  /** Whether it is one of the stack's own, which have runbooks. */
  runbook: boolean;
}

export interface Alert {
  id: string;
  severity: string;
  owner: string;
  wait: string;
  summary: string;
  expression: string;
  dashboard: string;
  runbook: string;
}

/** Returns a summary that fires for nothing now, with the names of what it would say. */
export function general(summary: string): string {
  return summary.replace(/\{\{\s*\$(?:labels\.)?(\w+)[^}]*\}\}/g, "‹$1›");
}

export const RANGES = ["15m", "1h", "6h", "24h", "7d"] as const;
export const DEFAULT_RANGE = "1h";

export function known(values: (number | null)[]): number[] {
  return values.filter((value) => value !== null);
}

export function latest(values: (number | null)[]): number | null {
  return values.findLast((value) => value !== null) ?? null;
}

/** Returns the colour of a value by the panel's thresholds. */
export function level({ base, steps }: Panel, value: number | null): Colour {
  return steps.reduce((colour, step) => (value !== null && value >= step.value ? step.colour : colour), base);
}
