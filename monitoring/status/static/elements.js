// Pieces of a panel that are no chart.

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export const known = (values) => values.filter((value) => value !== null);
export const latest = (values) => values.findLast((value) => value !== null) ?? null;

export function level(section, value) {
  let colour = section.dataset.base;
  for (const step of JSON.parse(section.dataset.steps)) if (value !== null && value >= step.value) colour = step.colour;
  return colour;
}

/** Writes a table into a place. What scrolls it stays, and with it the focus and how far its reader has scrolled. */
export function tabulate(place, head, rows, caption) {
  const cells = (row) => row.map((cell, at) => element(at ? "td" : "th", at ? {} : { scope: "row" }, cell));
  const table = element("table", {}, element("caption", {}, caption),
    element("thead", {}, element("tr", {}, ...head.map((cell) => element("th", { scope: "col" }, cell)))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...cells(row)))));
  const scroll = place.querySelector(":scope > .scroll");
  if (scroll) scroll.replaceChildren(table);
  else place.append(element("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": caption }, table));
}
