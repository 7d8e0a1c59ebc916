// A definition tree on a page: drawn at once at every move of its slider, walked and folded by mouse and keyboard.
// Fills a `figure.tree`; trees come from the figure's own address (`data-src`) or from whoever calls `show`.

import { LIFT_STEPS, Ruler, draw, liftOf, parts, percent, probabilityOf } from "./tree-draw.js";
import { branches, layout, leastFor } from "./tree-shape.js";

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
    this.least = null; // probability that the reader has set the slider to
    this.#build();
  }

  // Shows `tree` in place of what was there; what the reader has trimmed it to is kept.
  show(tree) {
    this.tree = tree;
    this.closed.clear();
    this.focused = 0;
    this.floor = Math.log(Math.min(tree.cutoff, 0.5));
    this.slider.value = this.#step(this.least ?? leastFor(tree, Number(this.figure.dataset.first ?? FIRST_DRAWN)));
    this.controls.hidden = false;
    this.stage.hidden = false;
    this.legend.hidden = !tree.lifts;
    if (this.outline) this.outline.open = false;
    this.#draw();
  }

  #build() {
    this.slider = made("input", { type: "range", min: 0, max: STEPS, "aria-label": "Trim: least probability drawn" });
    this.output = made("output");
    this.controls = made("div", { class: "tree-controls" }, made("label", {}, "Trim ", this.slider), this.output);
    this.controls.hidden = true;
    this.svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.svg.setAttribute("class", "tree-svg");
    const steps = LIFT_STEPS.map(({ name, words }) => made("span", { class: name }, words));
    this.legend = made("p", { class: "tree-legend" }, "lift over random directions, nats: ", ...steps);
    this.legend.hidden = true;
    this.tip = made("div", { class: "tree-tip", role: "tooltip" });
    this.tip.hidden = true;
    this.stage.before(this.controls);
    this.stage.replaceChildren(this.svg);
    this.stage.after(this.legend, this.tip);
    this.slider.addEventListener("input", () => this.#trimmed());
    this.svg.addEventListener("click", (event) => this.#clicked(event));
    this.svg.addEventListener("keydown", (event) => this.#pressed(event));
    for (const name of ["pointerover", "focusin"]) this.svg.addEventListener(name, (event) => this.#tell(event));
    for (const name of ["pointerleave", "focusout"]) this.svg.addEventListener(name, () => (this.tip.hidden = true));
  }

  // At the slider's low end all is drawn, whatever rounding does to the cutoff.
  #least() {
    return this.slider.value === "0" ? 0 : Math.exp(this.floor * (1 - this.slider.value / STEPS));
  }

  #step(least) {
    return Math.ceil(STEPS * (1 - Math.log(Math.max(least, Number.MIN_VALUE)) / this.floor));
  }

  #trimmed() {
    this.least = this.#least();
    this.focused = 0;
    this.#draw();
  }

  #draw() {
    const drawn = branches(this.tree, this.#least(), MOST_DRAWN);
    const ruler = new Ruler(this.svg);
    const widthOf = (branch) => {
      const { words, share } = parts(this.tree, branch);
      return ruler.width(words) + 6 + ruler.width(share, true) + 4;
    };
    this.picture = layout(drawn, widthOf, (branch) => this.#isClosed(branch));
    this.nodes = draw(this.svg, this.tree, this.picture, ruler, this.figure.dataset.label ?? "Definition tree");
    this.#reach(Math.min(this.focused, this.nodes.length - 1), false);
    const least = Math.max(this.#least(), this.tree.cutoff);
    this.slider.setAttribute("aria-valuetext", percent(least));
    this.output.value = `≥ ${percent(least)}: ${drawn.nDrawn.toLocaleString("en")} of ${this.tree.n_nodes.toLocaleString("en")} nodes`;
  }

  // A phrase may have grown by the slider since it was folded: it stays folded at the same node.
  #isClosed(branch) {
    for (let node = branch.last; node >= branch.first; node = this.tree.parents[node]) {
      if (this.closed.has(node)) return true;
    }
    return false;
  }

  #reach(place, focus = true) {
    this.nodes[this.focused]?.setAttribute("tabindex", -1);
    this.focused = Math.max(place, 0);
    const node = this.nodes[this.focused];
    node?.setAttribute("tabindex", 0);
    if (focus) node?.focus();
  }

  #fold(index, close) {
    const { branch } = this.picture.places[index];
    if (!branch.children.length) return;
    for (let node = branch.last; node >= branch.first; node = this.tree.parents[node]) this.closed.delete(node);
    if (close) this.closed.add(branch.last);
    this.focused = index; // places before a folded one stay where they are
    this.#draw();
    this.nodes[index].focus();
  }

  #clicked(event) {
    const index = this.nodes.indexOf(event.target.closest(".node"));
    if (index >= 0) {
      this.#reach(index);
      this.#fold(index, !this.picture.places[index].closed);
    }
  }

  #pressed(event) {
    const index = this.nodes.indexOf(event.target.closest(".node"));
    if (index < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const { places } = this.picture;
    const here = places[index];
    const actions = {
      ArrowDown: () => this.#reach(Math.min(index + 1, places.length - 1)),
      ArrowUp: () => this.#reach(Math.max(index - 1, 0)),
      ArrowRight: () => (here.closed ? this.#fold(index, false) : here.branch.children.length && this.#reach(index + 1)),
      ArrowLeft: () =>
        here.branch.children.length && !here.closed
          ? this.#fold(index, true)
          : here.parent && this.#reach(places.indexOf(here.parent)),
      Home: () => this.#reach(0),
      End: () => this.#reach(places.length - 1),
      Enter: () => this.#fold(index, !here.closed),
      " ": () => this.#fold(index, !here.closed),
    };
    if (!(event.key in actions)) return;
    event.preventDefault();
    event.stopPropagation(); // the page's own keys are not meant
    actions[event.key]();
  }

  #tell(event) {
    const node = event.target.closest(".node");
    const place = this.picture.places[this.nodes.indexOf(node)];
    if (!place) return;
    this.tip.textContent = this.#words(place);
    this.tip.hidden = false;
    const [box, frame] = [node.getBoundingClientRect(), this.figure.getBoundingClientRect()];
    const left = Math.min(box.left - frame.left, frame.width - this.tip.offsetWidth);
    this.tip.style.left = `${Math.max(left, 0)}px`;
    this.tip.style.top = `${box.bottom - frame.top + 2}px`;
  }

  #words(place) {
    const path = [];
    for (let above = place; above; above = above.parent) path.unshift(above.branch.text);
    const probability = probabilityOf(this.tree, place.branch);
    const before = place.parent ? probabilityOf(this.tree, place.parent.branch) : 1;
    const lift = liftOf(this.tree, place.branch);
    const said = [`${path.join("").trim()}`, `${percent(probability)} in all, ${percent(probability / before)} from there`];
    if (lift !== null) said.push(`lift ${lift >= 0 ? "+" : "−"}${Math.abs(lift).toFixed(2)} nats`);
    return said.join("\n");
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
