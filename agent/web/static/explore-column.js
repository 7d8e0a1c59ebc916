// One of the explore page's two settings: its form, what it asks for, and what comes of it, the tree level by level.

import { Form } from "./explore-form.js";
import { badge, bars } from "./explore-lists.js";
import { say } from "./keys.js";
import { TreeView } from "./tree.js";
import { percent } from "./tree-words.js";

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

export class Column {
  // `page` has the feature, takes what both sides share, and is told of every move of a control.
  constructor(side, page) {
    this.side = side;
    this.page = page;
    const form = document.querySelector(`form[data-side="${side}"]`);
    this.root = document.querySelector(`.shown[data-side="${side}"]`);
    this.form = new Form(form, (control) => page.changed(control));
    this.tree = new TreeView(this.root.querySelector("figure.tree"));
    this.state = this.root.querySelector(".state");
    this.kept = this.root.querySelector(".kept");
    this.button = this.root.querySelector(".keep");
    this.asked = null; // what is shown, or on its way
    this.button.addEventListener("click", () => this.#keep());
    form.querySelector(".reset").addEventListener("click", () => {
      this.form.load({});
      page.changed(null);
    });
    for (const file of this.root.querySelectorAll(".file")) file.addEventListener("click", () => this.#name(file));
  }

  get shown() {
    return !this.root.hidden;
  }

  query() {
    return new URLSearchParams({ feature: this.page.feature, ...this.form.query() }).toString();
  }

  // Asks for what the controls say, unless that is what is shown; a newer question ends an older one.
  async refresh() {
    const query = this.query();
    if (!this.shown || query === this.asked) return;
    this.asked = query;
    this.request?.abort();
    const request = (this.request = new AbortController());
    this.root.setAttribute("aria-busy", "true");
    this.kept.textContent = "";
    try {
      await this.#show(await fetch(`/explore/evidence?${query}`, { signal: request.signal }));
    } catch (error) {
      if (request.signal.aborted) return;
      this.asked = null;
      this.state.textContent = `The server did not answer as expected (${error.message}); is interpret serve still running?`;
    }
    if (this.request === request) this.root.removeAttribute("aria-busy");
  }

  async #show(response) {
    const began = performance.now();
    const faults = response.status === 422 ? (await response.json()).errors : {};
    this.form.tell(faults);
    this.page.tell(faults.feature);
    if (Object.keys(faults).length) {
      this.state.textContent = "Not redrawn: a setting is not valid.";
    } else if (!response.ok) {
      throw new Error(`it answered ${response.status}`);
    } else {
      this.root.querySelector(".swept").hidden = true;
      for await (const piece of pieces(response)) this.#add(piece, performance.now() - began);
    }
  }

  #add(piece, tookMs) {
    if (piece.error) this.state.textContent = piece.error;
    if (piece.swept) this.#fill(".swept", bars(piece.swept, "Settings that were tried"));
    if (piece.tokens) this.#fill(".tokens", bars(piece.tokens, piece.caption, piece.badge));
    if (piece.raised) this.page.write(piece);
    if (piece.tree) this.#grow(piece, tookMs);
  }

  #grow({ tree, depth, last }, tookMs) {
    this.root.querySelector(".caption").replaceChildren(`${tree.prompt} … ${tree.settings} `, ...badge(tree.badge));
    this.tree.show(tree);
    const nodes = `${tree.n_nodes.toLocaleString("en")} nodes of at least ${percent(tree.cutoff)}`;
    this.state.textContent = last ? `${nodes}, in ${(tookMs / 1000).toFixed(2)} s` : `${nodes}, ${depth} deep, growing on …`;
  }

  #fill(place, ...tables) {
    const card = this.root.querySelector(place);
    card.replaceChildren(...tables);
    card.hidden = false;
  }

  // A file has what is drawn, so its address is known only when it is asked for.
  #name(file) {
    const least = this.tree.picture?.least ?? 0;
    file.href = `/explore/tree.${file.dataset.form}?${this.query()}&least=${least}`;
    file.download = `feature-${this.page.feature}-${this.side}.${file.dataset.form}`;
  }

  async #keep() {
    this.button.disabled = true;
    this.kept.textContent = "Keeping …";
    const response = await fetch(`/explore/keep?${this.query()}`, { method: "POST" }).catch(() => null);
    this.button.disabled = false;
    const told = response ? await response.text() : "The server did not answer; nothing was kept.";
    const kept = response?.headers.get("content-type")?.startsWith("application/json") ? JSON.parse(told) : { error: told };
    if (!response?.ok) {
      this.kept.textContent = kept.error ?? Object.values(kept.errors).join(" ");
      return;
    }
    const link = document.createElement("a");
    link.href = `/runs/${kept.run_id}/features/${kept.feature}`;
    link.textContent = `run ${kept.run_id}, round ${kept.round}`;
    this.kept.replaceChildren(kept.is_new ? "Kept: " : "In the log already: ", link);
    say(this.kept.textContent);
  }
}
