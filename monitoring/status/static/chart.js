// Charts over time, drawn by uPlot, which an earlier script has made known as `uPlot`.

import { element, known, latest, tabulate } from "./elements.js";
import { INCREMENTS, moment, said } from "./units.js";

const COLOURS = ["#3b82f6", "#16a34a", "#db2777", "#ca8a04", "#9333ea", "#0891b2", "#dc2626", "#65a30d", "#64748b", "#c2570c"];
const LEVELS = { green: "#16a34a", yellow: "#ca8a04", orange: "#ea6a0a", red: "#dc2626" };
const FONT = "12px system-ui, sans-serif";
const PLOT_HEIGHT = 180;
const SPARK_HEIGHT = 40;
const LONG_S = 90_000; // beyond which a time without its date says little
const FROM_ZERO = (unit) => !["celsius", "watts"].includes(unit);

const drawn = new Map();

/** Takes a panel's chart away. */
export function end(section) {
  drawn.get(section)?.end();
}

/** A small chart without axes, under a number. */
export function spark(section, answer, place) {
  const made = new uPlot(options(section, answer, place.clientWidth || 200, { spark: true }), columns(answer, false, new Set()), place);
  drawn.set(section, { names: "", end: () => { made.destroy(); drawn.delete(section); } });
}

/** What uPlot draws: the values, or their sums from the first series on where panels are stacked. */
function columns({ times, series }, stacked, hidden) {
  if (!stacked) return [times, ...series.map((one) => one.values)];
  const sums = times.map(() => 0);
  const any = times.map((_, at) => series.some((one, i) => !hidden.has(i) && one.values[at] !== null));
  return [times, ...series.map((one, i) => times.map((_, at) => {
    if (!hidden.has(i)) sums[at] += one.values[at] ?? 0;
    return any[at] ? sums[at] : null;
  }))];
}

function thresholds(section) {
  const steps = JSON.parse(section.dataset.steps);
  return (plot) => {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.setLineDash([6, 6]);
    for (const step of steps) {
      const y = plot.valToPos(step.value, "y", true);
      if (y < bbox.top || y > bbox.top + bbox.height) continue;
      ctx.strokeStyle = LEVELS[step.colour];
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
    }
    ctx.restore();
  };
}

/** Whether what a chart shows now is long: its range may have changed since it was made. */
const long = ({ scales: { x } }) => x.max - x.min > LONG_S;

/** Pixels beside the chart that its labels take. */
function room(plot, labels) {
  if (!labels) return 50;
  plot.ctx.save();
  plot.ctx.font = FONT;
  const widest = Math.max(...labels.map((label) => plot.ctx.measureText(label).width));
  plot.ctx.restore();
  return Math.ceil(widest) + 20;
}

function options(section, answer, width, { spark, stacked, onCursor }) {
  const { unit } = section.dataset;
  const css = getComputedStyle(document.documentElement);
  const [ink, line] = [css.getPropertyValue("--quiet").trim(), css.getPropertyValue("--line").trim()];
  const axis = { stroke: ink, font: FONT, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
  return {
    width,
    height: spark ? SPARK_HEIGHT : PLOT_HEIGHT,
    legend: { show: false },
    cursor: { show: !spark, drag: { x: false, y: false }, sync: { key: "page" }, ...(stacked && { points: { show: false } }) },
    scales: {
      x: { time: true, range: (_, from, to) => [from, to] },
      y: {
        range: (_, low, high) => {
          if (low === null || high === null) return [0, 1];
          if (low === 0 && high === 0) return [spark ? -0.1 : 0, 1];
          const from = FROM_ZERO(unit) ? Math.min(0, low) : low;
          const margin = (high - from || Math.abs(high) || 1) * 0.08;
          return [spark || from < 0 || !FROM_ZERO(unit) ? from - margin : from, high + margin];
        },
      },
    },
    axes: spark ? [{ show: false }, { show: false }] : [
      { ...axis, size: 34, space: (plot) => (long(plot) ? 90 : 55),
        values: (plot, splits) => splits.map((time) => moment(time, long(plot))) },
      { ...axis, size: room, incrs: INCREMENTS[unit], values: (_, splits) => splits.map((value) => said(unit, value)) },
    ],
    series: [{}, ...answer.series.map((one, at) => ({
      label: one.name,
      stroke: COLOURS[at % COLOURS.length],
      width: 1.5,
      dash: at >= COLOURS.length ? [6, 3] : undefined,
      fill: stacked || spark ? `${COLOURS[at % COLOURS.length]}40` : undefined,
      points: { show: known(one.values).length < 2 },
    }))],
    bands: stacked ? answer.series.slice(1).map((_, at) => ({ series: [at + 2, at + 1] })) : undefined,
    hooks: { draw: spark ? [] : [thresholds(section)], setCursor: onCursor ? [onCursor] : [] },
  };
}

export function chart(section, answer) {
  const place = section.querySelector(".drawn");
  const { unit, panel: title } = section.dataset;
  const stacked = section.dataset.stacked === "true";
  const before = drawn.get(section);
  const names = JSON.stringify(answer.series.map((one) => one.name));
  if (before?.names === names) {
    before.show(answer);
    return;
  }
  before?.end();
  const hidden = new Set();
  let shown = answer;
  const plot = element("div", { class: "plot", tabindex: "0", role: "img",
    "aria-label": `${title}: chart. The arrow keys move through time; the values are in the table below.` });
  const moved = element("p", { class: "spoken", role: "status" });
  const buttons = answer.series.map((one, at) => {
    const mark = element("span", { class: "mark" });
    mark.style.background = COLOURS[at % COLOURS.length];
    const made = element("button", { type: "button", "aria-pressed": "true" }, mark, `${one.name} `, element("span", { class: "value" }));
    made.addEventListener("click", () => {
      const on = made.getAttribute("aria-pressed") === "true";
      made.setAttribute("aria-pressed", String(!on));
      hidden[on ? "add" : "delete"](at);
      drawing.setSeries(at + 1, { show: !on });
      if (stacked) drawing.setData(columns(shown, stacked, hidden));
    });
    return made;
  });
  const values = element("details", { class: "values" }, element("summary", {}, "Values"));
  place.replaceChildren(plot, moved, element("div", { class: "legend" }, ...buttons), values);

  const label = (at) => buttons.forEach((button, i) => {
    const one = shown.series[i].values;
    button.querySelector(".value").textContent = said(unit, at === null ? latest(one) : one[at]);
  });
  const onCursor = (self) => label(self.cursor.idx ?? null);
  const drawing = new uPlot(options(section, answer, plot.clientWidth, { stacked, onCursor }), columns(answer, stacked, hidden), plot);
  const sized = new ResizeObserver(() => {
    if (plot.clientWidth > 0 && plot.clientWidth !== drawing.width) drawing.setSize({ width: plot.clientWidth, height: PLOT_HEIGHT });
  });
  sized.observe(plot);
  plot.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const last = shown.times.length - 1;
    const at = Math.max(0, Math.min(last, (drawing.cursor.idx ?? last + (by < 0 ? 1 : 0)) + by));
    drawing.setCursor({ left: drawing.valToPos(shown.times[at], "x"), top: 0 });
    moved.textContent = `${moment(shown.times[at], true)}: ${shown.series.map((one) => `${one.name} ${said(unit, one.values[at])}`).join(", ")}`;
  });
  const show = (next) => {
    shown = next;
    drawing.setData(columns(next, stacked, hidden));
    label(null);
    const rows = next.series.map((one) => [one.name, said(unit, latest(one.values)),
      said(unit, Math.min(...known(one.values))), said(unit, Math.max(...known(one.values)))]);
    tabulate(values, ["Series", "Latest", "Least", "Most"], rows, `${title}: values`);
  };
  drawn.set(section, { names, show, end: () => { sized.disconnect(); drawing.destroy(); drawn.delete(section); } });
  show(answer);
}
