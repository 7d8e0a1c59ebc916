// Moving through the table by keys: j and k, Enter opens.

import { bind } from "./keys.js";

const rows = [...document.querySelectorAll("#labels tbody tr")];
let current = -1;

function choose(place) {
  if (!rows.length) return;
  current = Math.min(Math.max(place, 0), rows.length - 1);
  rows[current].querySelector("a").focus({ preventScroll: true });
  rows[current].scrollIntoView({ block: "nearest" });
}

function mark(place) {
  current = place;
  for (const [index, row] of rows.entries()) {
    if (index === place) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  }
}

bind("j", "next row", () => choose(current + 1));
bind("k", "previous row", () => choose(current - 1));
bind("g", "first row", () => choose(0));
bind("G", "last row", () => choose(rows.length - 1));
bind("Enter", "open the feature", (event) => {
  const link = event.target.closest?.("a, button") ?? rows[current]?.querySelector("a");
  link?.click();
});

for (const [index, row] of rows.entries()) row.addEventListener("focusin", () => mark(index));
