// A dashboard, with what its reader chose above it: the address keeps the choice.

import type { VNode } from "preact";
import { useEffect, useId } from "preact/hooks";
import { c } from "../../i18n/console";
import { address, follow, go, to } from "../address";
import { useAnswer, withQuery } from "../answer";
import { Failure } from "../loaded";
import { type Dashboard, DEFAULT_RANGE, type Firing, RANGES, type Summary } from "./data";
import { AlertLinks, PanelView } from "./panel";
import { useRefresh } from "./refresh";
import { moment } from "./units";

const FIRST = "overview";
/** Seconds between two answers; 0 asks for none by itself. */
const REFRESH = ["0", "10", "30", "300"];
const DEFAULT_REFRESH = "30";

export function Dashboards(): VNode {
  const { query } = address.value;
  const id = query.get("dashboard") || FIRST;
  const listed = useAnswer<{ data: Summary[] }>("/v1/admin/dashboards");
  const firing = useAnswer<{ data: Firing[] }>("/v1/admin/alerts");
  const names = listed.data?.data ?? [{ id, title: id, description: "" }];
  return (
    <>
      <p class="firing">
        {firing.error || (
          <a href={to("alerts")} onClick={follow}>
            {firing.data ? c(firing.data.data.length ? "alertsFire" : "noAlertFires", { count: firing.data.data.length }) : c("alerts")}
          </a>
        )}
      </p>
      {listed.error && <Failure error={listed.error} reload={listed.reload} />}
      <Shown key={id} id={id} names={names} again={firing.reload} />
    </>
  );
}

function choose(name: string, value: string): void {
  const { query } = address.value;
  // The filters of a dashboard mean nothing on another one.
  const kept = [...query].filter(([each]) => name !== "dashboard" || !each.startsWith("filter"));
  go(to("dashboards", { ...Object.fromEntries(kept), [name]: value }));
}

function Shown({ id, names, again }: { id: string; names: Summary[]; again: () => void }): VNode {
  const { query } = address.value;
  const range = query.get("range") || DEFAULT_RANGE;
  const refresh = query.get("refresh") || DEFAULT_REFRESH;
  const filters = Object.fromEntries([...query].filter(([name]) => name.startsWith("filter[")));
  const path = withQuery(`/v1/admin/dashboards/${encodeURIComponent(id)}`, { range, ...filters });
  const { data, error, busy, reload } = useAnswer<Dashboard>(path);
  const now = () => {
    reload();
    again();
  };
  useRefresh(Number(refresh), busy, now);
  useEffect(() => {
    if (data) document.title = `${data.title} - Headrace`;
  }, [data]);
  const label = (name: string) => c(name === "0" ? "off" : name === "300" ? "fiveMinutes" : "everySeconds", { seconds: name });
  return (
    <>
      <form class="filters" aria-label={c("shownData")} onSubmit={(event) => event.preventDefault()}>
        <Choice label={c("dashboard")} value={id} choices={names.map((each) => [each.id, each.title])} set={(value) => choose("dashboard", value)} />
        <Choice label={c("range")} value={range} choices={RANGES.map((each) => [each, each])} set={(value) => choose("range", value)} />
        {data?.filters.map(({ name, title, value, values }) => {
          const chosen = query.get(`filter[${name}]`) ?? value ?? "";
          const all = [...new Set([...values, ...(chosen ? [chosen] : [])])];
          const choices = [["", c("any")], ...all.map((each) => [each, each])] as [string, string][];
          return <Choice key={name} label={title} value={chosen} choices={choices} set={(picked) => choose(`filter[${name}]`, picked)} />;
        })}
        <Choice label={c("refresh")} value={refresh} choices={REFRESH.map((each) => [each, label(each)])} set={(value) => choose("refresh", value)} />
        <button type="button" onClick={now}>{c("refreshNow")}</button>
      </form>
      {error && <Failure error={error} reload={reload} />}
      {error && Object.keys(filters).length > 0 && (
        <button type="button" onClick={() => go(to("dashboards", { dashboard: id, range, refresh }))}>{c("clear")}</button>
      )}
      {!data && busy && <p role="status">{c("loading")}</p>}
      {data && (
        <div aria-busy={busy} class="dashboard">
          <p class="about" lang="en" dir="auto">{data.description}</p>
          {data.rollouts.length > 0 && <Rollouts dashboard={data} />}
          {data.rows.map(({ title, panels }) => (
            <section key={title}>
              <h2 lang="en" dir="auto">{title}</h2>
              <div class="metrics">
                {panels.map((panel) => <PanelView key={panel.id} panel={panel} dashboard={data} />)}
              </div>
            </section>
          ))}
          <AlertLinks names={data.alerts} />
        </div>
      )}
    </>
  );
}

/** The times that a dashed line marks in each chart. */
function Rollouts({ dashboard: { rollouts, start, step, rows } }: { dashboard: Dashboard }): VNode {
  const count = rows.flatMap(({ panels }) => panels).find(({ series }) => series.length)?.series[0]?.values.length ?? 0;
  const part = (name: string) => c(name === "code" ? "partCode" : "partConfiguration");
  return (
    <p class="hint rollouts">
      {c("rolledOut")}{" "}
      {rollouts.map(({ at, parts }, place) => (
        <span key={at}>{place > 0 && ", "}<bdi>{moment(at, (count - 1) * step || at - start)}</bdi> ({parts.map(part).join(", ")})</span>
      ))}
    </p>
  );
}

interface ChoiceShown {
  label: string;
  value: string;
  choices: [string, string][];
  set: (value: string) => void;
}

function Choice({ label, value, choices, set }: ChoiceShown): VNode {
  const id = useId();
  return (
    <div class="field-of">
      <label for={id}>{label}</label>
      <select id={id} value={value} onChange={(event) => set(event.currentTarget.value)}>
        {choices.map(([name, text]) => <option key={name} value={name}>{text}</option>)}
      </select>
    </div>
  );
}
