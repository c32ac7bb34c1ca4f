// What the reader has used this month, what it cost, and how much is left of each budget.

import type { VNode } from "preact";
import { useEffect, useState } from "preact/hooks";
import { json } from "../api/http";
import { described } from "../chat/ask";
import { language, t } from "../i18n";
import { OwnDialog } from "./dialog";

interface Used {
  id: string;
  requests: number;
  prompt_tokens: number;
  completion_tokens: number;
  cost: { amount: string; currency: string }[];
}

interface Quota {
  quota_id: string;
  window: string;
  measure: string;
  currency: string | null;
  /** Money is a decimal number in a string. */
  limit: number | string;
  used: number | string | null;
  resets_at: string | null;
}

interface Answer {
  data: Used[];
  quotas: Quota[];
}

const WINDOWS = ["minute", "day", "month", "concurrent", "total"] as const;
const MEASURES = ["requests", "tokens", "money", "streams", "files", "attachments", "items", "stored_bytes"] as const;

export function Usage({ close }: { close: () => void }): VNode {
  const [answer, setAnswer] = useState<Answer | null>(null);
  const [error, setError] = useState("");
  useEffect(() => {
    json<Answer>("GET", `/v1/usage?${new URLSearchParams({ by: "model", limit: "100" })}`).then(setAnswer, (failed) =>
      setError(described(failed)),
    );
  }, []);
  return (
    <OwnDialog id="usage" title={t("usage")} close={close}>
      {error && <p class="error" role="alert">{error}</p>}
      {!answer && !error && <p class="hint">{t("loading")}</p>}
      {answer && (
        <>
          <h3>{t("budget")}</h3>
          {answer.quotas.length ? answer.quotas.map((quota) => <Budget key={quota.quota_id} quota={quota} />) : <p>{t("noBudget")}</p>}
          <h3>{t("usedByModel")}</h3>
          {answer.data.length ? <Table rows={answer.data} /> : <p>{t("nothingUsed")}</p>}
        </>
      )}
    </OwnDialog>
  );
}

function Budget({ quota }: { quota: Quota }): VNode {
  const window = WINDOWS.find((each) => each === quota.window);
  const measure = MEASURES.find((each) => each === quota.measure);
  const name = `${measure ? t(`measure_${measure}`) : quota.measure}, ${window ? t(`window_${window}`) : quota.window}`;
  const limit = amount(quota.limit, quota.currency);
  const used = quota.used === null ? "" : amount(quota.used, quota.currency);
  return (
    <div class="budget">
      <p>{name}</p>
      {quota.used !== null && <meter aria-label={name} min={0} max={Number(quota.limit)} value={Number(quota.used)} />}
      <p class="hint">{used ? t("usedOf", { used, limit }) : t("atMost", { limit })}</p>
      {quota.resets_at && <p class="hint">{t("resets", { time: moment(quota.resets_at) })}</p>}
    </div>
  );
}

function Table({ rows }: { rows: readonly Used[] }): VNode {
  return (
    <div class="table" tabIndex={0} role="region" aria-label={t("usedByModel")}>
      <table>
        <thead>
          <tr>
            <th>{t("model")}</th><th>{t("measure_requests")}</th><th>{t("measure_tokens")}</th><th>{t("cost")}</th>
          </tr>
        </thead>
        <tbody>
          {rows.map(({ id, requests, prompt_tokens, completion_tokens, cost }) => (
            <tr key={id}>
              <th scope="row" dir="auto">{id}</th>
              <td>{number(requests)}</td>
              <td>{number(prompt_tokens + completion_tokens)}</td>
              <td>{cost.map((each) => amount(each.amount, each.currency)).join(", ")}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function number(value: number): string {
  return new Intl.NumberFormat(language.value).format(value);
}

/** Money is shown as it is stored: a binary number would round it. */
function amount(value: number | string, currency: string | null): string {
  return currency ? `${value} ${currency}` : number(Number(value));
}

function moment(time: string): string {
  return new Intl.DateTimeFormat(language.value, { dateStyle: "medium", timeStyle: "short" }).format(new Date(time));
}
