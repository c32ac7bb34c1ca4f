// A drawing over time. For a keyboard it is a slider over time, and the numbers are in a table too.

import type { ComponentChildren, VNode } from "preact";
import { c } from "../../i18n/console";
import { known, latest, type Line, type Rollout } from "./data";
import { measured, moment, times } from "./units";

/** Units of the drawing, which is stretched to its place. */
export const WIDTH = 1000;
export const HEIGHT = 180;
export const MOST_MARKS = 5;

export interface Grid {
  start: number;
  step: number;
  rollouts: Rollout[];
}

export type Place = (value: number) => number;

export const round = (value: number): number => Math.round(value * 10) / 10;
export const across = (count: number): Place => (at) => (count > 1 ? (at / (count - 1)) * WIDTH : WIDTH / 2);

interface Plotted {
  title: string;
  grid: Grid;
  /** How many points of time there are. */
  count: number;
  /** The chosen point, or null. */
  at: number | null;
  setAt: (at: number | null) => void;
  /** Returns what a reader hears of a point. */
  said: (place: number) => string;
  marks: { y: number; text: string }[];
  children: ComponentChildren;
}

export function Plot({ title, grid, count, at, setAt, said, marks, children }: Plotted): VNode {
  const range = (count - 1) * grid.step;
  const x = across(count);
  const time = (place: number) => grid.start + place * grid.step;
  const beside = (place: number) => `${(x(place) / WIDTH) * 100}%`;
  const show = (place: number) => {
    setAt(Math.max(0, Math.min(count - 1, place)));
  };
  const move = (event: KeyboardEvent) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    show(at === null ? (by < 0 ? count - 1 : 0) : at + by);
  };
  const seen = at ?? count - 1;
  return (
    <>
      <div
        class="plot"
        dir="ltr"
        tabIndex={0}
        role="slider"
        aria-label={c("chartOf", { title })}
        aria-valuemin={0}
        aria-valuemax={count - 1}
        aria-valuenow={seen}
        aria-valuetext={`${moment(time(seen), range)}: ${said(seen)}`}
        onKeyDown={move}
        onBlur={() => setAt(null)}
        onPointerLeave={() => setAt(null)}
        onPointerMove={(event) => {
          const { left, width } = event.currentTarget.getBoundingClientRect();
          if (width) show(Math.round(((event.clientX - left) / width) * (count - 1)));
        }}
      >
        <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
          {children}
          {grid.rollouts.map((each) => <path key={each.at} class="rollout" d={`M${round(x((each.at - grid.start) / grid.step))} 0V${HEIGHT}`} />)}
          {at !== null && <path class="cursor" d={`M${round(x(at))} 0V${HEIGHT}`} />}
        </svg>
        {marks.map(({ y, text }) => (
          <span key={text} class="value-mark" style={{ top: `${(y / HEIGHT) * 100}%` }}>{text}</span>
        ))}
        {times(grid.start, grid.start + range, MOST_MARKS).map((each) => (
          <span key={each} class="time-mark" style={{ left: beside((each - grid.start) / grid.step) }}>{moment(each, range)}</span>
        ))}
      </div>
      <p class="hint at">{at === null ? "" : moment(time(at), range)}</p>
    </>
  );
}

export function Values({ series, unit, title }: { series: Line[]; unit: string; title: string }): VNode {
  const columns = ["series", "latest", "least", "most"] as const;
  return (
    <details>
      <summary>{c("values")}</summary>
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
                  <td data-label={c("latest")}><bdi dir="ltr">{measured(unit, latest(values))}</bdi></td>
                  <td data-label={c("least")}><bdi dir="ltr">{measured(unit, Math.min(...numbers))}</bdi></td>
                  <td data-label={c("most")}><bdi dir="ltr">{measured(unit, Math.max(...numbers))}</bdi></td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </details>
  );
}
