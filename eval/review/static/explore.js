// The explore page: evidence redrawn as controls move, the tree growing as it comes, one or two settings at a time.
// The address holds all settings, so that a view can be shared.

import { Form } from "./explore-form.js";
import { bars } from "./explore-lists.js";
import { say } from "./keys.js";
import { percent } from "./tree-draw.js";
import { TreeView } from "./tree.js";

const PATIENCE_MS = 150; // for the next move of a control

const feature = document.getElementById("feature");

// The pieces of a stream of JSON lines, as they come.
async function* pieces(response) {
  const decoder = new TextDecoder();
  let waiting = "";
  for await (const chunk of response.body) {
    waiting += decoder.decode(chunk, { stream: true });
    const lines = waiting.split("\n");
    waiting = lines.pop();
    for (const line of lines) yield JSON.parse(line);
  }
}

class Column {
  constructor(root) {
    this.root = root;
    this.side = root.dataset.side;
    this.form = new Form(root.querySelector("form"), () => changed());
    this.tree = new TreeView(root.querySelector("figure.tree"));
    this.state = root.querySelector(".state");
    this.asked = null; // what is shown, or on its way
    root.querySelector(".keep").addEventListener("click", () => this.#keep());
    root.querySelector(".reset").addEventListener("click", () => {
      this.form.load({});
      changed();
    });
  }

  get shown() {
    return !this.root.hidden;
  }

  #query() {
    return new URLSearchParams({ feature: feature.value, ...this.form.query() }).toString();
  }

  // Asks for what the controls say, unless that is what is shown; a newer question ends an older one.
  async refresh() {
    const query = this.#query();
    if (!this.shown || query === this.asked) return;
    this.asked = query;
    this.request?.abort();
    const request = (this.request = new AbortController());
    this.root.setAttribute("aria-busy", "true");
    try {
      await this.#show(await fetch(`/explore/evidence?${query}`, { signal: request.signal }));
    } catch (error) {
      if (request.signal.aborted) return;
      this.asked = null;
      this.state.textContent = `The server did not answer (${error.message}); is interpret serve still running?`;
    }
    if (this.request === request) this.root.removeAttribute("aria-busy");
  }

  async #show(response) {
    const began = performance.now();
    const faults = response.status === 422 ? (await response.json()).errors : {};
    this.form.tell(faults);
    tellFeature(faults.feature);
    this.root.querySelector(".kept").textContent = "";
    this.root.querySelector(".swept").hidden = true;
    if (Object.keys(faults).length) {
      this.state.textContent = "Not redrawn: a setting cannot be used.";
    } else if (!response.ok) {
      throw new Error(`it answered ${response.status}`);
    } else {
      for await (const piece of pieces(response)) this.#add(piece, performance.now() - began);
    }
  }

  #add(piece, tookMs) {
    if (piece.error) this.state.textContent = piece.error;
    if (piece.swept) this.#fill(".swept", bars(piece.swept, "Settings that were tried"));
    if (piece.tokens) this.#fill(".tokens", bars(piece.tokens, `Nearest tokens: ${piece.caption}`));
    if (piece.raised) this.#fill(".writes", bars(piece.raised, "The decoder row raises, logits"), bars(piece.lowered, "and lowers"));
    if (piece.tree) {
      const { tree } = piece;
      this.root.querySelector(".caption").textContent = `${tree.prompt} … ${tree.settings}${tree.readout ? ` · ${tree.readout}` : ""}`;
      this.tree.show(tree);
      const nodes = `${tree.n_nodes.toLocaleString("en")} nodes of at least ${percent(tree.cutoff)}`;
      this.state.textContent = piece.last ? `${nodes}, in ${(tookMs / 1000).toFixed(2)} s` : `${nodes}, growing on …`;
    }
  }

  #fill(place, ...tables) {
    const card = this.root.querySelector(place);
    card.replaceChildren(...tables);
    card.hidden = false;
  }

  async #keep() {
    const place = this.root.querySelector(".kept");
    const response = await fetch(`/explore/keep?${this.#query()}`, { method: "POST" }).catch(() => null);
    const told = response ? await response.text() : "The server did not answer; nothing was kept.";
    const kept = response?.headers.get("content-type")?.startsWith("application/json") ? JSON.parse(told) : { error: told };
    if (!response?.ok) {
      place.textContent = kept.error ?? Object.values(kept.errors).join(" ");
      return;
    }
    const link = document.createElement("a");
    link.href = `/runs/${kept.run_id}/features/${kept.feature}`;
    link.textContent = `run ${kept.run_id}, round ${kept.round}`;
    place.replaceChildren(kept.is_new ? "Kept: " : "In the log already: ", link);
    say(place.textContent);
  }
}

const columns = [...document.querySelectorAll(".column")].map((root) => new Column(root));
const beside = document.querySelector(".beside");
let timer = 0;

function tellFeature(fault = "") {
  const place = document.getElementById("feature-fault");
  place.textContent = fault;
  place.hidden = !fault;
}

function address() {
  const said = new URLSearchParams({ feature: feature.value });
  for (const column of columns.filter((one) => one.shown)) {
    for (const [key, value] of Object.entries(column.form.query())) said.set(column.side === "a" ? key : `b-${key}`, value);
  }
  if (columns[1].shown) said.set("beside", "1");
  return `?${said}`;
}

function changed() {
  clearTimeout(timer);
  timer = setTimeout(() => {
    history.replaceState(null, "", address());
    for (const column of columns) column.refresh();
  }, PATIENCE_MS);
}

function showBeside(both) {
  columns[1].root.hidden = !both;
  beside.setAttribute("aria-pressed", String(both));
  document.querySelector(".columns").classList.toggle("both", both);
}

function go(number) {
  feature.value = Math.min(Math.max(number, 0), feature.max);
  changed();
}

function begin() {
  const said = Object.fromEntries(new URLSearchParams(location.search));
  const second = Object.entries(said).filter(([key]) => key.startsWith("b-"));
  feature.value = said.feature ?? "0";
  columns[0].form.load(said);
  columns[1].form.load(Object.fromEntries(second.map(([key, value]) => [key.slice(2), value])));
  showBeside("beside" in said);
  changed();
}

feature.addEventListener("input", changed);
beside.addEventListener("click", () => {
  if (!columns[1].shown) columns[1].form.load({ weights: "decoder", ...columns[0].form.query() });
  showBeside(!columns[1].shown);
  changed();
});
document.querySelector(".random").addEventListener("click", () => go(Math.floor(Math.random() * (Number(feature.max) + 1))));
for (const button of document.querySelectorAll(".step")) {
  button.addEventListener("click", () => go(Number(feature.value) + Number(button.dataset.step)));
}
addEventListener("popstate", begin);
begin();
