// The alerts that fire, and the runbook of one.

import type { VNode } from "preact";
import { c } from "../../i18n/console";
import { address, follow, to } from "../address";
import { useAnswer } from "../answer";
import { Failure, Loaded } from "../loaded";
import { Code, number, Time } from "../values";
import { type Alert, type Firing, general } from "./data";
import { useRefresh } from "./refresh";
import { Runbook } from "./runbook";

const REFRESH_S = 30;

export function Alerts(): VNode {
  const name = address.value.query.get("alert");
  if (!name) return <FiringAlerts />;
  return (
    <>
      <p><a href={to("alerts")} onClick={follow}>{c("allAlerts")}</a></p>
      <Loaded<Alert> key={name} path={`/v1/admin/alerts/${encodeURIComponent(name)}`} shows={(alert) => <One alert={alert} />} />
    </>
  );
}

function FiringAlerts(): VNode {
  const { data, error, busy, reload } = useAnswer<{ data: Firing[] }>("/v1/admin/alerts");
  useRefresh(REFRESH_S, busy, reload);
  if (error) return <Failure error={error} reload={reload} />;
  if (!data) return <p role="status">{c("loading")}</p>;
  const severity = address.value.query.get("severity");
  const firing = data.data.filter((alert) => !severity || alert.severity === severity);
  const all = severity && <p><a href={to("alerts")} onClick={follow}>{c("allAlerts")}</a></p>;
  if (!firing.length) return <>{all}<p>{c("noAlertFires")}</p></>;
  return (
    <>
      {all}
      <ul class="plain alerts" aria-busy={busy}>
        {firing.map((alert) => (
          <li key={`${alert.id} ${alert.severity}`} class={alert.severity}>
            <b>{alert.runbook ? <Named name={alert.id} /> : <Code>{alert.id}</Code>}</b>
            <span class={`state ${alert.severity === "page" ? "bad" : ""}`}>{alert.severity}</span>
            {alert.count > 1 && <span>×{number(alert.count)}</span>}
            <Instances alert={alert} />
          </li>
        ))}
      </ul>
    </>
  );
}

function Named({ name }: { name: string }): VNode {
  return <a href={to("alerts", { alert: name })} onClick={follow}><bdi>{name}</bdi></a>;
}

/** What an alert says of each thing that it fires for, and since when. */
function Instances({ alert: { count, instances } }: { alert: Firing }): VNode | null {
  if (!instances.length) return null;
  return (
    <ul class="plain instances">
      {instances.map(({ summary, since }, at) => (
        <li key={at}>
          {summary && <span lang="en" dir="auto">{summary}</span>}
          {since !== null && <span class="hint">{c("since")} <Time at={since} /></span>}
        </li>
      ))}
      {count > instances.length && <li class="hint">{c("andMore", { count: number(count - instances.length) })}</li>}
    </ul>
  );
}

function FiresNow({ id }: { id: string }): VNode | null {
  const { data } = useAnswer<{ data: Firing[] }>("/v1/admin/alerts");
  const firing = data?.data.filter((alert) => alert.id === id) ?? [];
  if (!firing.length) return null;
  return (
    <section class="alerts">
      <h3>{c("firesNow")}</h3>
      {firing.map((alert) => <Instances key={alert.severity} alert={alert} />)}
    </section>
  );
}

function One({ alert }: { alert: Alert }): VNode {
  return (
    <>
      <h2><bdi>{alert.id}</bdi></h2>
      <FiresNow id={alert.id} />
      <dl class="facts">
        <div><dt>{c("summary")}</dt><dd lang="en" dir="auto">{general(alert.summary)}</dd></div>
        <div><dt>{c("severity")}</dt><dd><Code>{alert.severity}</Code></dd></div>
        <div><dt>{c("owner")}</dt><dd><Code>{alert.owner}</Code></dd></div>
        <div><dt>{c("mustHold")}</dt><dd><Code>{alert.wait}</Code></dd></div>
        <div>
          <dt>{c("dashboard")}</dt>
          <dd><a href={to("dashboards", { dashboard: alert.dashboard })} onClick={follow}><bdi>{alert.dashboard}</bdi></a></dd>
        </div>
      </dl>
      <details>
        <summary>{c("expression")}</summary>
        <pre class="lines" dir="ltr" tabIndex={0} role="group" aria-label={c("expression")}><code>{alert.expression}</code></pre>
      </details>
      <Runbook text={alert.runbook} />
    </>
  );
}
