// Lines over time, drawn as SVG. The numbers are in a table too, and the arrow keys move through time.

import type { VNode } from "preact";
import { useMemo, useState } from "preact/hooks";
import { c } from "../../i18n/console";
import { known, latest, type Line, type Panel } from "./data";
import { extent, measured, moment, ticks, times } from "./units";

/** Units of the drawing, which is stretched to its place. */
const WIDTH = 1000;
const HEIGHT = 180;
const SPARK = 40;
const COLOURS = 10;
const MOST_MARKS = 5;

interface Grid {
  start: number;
  step: number;
}

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

type Place = (value: number) => number;

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

const round = (value: number) => Math.round(value * 10) / 10;
const across = (count: number): Place => (at) => (count > 1 ? (at / (count - 1)) * WIDTH : WIDTH / 2);
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
  const [moved, setMoved] = useState("");
  const count = series[0]?.values.length ?? 0;
  const range = (count - 1) * grid.step;
  const { lines, ends } = useMemo(() => {
    const off = new Set(series.flatMap(({ name }, place) => (hidden.has(name) ? [place] : [])));
    const found = drawn(series, stacked, off);
    return { lines: found, ends: extent(unit, found.flatMap(known)) };
  }, [series, hidden]);
  const [x, y] = [across(count), up(ends, HEIGHT)];
  const time = (place: number) => grid.start + place * grid.step;
  const beside = (place: number) => `${(x(place) / WIDTH) * 100}%`;
  const show = (place: number) => {
    const kept = Math.max(0, Math.min(count - 1, place));
    setAt(kept);
    return kept;
  };
  const move = (event: KeyboardEvent) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const place = show(at === null ? (by < 0 ? count - 1 : 0) : at + by);
    const values = series.map((one) => `${one.name} ${measured(unit, one.values[place])}`);
    setMoved(`${moment(time(place), range)}: ${values.join(", ")}`);
  };
  return (
    <>
      <div
        class="plot"
        dir="ltr"
        tabIndex={0}
        role="img"
        aria-label={c("chartOf", { title })}
        onKeyDown={move}
        onBlur={() => setAt(null)}
        onPointerLeave={() => setAt(null)}
        onPointerMove={(event) => {
          const { left, width } = event.currentTarget.getBoundingClientRect();
          if (width) show(Math.round(((event.clientX - left) / width) * (count - 1)));
        }}
      >
        <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
          {ticks(unit, ends, MOST_MARKS).map((value) => <path key={value} class="grid" d={`M0 ${round(y(value))}H${WIDTH}`} />)}
          {panel.steps.filter(({ value }) => value >= ends[0] && value <= ends[1]).map(({ value, colour }) => (
            <path key={value} class={`limit ${colour}`} d={`M0 ${round(y(value))}H${WIDTH}`} />
          ))}
          {lines.map((values, place) => (
            <g key={place} class={line(place)}>
              {stacked && <path class="area" d={area(values, x, y, y(Math.max(0, ends[0])))} />}
              <path d={path(values, x, y)} />
            </g>
          ))}
          {at !== null && <path class="cursor" d={`M${round(x(at))} 0V${HEIGHT}`} />}
        </svg>
        {ticks(unit, ends, MOST_MARKS).map((value) => (
          <span key={value} class="value-mark" style={{ top: `${(y(value) / HEIGHT) * 100}%` }}>{measured(unit, value)}</span>
        ))}
        {times(grid.start, grid.start + range, MOST_MARKS).map((each) => (
          <span key={each} class="time-mark" style={{ left: beside((each - grid.start) / grid.step) }}>{moment(each, range)}</span>
        ))}
      </div>
      <p class="spoken" role="log">{moved}</p>
      <p class="hint at">{at === null ? "" : moment(time(at), range)}</p>
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
            <b>{measured(unit, at === null ? latest(values) : values[at])}</b>
          </button>
        ))}
      </div>
      <details>
        <summary>{c("values")}</summary>
        <Values panel={panel} />
      </details>
    </>
  );
}

function toggled(names: ReadonlySet<string>, name: string): ReadonlySet<string> {
  const next = new Set(names);
  if (!next.delete(name)) next.add(name);
  return next;
}

function Values({ panel: { series, unit, title } }: { panel: Panel }): VNode {
  const columns = ["series", "latest", "least", "most"] as const;
  return (
    <div class="rows" role="region" tabIndex={0} aria-label={c("valuesOf", { title })}>
      <table>
        <thead>
          <tr>{columns.map((label) => <th key={label} scope="col">{c(label)}</th>)}</tr>
        </thead>
        <tbody>
          {series.map(({ name, values }, place) => {
            const numbers = known(values);
            return (
              <tr key={place}>
                <td data-label={c("series")}><bdi>{name}</bdi></td>
                <td data-label={c("latest")}>{measured(unit, latest(values))}</td>
                <td data-label={c("least")}>{measured(unit, Math.min(...numbers))}</td>
                <td data-label={c("most")}>{measured(unit, Math.max(...numbers))}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
