// Asks again after a while, and not while nobody looks.

import { useEffect } from "preact/hooks";

/** Calls `again` so many seconds after each answer; 0 never calls it. */
export function useRefresh(seconds: number, busy: boolean, again: () => void): void {
  useEffect(() => {
    if (busy || !seconds) return;
    const look = () => {
      if (!document.hidden) again();
      else document.addEventListener("visibilitychange", look, { once: true });
    };
    const timer = setTimeout(look, seconds * 1000);
    return () => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", look);
    };
  }, [seconds, busy]);
}
