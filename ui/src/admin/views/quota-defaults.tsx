// The limits that the configuration sets for each tenant, user and key, with the lines to edit.

import type { VNode } from "preact";
import { c } from "../../i18n/console";
import { Loaded } from "../loaded";
import { Lines } from "../values";
import { yaml } from "../yaml";

interface Default {
  subject: string;
  window: string;
  measure: string;
  currency: string | null;
  limit: number | string;
}

interface Defaults {
  data: Default[];
  warn_at: number[];
}

export function QuotaDefaults(): VNode {
  const shows = ({ data, warn_at }: Defaults) => (
    <Lines>{yaml({ "headrace:quotas": { ...bySubject(data), warn_at } })}</Lines>
  );
  return (
    <section class="configured">
      <h2>{c("quotaDefaults")}</h2>
      <p class="hint">{c("editLines")}</p>
      <Loaded<Defaults> path="/v1/admin/quotas/defaults" shows={shows} />
    </section>
  );
}

function bySubject(defaults: Default[]): Record<string, object[]> {
  const found: Record<string, object[]> = {};
  for (const { subject, window, measure, currency, limit } of defaults) {
    (found[subject] ??= []).push({ window, measure, ...(currency && { currency }), limit });
  }
  return found;
}
