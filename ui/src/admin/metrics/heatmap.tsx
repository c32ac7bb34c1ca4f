// A histogram over time: a column for each point of time, a row for each bucket, and the stronger its colour the more.

import type { VNode } from "preact";
import { useMemo, useState } from "preact/hooks";
import { c } from "../../i18n/console";
import { known, type Line, type Panel } from "./data";
import { type Grid, HEIGHT, MOST_MARKS, Plot, round, Values, WIDTH } from "./plot";
import { measured } from "./units";

const LEVELS = 6;
const RATE = "requests/s";
const TOP = "+Inf";

/** Returns the cells of each level as one path. A level grows with the root of a count, so that few are seen, too. */
export function cells(series: Line[], most: number): string[] {
  const paths = Array<string>(LEVELS).fill("");
  const height = HEIGHT / series.length;
  series.forEach(({ values }, row) => {
    const y = round(HEIGHT - (row + 1) * height);
    // A point of time is in the middle of its column; half of the first and the last column is outside.
    const width = values.length > 1 ? WIDTH / (values.length - 1) : WIDTH;
    values.forEach((value, at) => {
      if (!value || most <= 0) return;
      const level = Math.min(LEVELS, Math.ceil(Math.sqrt(value / most) * LEVELS)) - 1;
      const left = values.length > 1 ? (at - 0.5) * width : 0;
      paths[level] += `M${round(left)} ${y}h${round(width)}v${round(height)}h${-round(width)}z`;
    });
  });
  return paths;
}

/** Returns the name of a bucket between its bounds, of which the last has no upper one. */
function named(series: Line[], row: number, unit: string): string {
  const bound = series[row]?.name;
  if (bound !== TOP) return `≤ ${measured(unit, Number(bound))}`;
  const below = series[row - 1]?.name;
  return below === undefined ? TOP : `> ${measured(unit, Number(below))}`;
}

export function Heatmap({ panel: { series, unit, title }, grid }: { panel: Panel; grid: Grid }): VNode {
  const [at, setAt] = useState<number | null>(null);
  const { paths, most, names } = useMemo(() => {
    const highest = series.flatMap((one) => known(one.values)).reduce((a, b) => Math.max(a, b), 0);
    return { paths: cells(series, highest), most: highest, names: series.map((_, row) => named(series, row, unit)) };
  }, [series]);
  const said = (place: number): string => {
    const found = series.flatMap(({ values }, row) => (values[place] ? [`${names[row]} ${measured(RATE, values[place])}`] : []));
    return found.join(", ") || measured(RATE, 0);
  };
  const every = Math.ceil(series.length / MOST_MARKS);
  const marks = series.flatMap(({ name }, row) => (
    row % every || name === TOP ? [] : [{ y: HEIGHT - ((row + 1) / series.length) * HEIGHT, text: measured(unit, Number(name)) }]
  ));
  return (
    <>
      <Plot title={title} grid={grid} count={series[0]?.values.length ?? 0} at={at} setAt={setAt} said={said} marks={marks}>
        {paths.map((d, level) => <path key={level} class={`heat heat-${level}`} d={d} />)}
      </Plot>
      <p class="hint at">{at === null ? c("strongest", { most: measured(RATE, most) }) : <bdi dir="ltr">{said(at)}</bdi>}</p>
      <Values series={series.map(({ values }, row) => ({ name: names[row] ?? "", values }))} unit={RATE} title={title} />
    </>
  );
}
