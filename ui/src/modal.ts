// Dialogs over the page.

import type { RefObject } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

/** Returns the reference for a dialog that is open as long as it is part of the page. */
export function useModal(): RefObject<HTMLDialogElement | null> {
  const dialog = useRef<HTMLDialogElement>(null);
  // In the task that adds it, not after the next frame as `useEffect` would: a dialog that is closed before it was
  // opened, by whoever is quick or by a script, would open afterwards and stay.
  // Closed before it is removed, because the browser gives the focus back only from a dialog of the document.
  useLayoutEffect(() => {
    const shown = dialog.current;
    shown?.showModal();
    return () => shown?.close();
  }, []);
  return dialog;
}
