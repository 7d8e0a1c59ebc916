// A definition tree on a page: drawn to fit, redrawn at once at every move of its slider, walked and folded by mouse and
// keyboard, enlarged. Fills a `figure.tree`; trees come from the figure's own address (`data-src`) or from `show`.

import { draw } from "./tree-draw.js";
import { Frame } from "./tree-frame.js";
import { fitted } from "./tree-layout.js";
import { gainOf, liftOf, probabilityOf } from "./tree-shape.js";
import { walk } from "./tree-walk.js";
import { Ruler, nats, percent } from "./tree-words.js";

const FIRST_DRAWN = 45; // nodes drawn before the slider is moved, unless the figure says so
const MOST_DRAWN = 1500; // of a larger tree the most probable
const STEPS = 1000; // of the slider

function made(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export class TreeView {
  constructor(figure) {
    this.figure = figure;
    this.stage = figure.querySelector(".tree-stage");
    this.outline = figure.querySelector(".tree-outline");
    this.closed = new Set(); // last nodes of the phrases that are folded
    this.focused = 0; // place that the Tab key reaches
    this.least = null; // probability that the reader has set the slider to; null: as much as fits
    this.#build();
  }

  // Shows `tree` in place of what was there; what the reader has trimmed it to is kept.
  show(tree) {
    this.tree = tree;
    this.closed.clear();
    this.focused = 0;
    this.floor = Math.log(Math.min(tree.cutoff, 0.5));
    for (const part of [this.controls, this.stage, this.foot]) part.hidden = false;
    this.legend.hidden = !tree.lifts;
    if (this.outline) this.outline.open = false;
    this.draw();
  }

  #build() {
    this.slider = made("input", { type: "range", min: 0, max: STEPS, "aria-label": "Trim: minimum probability drawn" });
    this.output = made("output");
    this.svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.svg.setAttribute("class", "tree-svg");
    this.frame = new Frame(this);
    this.controls = made("div", { class: "tree-controls" }, made("label", {}, "Trim ", this.slider), this.output, this.frame.buttons);
    this.ruler = null;
    const ramp = made("span", { class: "ramp" }, ...["−6", "−2", "0", "+2", "+6"].map((tick) => made("span", {}, tick)));
    this.legend = made("p", { class: "tree-legend" }, ramp, "nats that the words add over random directions");
    this.tip = made("div", { class: "tree-tip" });
    this.foot = made("div", { class: "tree-foot" }, this.tip, this.legend);
    for (const part of [this.controls, this.foot]) part.hidden = true;
    this.stage.before(this.controls);
    this.stage.replaceChildren(this.svg);
    this.stage.after(this.foot);
    this.slider.addEventListener("input", () => this.#trimmed());
    walk(this);
    for (const name of ["pointerover", "focusin"]) this.svg.addEventListener(name, (event) => this.#tell(event));
    for (const name of ["pointerleave", "focusout"]) this.svg.addEventListener(name, () => (this.tip.textContent = ""));
  }

  #step(least) {
    return Math.ceil(STEPS * (1 - Math.log(Math.max(least, Number.MIN_VALUE)) / this.floor));
  }

  // At the slider's low end all is drawn, whatever rounding does to the cutoff.
  #trimmed() {
    this.least = this.slider.value === "0" ? 0 : Math.exp(this.floor * (1 - this.slider.value / STEPS));
    this.focused = 0;
    this.draw();
    this.frame.showRoot();
  }

  // Back to as much as fits.
  fit() {
    this.least = null;
    this.draw();
  }

  draw() {
    if (!this.tree) return;
    this.ruler ??= new Ruler(this.svg); // once it is on the page, whose fonts it measures
    this.picture = fitted(this.tree, this.ruler, this.frame.widthPx, {
      least: this.least,
      wanted: Number(this.figure.dataset.first ?? FIRST_DRAWN) * this.frame.room,
      most: MOST_DRAWN,
      isClosed: (branch) => this.#isClosed(branch),
    });
    this.nodes = draw(this.svg, this.tree, this.picture, this.figure.dataset.label ?? "Definition tree");
    this.frame.resize(this.picture);
    this.reach(Math.min(this.focused, this.nodes.length - 1), false);
    this.#count();
  }

  #count() {
    const { least, nDrawn } = this.picture;
    if (this.least === null) this.slider.value = this.#step(least);
    const words = percent(Math.max(least, this.tree.cutoff));
    this.slider.setAttribute("aria-valuetext", words);
    this.output.value = `≥ ${words}: ${nDrawn.toLocaleString("en")} of ${this.tree.n_nodes.toLocaleString("en")} nodes`;
  }

  // A phrase may have grown by the slider since it was folded: it stays folded at the same node.
  #isClosed(branch) {
    for (let node = branch.last; node >= branch.first; node = this.tree.parents[node]) {
      if (this.closed.has(node)) return true;
    }
    return false;
  }

  // Makes a place the one that the Tab key finds.
  reach(place, focus = true) {
    this.nodes[this.focused]?.setAttribute("tabindex", -1);
    this.focused = Math.max(place, 0);
    const node = this.nodes[this.focused];
    node?.setAttribute("tabindex", 0);
    if (focus) node?.focus();
  }

  fold(index, close) {
    const { branch } = this.picture.places[index];
    if (!branch.children.length) return;
    this.least ??= this.picture.least; // what is drawn stays what is drawn
    for (let node = branch.last; node >= branch.first; node = this.tree.parents[node]) this.closed.delete(node);
    if (close) this.closed.add(branch.last);
    this.focused = index; // places before a folded one stay where they are
    this.draw();
    this.nodes[index].focus();
  }

  #tell(event) {
    const place = this.picture.places[this.nodes.indexOf(event.target.closest(".node"))];
    if (place) this.tip.textContent = this.#words(place);
  }

  #words(place) {
    const path = [];
    for (let above = place; above; above = above.parent) path.unshift(above.branch.text);
    const probability = probabilityOf(this.tree, place.branch);
    const before = place.parent ? probabilityOf(this.tree, place.parent.branch) : 1;
    const [lift, gain] = [liftOf(this.tree, place.branch), gainOf(this.tree, place)];
    const figures = [`${percent(probability)} cumulative, ${percent(probability / before)} given what precedes`];
    if (gain !== null) figures.push(`${nats(gain)} nats from these words, ${nats(lift)} in total`);
    return `${path.join("").trim()}\n${figures.join("; ")}`;
  }
}

// Draws the tree at the figure's own address; where that fails the list below it stays, and says why.
export async function mount(figure) {
  const stage = figure.querySelector(".tree-stage");
  try {
    const response = await fetch(figure.dataset.src, { headers: { Accept: "application/json" } });
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    new TreeView(figure).show(await response.json());
  } catch (error) {
    stage.textContent = `The tree cannot be drawn: ${error.message}.`;
    stage.hidden = false;
  }
}
