// A panel of a dashboard: a chart, numbers, a table or a heatmap, with the alerts that watch the same series.

import type { VNode } from "preact";
import { c } from "../../i18n/console";
import { follow, to } from "../address";
import { Chart, Spark } from "./chart";
import { type Dashboard, latest, level, type Panel } from "./data";
import { Heatmap } from "./heatmap";
import { measured } from "./units";

export function PanelView({ panel, dashboard }: { panel: Panel; dashboard: Dashboard }): VNode {
  const { id, title, width } = panel;
  return (
    <section class={`metric span-${width}`} aria-labelledby={`panel-${id}`}>
      <h3 id={`panel-${id}`} lang="en" dir="auto">{title}</h3>
      <p class="hint" lang="en" dir="auto"><Described text={panel.description} /></p>
      <Content panel={panel} dashboard={dashboard} />
      <AlertLinks names={panel.alerts} />
    </section>
  );
}

/** Text whose only markup is Markdown's backtick. */
function Described({ text }: { text: string }): VNode {
  return <>{text.split("`").map((part, at) => (at % 2 ? <code key={at}>{part}</code> : part))}</>;
}

function Content({ panel, dashboard }: { panel: Panel; dashboard: Dashboard }): VNode {
  if (panel.error !== null) return <p class="error" lang="en" dir="auto">{panel.error}</p>;
  if (!(panel.kind === "table" ? panel.rows : panel.series).length) return <p class="empty">{c("noSeries")}</p>;
  if (panel.kind === "heatmap") return <Heatmap panel={panel} grid={dashboard} />;
  if (panel.kind === "timeseries") return <Chart panel={panel} grid={dashboard} />;
  return panel.kind === "stat" ? <Numbers panel={panel} /> : <Table panel={panel} />;
}

function Numbers({ panel }: { panel: Panel }): VNode {
  return (
    <>
      {panel.series.map(({ name, values }, place) => {
        const value = latest(values);
        const colour = level(panel, value);
        return (
          <p key={place} class={`stat ${colour}`}>
            <b dir="ltr">{measured(panel.unit, value)}</b> <bdi>{name}</bdi> <span class="spoken">({c(colour)})</span>
          </p>
        );
      })}
      <Spark panel={panel} />
    </>
  );
}

/** The value stands beside what it belongs to: further labels may lie outside of what is seen. */
function Table({ panel: { columns, rows, unit, title } }: { panel: Panel }): VNode {
  const labels = [columns[0] ?? c("value"), ...(columns.length ? [c("value")] : []), ...columns.slice(1)];
  return (
    <div class="rows" role="region" tabIndex={0} aria-label={c("valuesOf", { title })}>
      <table>
        <thead>
          <tr>{labels.map((label) => <th key={label} scope="col">{label}</th>)}</tr>
        </thead>
        <tbody>
          {rows.map((row, place) => {
            const value = measured(unit, row.at(-1) as number | null);
            const cells = columns.length ? [row[0], value, ...row.slice(1, -1)] : [value];
            return (
              <tr key={place}>
                {cells.map((cell, at) => <td key={at} data-label={labels[at]}><bdi dir={at === 1 ? "ltr" : "auto"}>{cell || "–"}</bdi></td>)}
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

/** Links to the runbooks of alerts. */
export function AlertLinks({ names }: { names: string[] }): VNode | null {
  if (!names.length) return null;
  return (
    <details>
      <summary>{c("runbooksOf", { count: names.length })}</summary>
      <ul class="plain">
        {names.map((name) => (
          <li key={name}><a href={to("alerts", { alert: name })} onClick={follow}><bdi>{name}</bdi></a></li>
        ))}
      </ul>
    </details>
  );
}
