// The explore page: evidence redrawn as controls move, the tree growing as it comes, one or two settings at a time.
// The address holds all settings, so that a view can be shared; every view that was rested on can be gone back to.

import { Column } from "./explore-column.js";
import { bars } from "./explore-lists.js";
import { say } from "./keys.js";

const PATIENCE_MS = 150; // for the next move of a control

const feature = document.getElementById("feature");
const results = document.querySelector(".results");
const panel = document.querySelector(".panel");
const tabs = panel.querySelector(".tabs");
const beside = document.querySelector(".beside");

const page = {
  get feature() {
    return feature.value;
  },
  changed,
  tell(fault = "") {
    const place = document.getElementById("feature-fault");
    place.textContent = fault;
    place.hidden = !fault;
  },
  // The decoder row is the same whatever the settings: it is shown once.
  write({ raised, lowered }) {
    const less = bars(lowered, "Tokens it lowers");
    less.className = "lowered";
    results.querySelector(".writes").replaceChildren(bars(raised, "Tokens the decoder row raises (logits)"), less);
  },
};
const columns = ["a", "b"].map((side) => new Column(side, page));
let timer = 0;
let moving = null; // the control whose moves are one step of the history

function address() {
  const said = new URLSearchParams({ feature: feature.value });
  for (const column of columns.filter((one) => one.shown)) {
    for (const [key, value] of Object.entries(column.form.query())) said.set(column.side === "a" ? key : `b-${key}`, value);
  }
  if (columns[1].shown) said.set("beside", "1");
  return `?${said}`;
}

// Soon asks for what the controls say. A slider that is dragged is one step back, not a hundred.
function changed(control) {
  const goesOn = control !== null && control === moving;
  moving = control;
  if (address() !== location.search) history[goesOn ? "replaceState" : "pushState"](null, "", address());
  clearTimeout(timer);
  timer = setTimeout(refresh, PATIENCE_MS);
}

function refresh() {
  for (const column of columns) column.refresh();
  panel.querySelector(".changes").textContent = Object.entries(shownColumn().form.query()).map((pair) => pair.join(" ")).join(" · ") || "all defaults";
  about();
}

let known = null;

async function about() {
  if (feature.value === known) return;
  const wanted = (known = feature.value);
  const response = await fetch(`/explore/about?feature=${encodeURIComponent(wanted)}`).catch(() => null);
  if (!response?.ok || wanted !== known) return;
  const found = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const id of ["about", "texts"]) document.getElementById(id).replaceWith(found.getElementById(id));
}

function shownColumn() {
  return columns[Number(results.dataset.tab === "b")];
}

function showTab(side) {
  results.dataset.tab = side;
  for (const button of tabs.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.dataset.tab === side));
  for (const form of panel.querySelectorAll("form")) form.hidden = form.dataset.side !== side;
  for (const column of columns) column.tree.draw(); // whose stage may have had no width before
}

function showBeside(both) {
  columns[1].root.hidden = !both;
  tabs.hidden = !both;
  beside.setAttribute("aria-pressed", String(both));
  results.classList.toggle("both", both);
  showTab(both ? "b" : "a");
}

function go(number) {
  feature.value = Math.min(Math.max(number, 0), feature.max);
  changed(null);
}

// Shows what the address says.
function begin() {
  const said = Object.fromEntries(new URLSearchParams(location.search));
  const second = Object.entries(said).filter(([key]) => key.startsWith("b-"));
  feature.value = said.feature ?? "0";
  columns[0].form.load(said);
  columns[1].form.load(Object.fromEntries(second.map(([key, value]) => [key.slice(2), value])));
  if ("beside" in said !== columns[1].shown || !results.dataset.tab) showBeside("beside" in said);
  moving = null;
  refresh();
}

async function copy() {
  try {
    await navigator.clipboard.writeText(location.href);
    say("Copied: a link to this view.");
  } catch {
    say("Copying is blocked here; use the link in the address bar.");
  }
}

feature.addEventListener("input", () => changed(feature));
addEventListener("change", () => (moving = null));
beside.addEventListener("click", () => {
  if (!columns[1].shown) {
    const first = columns[0].form.query();
    columns[1].form.load({ ...first, weights: first.weights === "decoder" ? "encoder" : "decoder" });
  }
  showBeside(!columns[1].shown);
  changed(null);
});
tabs.addEventListener("click", (event) => event.target.dataset.tab && showTab(event.target.dataset.tab));
document.querySelector(".copy").addEventListener("click", copy);
document.querySelector(".random").addEventListener("click", () => go(Math.floor(Math.random() * (Number(feature.max) + 1))));
for (const button of document.querySelectorAll(".step")) {
  button.addEventListener("click", () => go(Number(feature.value) + Number(button.dataset.step)));
}
if (matchMedia("(max-width: 61.99rem)").matches) panel.open = false; // what it changes comes first
addEventListener("popstate", begin);
begin();
