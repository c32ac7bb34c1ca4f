// Icons of 20 units, drawn as lines in the colour of the text.

import type { VNode } from "preact";

const PATHS = {
  menu: "M3 5.5h14M3 10h14M3 14.5h14",
  plus: "M10 4v12M4 10h12",
  send: "M10 16V4M5 9l5-5 5 5",
  stop: "M6 6h8v8H6z",
  copy: "M7 7h9v9H7zM13 7V4H4v9h3",
  check: "M4 10.5l4 4 8-9",
  up: "M6 9v8M6 9l3.5-6c1.2 0 2 .9 1.8 2L11 8h4.2c1 0 1.7.9 1.5 1.9l-1 5.4c-.2 1-1 1.7-2 1.7H6M6 9H3v8h3",
  down: "M6 11V3M6 11l3.5 6c1.2 0 2-.9 1.8-2L11 12h4.2c1 0 1.7-.9 1.5-1.9l-1-5.4c-.2-1-1-1.7-2-1.7H6M6 11H3V3h3",
  close: "M5 5l10 10M15 5L5 15",
  settings: "M3 6h7M14 6h3M3 14h3M10 14h7M12 4v4M8 12v4",
  more: "M4.5 10h.01M10 10h.01M15.5 10h.01",
  pin: "M7 3h6l-1 6 2.5 3h-9L8 9zM10 12v5",
  again: "M16 10a6 6 0 1 1-2-4.5L16 7M16 3v4h-4",
  arrow: "M10 4v12M5 11l5 5 5-5",
  edit: "M4 16l1-4 8-8 3 3-8 8zM12 5l3 3",
  attach: "M15 9l-6 6a3 3 0 0 1-4-4l7-7a2 2 0 0 1 3 3l-7 7a1 1 0 0 1-1.5-1.5L12 7",
  back: "M12 4l-6 6 6 6",
  forth: "M8 4l6 6-6 6",
  prompts: "M4 4h12v12H4zM12 7l-4 6",
  file: "M5 3h6l4 4v10H5zM11 3v4h4",
};

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }): VNode {
  return (
    <svg viewBox="0 0 20 20" aria-hidden="true" class={`icon-${name}`}>
      <path d={PATHS[name]} />
    </svg>
  );
}
