// The SVG of a definition tree: edges as wide as the log of their probability, coloured by lift or by branch.
// Draws what it is given; knows neither events nor where trees come from.

import { ROW_PX } from "./tree-shape.js";

const SVG = "http://www.w3.org/2000/svg";
const [THINNEST_PX, THICKEST_PX] = [1, 10];
const MOST_CHARACTERS = 80;
const LIFTS = [-2, -0.5, 0.5, 2, 4]; // nats; between them the steps of colour

export function element(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Two digits that mean something, as the terminal writes them.
export function percent(probability) {
  if (probability >= 0.0995) return `${Math.round(100 * probability)}%`;
  if (probability >= 0.0001) return `${(100 * probability).toFixed(probability >= 0.00995 ? 1 : 2)}%`;
  return probability > 0 ? probability.toExponential(0) : "0";
}

export function phrase(text) {
  const words = [...(text.trim() || "␣".repeat(text.length))];
  return words.length <= MOST_CHARACTERS ? words.join("") : `${words.slice(0, MOST_CHARACTERS - 1).join("")}…`;
}

// The steps of colour with what they stand for, for a legend.
export const LIFT_STEPS = [...LIFTS, Infinity].map((bound, step) => {
  const words = step === 0 ? `below ${LIFTS[0]}` : bound === Infinity ? `above ${LIFTS.at(-1)}` : `${LIFTS[step - 1]} to ${bound}`;
  return { name: `lift-${step}`, words };
});

function liftClass(lift) {
  return lift === null ? "unknown" : `lift-${LIFTS.filter((bound) => lift >= bound).length}`;
}

export function probabilityOf(tree, branch) {
  return tree.probabilities[branch.last];
}

export function liftOf(tree, branch) {
  return tree.lifts ? tree.lifts[branch.last] : null;
}

function look(tree, place) {
  return tree.lifts ? liftClass(liftOf(tree, place.branch)) : `hue-${place.hue ?? "none"}`;
}

// Linear in log cumulative probability, from the tree's cutoff up to 1.
function edgePx(tree, probability) {
  const share = tree.cutoff >= 1 ? 1 : 1 - Math.log(probability) / Math.log(tree.cutoff);
  return THINNEST_PX + (THICKEST_PX - THINNEST_PX) * Math.max(0, share);
}

export class Ruler {
  // Widths of words in the fonts of `svg`, in pixels, so that phrases stand close without touching.
  constructor(svg) {
    const style = getComputedStyle(svg);
    this.context = document.createElement("canvas").getContext("2d");
    this.font = `${style.fontSize} ${style.fontFamily}`;
    this.small = `${parseFloat(style.fontSize) * 0.8}px ${style.fontFamily}`;
  }

  width(text, small = false) {
    this.context.font = small ? this.small : this.font;
    return this.context.measureText(text).width;
  }
}

export function parts(tree, branch) {
  return { words: phrase(branch.text), share: percent(probabilityOf(tree, branch)) };
}

function edge(tree, place, root) {
  const from = place.parent ? { x: place.parent.x + place.parent.width + 7, y: place.parent.y } : root;
  const [to, bend] = [place.x - 5, (place.x - 5 - from.x) / 2];
  return element("path", {
    class: `edge ${look(tree, place)}`,
    d: `M${from.x} ${from.y}C${from.x + bend} ${from.y} ${to - bend} ${place.y} ${to} ${place.y}`,
    "stroke-width": edgePx(tree, probabilityOf(tree, place.branch)).toFixed(2),
  });
}

function knob(place) {
  const x = place.x + place.width + 3;
  const circle = element("circle", { cx: x, cy: place.y, r: 4, class: place.closed ? "knob closed" : "knob" });
  if (!place.closed) return [circle];
  const count = element("text", { x: x + 8, y: place.y, class: "share" }, `+${place.branch.children.length}`);
  return [circle, count];
}

function node(tree, place, ruler) {
  const { words, share } = parts(tree, place.branch);
  const box = { x: place.x - 4, y: place.y - ROW_PX / 2 + 1, width: place.width + 14, height: ROW_PX - 2, rx: 4 };
  const children = [
    element("rect", { ...box, class: "hit" }),
    element("text", { x: place.x, y: place.y }, words),
    element("text", { x: place.x + ruler.width(words) + 6, y: place.y, class: "share" }, share),
    ...(place.branch.children.length ? knob(place) : []),
  ];
  const states = place.branch.children.length ? { "aria-expanded": String(!place.closed) } : {};
  return element(
    "g",
    {
      role: "treeitem",
      tabindex: -1,
      class: "node",
      "aria-level": place.depth,
      "aria-posinset": place.index + 1,
      "aria-setsize": place.siblings,
      "aria-label": `${words}, ${share}`,
      ...states,
    },
    ...children,
  );
}

// Fills `svg`; returns the nodes' elements, in the order of `picture.places`.
export function draw(svg, tree, picture, ruler, label) {
  const root = { x: picture.rootX, y: picture.rootY };
  const edges = element("g", { "aria-hidden": "true" }, ...picture.places.map((place) => edge(tree, place, root)));
  edges.append(element("circle", { class: "root", cx: root.x, cy: root.y, r: 5 }));
  const nodes = picture.places.map((place) => node(tree, place, ruler));
  const width = picture.width + 30;
  for (const [key, value] of Object.entries({ width, height: picture.height })) svg.setAttribute(key, value);
  svg.setAttribute("viewBox", `0 0 ${width} ${picture.height}`);
  const items = element("g", nodes.length ? { role: "tree", "aria-label": label } : {}, ...nodes);
  svg.replaceChildren(edges, items);
  return nodes;
}
