// A dialog with a heading and a button that closes it.

import type { ComponentChildren, VNode } from "preact";
import { t } from "../i18n";
import { Icon } from "../icons";
import { useModal } from "../modal";

interface Props {
  id: string;
  title: string;
  close: () => void;
  children: ComponentChildren;
}

export function OwnDialog({ id, title, close, children }: Props): VNode {
  const dialog = useModal();
  return (
    <dialog ref={dialog} class="settings own" aria-labelledby={id} onClose={close}>
      <div class="panel-head">
        <h2 id={id}>{title}</h2>
        <button type="button" class="icon end" aria-label={t("close")} onClick={() => dialog.current?.close()}>
          <Icon name="close" />
        </button>
      </div>
      {children}
    </dialog>
  );
}
