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

export function table(head, rows, caption) {
  const cells = (row) => row.map((cell, at) => element(at ? "td" : "th", at ? {} : { scope: "row" }, cell));
  return element("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": caption },
    element("table", {}, element("caption", {}, caption),
      element("thead", {}, element("tr", {}, ...head.map((cell) => element("th", { scope: "col" }, cell)))),
      element("tbody", {}, ...rows.map((row) => element("tr", {}, ...cells(row))))));
}
