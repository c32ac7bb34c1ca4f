// Lines over time, drawn as SVG.

import type { VNode } from "preact";
import { useMemo, useState } from "preact/hooks";
import { known, latest, type Line, type Panel } from "./data";
import { across, type Grid, HEIGHT, MOST_MARKS, type Place, Plot, round, Values, WIDTH } from "./plot";
import { extent, measured, ticks } from "./units";

const SPARK = 40;
const COLOURS = 10;
/** Returns the values as they are drawn: stacked panels sum the series that are not hidden. */
export function drawn(series: Line[], stacked: boolean, hidden: ReadonlySet<number>): (number | null)[][] {
  const sums: number[] = [];
  const seen: boolean[] = [];
  return series.map(({ values }, at) => {
    if (!stacked) return hidden.has(at) ? [] : values;
    if (hidden.has(at)) return [];
    return values.map((value, i) => {
      sums[i] = (sums[i] ?? 0) + (value ?? 0);
      seen[i] ||= value !== null;
      return seen[i] ? sums[i] : null;
    });
  });
}

/** Returns the path of a line, with a dot for a point without neighbours. */
export function path(values: (number | null)[], x: Place, y: Place): string {
  let text = "";
  values.forEach((value, at) => {
    if (value === null) return;
    const begins = at === 0 || values[at - 1] === null;
    text += `${begins ? "M" : "L"}${round(x(at))} ${round(y(value))}`;
    const ends = at === values.length - 1 || values[at + 1] === null;
    if (begins && ends) text += "h.01";
  });
  return text;
}

/** Returns the path of the area below a line. */
function area(values: (number | null)[], x: Place, y: Place, floor: number): string {
  let text = "";
  let first = 0;
  values.forEach((value, at) => {
    if (value === null) return;
    const begins = at === 0 || values[at - 1] === null;
    if (begins) {
      first = at;
      text += `M${round(x(at))} ${floor}`;
    }
    text += `L${round(x(at))} ${round(y(value))}`;
    if (at === values.length - 1 || values[at + 1] === null) text += `V${floor}H${round(x(first))}Z`;
  });
  return text;
}

const up = ([low, high]: [number, number], height: number): Place => (value) => height - ((value - low) / (high - low)) * height;
const line = (at: number) => `line line-${at % COLOURS}${at >= COLOURS ? " dashed" : ""}`;

/** A small chart without axes, under a number. */
export function Spark({ panel }: { panel: Panel }): VNode | null {
  const values = panel.series.flatMap((one) => known(one.values));
  if (!values.length) return null;
  const y = up(extent(panel.unit, values), SPARK);
  return (
    <svg class="spark" viewBox={`0 0 ${WIDTH} ${SPARK}`} preserveAspectRatio="none" aria-hidden="true">
      {panel.series.map((one, at) => {
        const x = across(one.values.length);
        return (
          <g key={at} class={line(at)}>
            <path class="area" d={area(one.values, x, y, SPARK)} />
            <path d={path(one.values, x, y)} />
          </g>
        );
      })}
    </svg>
  );
}

export function Chart({ panel, grid }: { panel: Panel; grid: Grid }): VNode {
  const { series, unit, stacked, title } = panel;
  const [hidden, setHidden] = useState<ReadonlySet<string>>(new Set());
  const [at, setAt] = useState<number | null>(null);
  const count = series[0]?.values.length ?? 0;
  const { lines, ends } = useMemo(() => {
    const off = new Set(series.flatMap(({ name }, place) => (hidden.has(name) ? [place] : [])));
    const found = drawn(series, stacked, off);
    return { lines: found, ends: extent(unit, found.flatMap(known)) };
  }, [series, hidden]);
  const [x, y] = [across(count), up(ends, HEIGHT)];
  const marks = ticks(unit, ends, MOST_MARKS);
  return (
    <>
      <Plot
        title={title}
        grid={grid}
        count={count}
        at={at}
        setAt={setAt}
        said={(place) => series.map((one) => `${one.name} ${measured(unit, one.values[place])}`).join(", ")}
        marks={marks.map((value) => ({ y: y(value), text: measured(unit, value) }))}
      >
        {marks.map((value) => <path key={value} class="grid" d={`M0 ${round(y(value))}H${WIDTH}`} />)}
        {panel.steps.filter(({ value }) => value >= ends[0] && value <= ends[1]).map(({ value, colour }) => (
          <path key={value} class={`limit ${colour}`} d={`M0 ${round(y(value))}H${WIDTH}`} />
        ))}
        {lines.map((values, place) => (
          <g key={place} class={line(place)}>
            {stacked && <path class="area" d={area(values, x, y, y(Math.max(0, ends[0])))} />}
            <path d={path(values, x, y)} />
          </g>
        ))}
      </Plot>
      <div class="legend">
        {series.map(({ name, values }, place) => (
          <button
            key={place}
            type="button"
            class="small"
            aria-pressed={!hidden.has(name)}
            onClick={() => setHidden(toggled(hidden, name))}
          >
            <span class={`key ${line(place)}`} />
            <bdi>{name}</bdi>
            <b dir="ltr">{measured(unit, at === null ? latest(values) : values[at])}</b>
          </button>
        ))}
      </div>
      <Values series={series} unit={unit} title={title} />
    </>
  );
}

function toggled(names: ReadonlySet<string>, name: string): ReadonlySet<string> {
  const next = new Set(names);
  if (!next.delete(name)) next.add(name);
  return next;
}
