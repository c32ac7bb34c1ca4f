/** @jsxRuntime classic */
/** @jsx h */
// The dialog of the library: what kinds there are, and one of them.

import type { ComponentType, VNode } from "preact";
import type { Kit } from ".";
import { Assistants } from "./assistants";
import { Collections } from "./collections";
import { give, h, OwnDialog, status, useState } from "./kit";
import { Prompts } from "./prompts";
import { say } from "./texts";

const KINDS = ["assistants", "collections", "prompts"] as const;

interface Shown {
  close: () => void;
}

export function library(kit: Kit): ComponentType<Shown> {
  give(kit);
  return View;
}

function View({ close }: Shown): VNode {
  const [kind, setKind] = useState<(typeof KINDS)[number]>("assistants");
  return (
    <OwnDialog id="library" title={say("title")} close={close}>
      <div class="library">
        <nav class="kinds" aria-label={say("title")}>
          {KINDS.map((each) => (
            <button key={each} type="button" aria-current={each === kind ? "page" : undefined} onClick={() => setKind(each)}>
              {say(each)}
            </button>
          ))}
        </nav>
        {kind === "assistants" && <Assistants close={close} />}
        {kind === "collections" && <Collections />}
        {kind === "prompts" && <Prompts />}
        <p class="spoken" role="status">{status}</p>
      </div>
    </OwnDialog>
  );
}
