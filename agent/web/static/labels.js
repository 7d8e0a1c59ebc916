// The table of labels: filtered as one types, walked by keys, judged without leaving it.

import { bind, say } from "./keys.js";
import { post, words } from "./review.js";

const PATIENCE_MS = 200; // for the next letter
const SAID = { accept: "accepted", reject: "rejected", flag: "flagged", undo: "as before" };

const form = document.getElementById("filter");
const filters = form.querySelector(".filters");
let current = -1;
let timer = 0;
let request = null;

const rows = () => [...document.querySelectorAll("#labels tbody tr")];

function mark(place) {
  current = place;
  for (const [index, row] of rows().entries()) {
    if (index === place) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  }
}

function choose(place) {
  const all = rows();
  if (!all.length) return;
  mark(Math.min(Math.max(place, 0), all.length - 1));
  all[current].querySelector("a").focus({ preventScroll: true });
  all[current].scrollIntoView({ block: "nearest" });
}

// What the form says as an address, without what says nothing.
function address() {
  const said = [...new FormData(form)].filter(([, value]) => value !== "");
  const limits = said.some(([name]) => /_score$/.test(name)) || /score/.test(form.sort?.value ?? "");
  return `?${new URLSearchParams(said.filter(([name]) => name !== "score" || limits || form.score.selectedIndex > 0))}`;
}

async function refresh() {
  request?.abort();
  request = new AbortController();
  const { signal } = request;
  const found = document.getElementById("found");
  found.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(address(), { signal });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("found");
    if (!fresh) throw new Error(page.querySelector(".fault")?.textContent ?? `The server answered ${answer.status}.`);
    found.replaceWith(fresh);
    history.replaceState(null, "", address());
    current = -1;
  } catch (error) {
    if (signal.aborted) return;
    found.removeAttribute("aria-busy");
    say(words(error));
  }
}

// A verdict on the row that is chosen; accept and reject go on to the next one.
async function judge(verdict) {
  const row = rows()[current];
  if (!row) return say("Choose a row first: j and k.");
  const place = current;
  try {
    const text = await post(row.dataset.review, { verdict }, "row");
    const holder = document.createElement("template");
    holder.innerHTML = `<table><tbody>${text}</tbody></table>`; // our own server's, escaped there
    row.replaceWith(holder.content.querySelector("tr"));
    say(`Feature ${row.querySelector("a").textContent} ${SAID[verdict]}.`);
    choose(verdict === "accept" || verdict === "reject" ? place + 1 : place);
  } catch (error) {
    say(words(error));
  }
}

bind("j", "next row", () => choose(current + 1));
bind("k", "previous row", () => choose(current - 1));
bind("g", "first row", () => choose(0));
bind("G", "last row", () => choose(rows().length - 1));
bind("Enter", "open the feature", (event) => {
  const link = event.target.closest?.("a, button, summary") ?? rows()[current]?.querySelector("a");
  link?.click();
});
if (!form.hasAttribute("data-read-only")) {
  bind("a", "accept the chosen row's label", () => judge("accept"));
  bind("r", "reject it", () => judge("reject"));
  bind("f", "flag it", () => judge("flag"));
  bind("u", "undo your last review of it", () => judge("undo"));
}

document.addEventListener("focusin", ({ target }) => {
  const row = target.closest("#labels tbody tr");
  if (row) mark(rows().indexOf(row));
});
// Whoever comes back by the browser's own button finds the row again.
document.addEventListener("click", ({ target }) => {
  const row = target.closest("#labels tbody a")?.closest("tr");
  if (row) history.replaceState(null, "", `#${row.id}`);
});
form.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(refresh, PATIENCE_MS);
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(timer);
  refresh();
});
form.querySelector("button.main").hidden = true;
if (matchMedia("(max-width: 40rem)").matches && !filters.hasAttribute("data-filtered")) filters.open = false;

const marked = document.querySelector("#labels tr[aria-current]") ?? document.getElementById(location.hash.slice(1));
if (marked?.matches("#labels tr")) {
  choose(rows().indexOf(marked));
  marked.scrollIntoView({ block: "center" });
}
