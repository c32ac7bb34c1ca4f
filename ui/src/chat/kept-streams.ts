// Answers under way, by their conversations: after a reload, or in another tab, the page follows them again.

import type { Attached } from "../api/chat";
import { store, stored } from "../storage";

export interface KeptStream {
  stream: string;
  question: string;
  model: string;
  training: boolean;
  files?: readonly Attached[];
}

const MOST = 20;

export function keptStream(conversation: string): KeptStream | null {
  return all()[conversation] ?? null;
}

export function keepStream(conversation: string, kept: KeptStream): void {
  const { [conversation]: _, ...others } = all();
  save({ ...Object.fromEntries(Object.entries(others).slice(1 - MOST)), [conversation]: kept });
}

export function forgetStream(conversation: string): void {
  const { [conversation]: gone, ...others } = all();
  if (gone) save(others);
}

function all(): Record<string, KeptStream> {
  try {
    const kept: unknown = JSON.parse(stored("streams") ?? "{}");
    return kept && typeof kept === "object" ? (kept as Record<string, KeptStream>) : {};
  } catch {
    return {};
  }
}

function save(streams: Record<string, KeptStream>): void {
  store("streams", Object.keys(streams).length ? JSON.stringify(streams) : null);
}
