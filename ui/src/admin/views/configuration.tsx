// What the configuration sets, with the lines to edit: the console changes none of it.

import type { VNode } from "preact";
import { c } from "../../i18n/console";
import { Loaded } from "../loaded";
import { Lines } from "../values";
import { yaml } from "../yaml";
import { QuotaDefaults } from "./quota-defaults";

interface Me {
  headrace: {
    limits: { upload_bytes: number; characters: number; messages: number };
    capture: string;
    retention: object;
  };
}

export function Configuration(): VNode {
  return (
    <>
      <section class="configured">
        <h2>{c("dataKept")}</h2>
        <p class="hint">{c("editLines")}</p>
        <Loaded<Me> path="/v1/me" shows={(me) => <Lines>{yaml(configured(me))}</Lines>} />
      </section>
      <QuotaDefaults />
    </>
  );
}

function configured({ headrace: { limits, capture, retention } }: Me): object {
  const { upload_bytes, characters, messages } = limits;
  return {
    "headrace:capture": capture,
    "headrace:retention": retention,
    "headrace:limits": { upload_bytes, characters, messages },
  };
}
