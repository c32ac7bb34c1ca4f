// What needs an operator now: alerts that fire, models without replicas, and jobs that wait or failed.

import type { VNode } from "preact";
import { session } from "../../api/http";
import { c, type Key } from "../../i18n/console";
import { follow, tenant, to } from "../address";
import type { Firing } from "../metrics/data";
import { type Page, useAnswer, withQuery } from "../answer";
import { Code, number, State, Time } from "../values";
import { type Job, Subjects } from "./jobs";
import { health, type Model } from "./models";

const MOST = 100;

function useJobs(status: string) {
  return useAnswer<Page<Job>>(withQuery("/v1/admin/jobs", { status, limit: String(MOST), tenant: tenant.value }));
}

export function Overview(): VNode {
  const models = useAnswer<Page<Model>>(withQuery("/v1/admin/models", { limit: String(MOST) }));
  const queued = useJobs("queued");
  const failed = useJobs("failed");
  const error = models.error || queued.error || failed.error;
  const states = models.data?.data.map((model) => ({ model, state: health(model) })) ?? [];
  const ill = states.filter(({ state }) => state === "failed" || state === "starting");
  const ready = `${number(states.length - ill.length)} / ${number(states.length)}`;
  const last = failed.data?.data ?? [];
  const platform = session.value?.scopes.includes("platform");
  const busy = models.busy || queued.busy || failed.busy;
  return (
    <>
      {error && <p class="error" role="alert">{error}</p>}
      <ul class="tiles" aria-busy={busy}>
        {platform && <FiringTiles />}
        <Tile label="modelsReady" view="models" count={models.data && ready} bad={ill.length > 0} />
        <Tile label="jobsWaiting" view="jobs" query={{ status: "queued" }} count={counted(queued.data)} />
        <Tile label="jobsFailed" view="jobs" query={{ status: "failed" }} count={counted(failed.data)} bad={last.length > 0} />
      </ul>
      {ill.length > 0 && (
        <section>
          <h2>{c("modelsToLookAt")}</h2>
          <ul class="plain">
            {ill.map(({ model, state }) => <li key={model.id}><Code>{model.id}</Code> <State of={state} /></li>)}
          </ul>
        </section>
      )}
      {last.length > 0 && (
        <section>
          <h2>{c("lastFailures")}</h2>
          <ul class="plain">
            {last.slice(0, 5).map((job) => (
              <li key={job.id}>
                <Code>{job.kind}</Code> <Code>{job.error_code}</Code> <Time at={job.finished_at} /> <Subjects of={job} />
              </li>
            ))}
          </ul>
        </section>
      )}
      <section>
        <h2>{c("alerts")}</h2>
        {platform ? (
          <p><a href={to("alerts")} onClick={follow}>{c("openAlerts")}</a></p>
        ) : (
          <p>{c("whereAlerts")}</p>
        )}
        {session.value?.scopes.includes("hub:read") && (
          <p><a href={to("releases")} onClick={follow}>{c("openReleases")}</a></p>
        )}
      </section>
    </>
  );
}

/** How many alerts fire of each severity, with what they are; each tile leads to them. */
function FiringTiles(): VNode {
  const { data, error } = useAnswer<{ data: Firing[] }>("/v1/admin/alerts");
  if (error) return <Tile label="alertsOf" view="alerts" count="–" note={error} />;
  const severities = [...new Set(data?.data.map(({ severity }) => severity))];
  if (!severities.length) return <Tile label="alertsOf" view="alerts" count={data && number(0)} />;
  return (
    <>
      {severities.map((severity) => {
        const count = data?.data.reduce((sum, one) => sum + (one.severity === severity ? one.count : 0), 0) ?? 0;
        const bad = severity === "page" || severity === "critical";
        return <Tile key={severity} label="alertsOf" of={severity} view="alerts" query={{ severity }} count={number(count)} bad={bad} />;
      })}
    </>
  );
}

function counted(page: Page<Job> | null): string | null {
  return page && (page.has_more ? c("atLeast", { count: number(MOST) }) : number(page.data.length));
}

interface TileShown {
  label: Key;
  /** Which of them, in the API's language. */
  of?: string;
  note?: string;
  view: string;
  query?: Record<string, string>;
  count: string | null;
  bad?: boolean;
}

function Tile({ label, of, note, view, query = {}, count, bad = false }: TileShown): VNode {
  return (
    <li class={bad ? "tile bad" : "tile"}>
      <a href={to(view, query)} onClick={follow}>
        <span>{c(label)}{of && <> <Code>{of}</Code></>}</span>
        <b>{count ?? "…"}</b>
        {note && <span class="hint">{note}</span>}
        {bad && <em>{c("lookAt")}</em>}
      </a>
    </li>
  );
}
