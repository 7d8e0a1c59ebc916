// The SVG of a definition tree: edges as wide as the log of their probability, coloured by what their words add over
// random directions, or by branch. Draws what it is given; knows neither events nor where trees come from.

import { LINE_PX } from "./tree-layout.js";
import { gainOf, isTold, probabilityOf } from "./tree-shape.js";
import { phrase } from "./tree-words.js";

export { percent, phrase } from "./tree-words.js";

const SVG = "http://www.w3.org/2000/svg";
const [THINNEST_PX, THICKEST_PX] = [1, 10];
const [MOST_GAIN, BEND] = [6, 0.7]; // the scale of colour, as in agent/drawing/layout.py

export function element(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Sets the colour of an edge or of words; the style sheet mixes it, so that light and dark each have their own.
function coloured(made, tree, place) {
  if (!tree.lifts) made.classList.add(`hue-${place.hue ?? "none"}`);
  else {
    const gain = gainOf(tree, place);
    made.classList.add(gain === null ? "unknown" : gain < 0 ? "less" : "more");
    if (isTold(gain)) made.classList.add("told");
    made.style.setProperty("--far", `${Math.round(100 * Math.min(1, Math.abs(gain ?? 0) / MOST_GAIN) ** BEND)}%`);
  }
  return made;
}

// From 0 to 1, linear in log cumulative probability, from the tree's cutoff up to 1.
function strength(tree, place) {
  if (tree.cutoff >= 1) return 1;
  return Math.max(0, 1 - Math.log(probabilityOf(tree, place.branch)) / Math.log(tree.cutoff));
}

function edge(tree, place, root) {
  const from = place.parent ? { x: place.parent.x + place.parent.width + 12, y: place.parent.y } : root;
  const [to, bend] = [place.x - 5, (place.x - 5 - from.x) / 2];
  const d = `M${from.x} ${from.y}C${from.x + bend} ${from.y} ${to - bend} ${place.y} ${to} ${place.y}`;
  const width = THINNEST_PX + (THICKEST_PX - THINNEST_PX) * strength(tree, place);
  return coloured(element("path", { class: "edge", d, "stroke-width": width.toFixed(2) }), tree, place);
}

// In an indented tree a probability is a bar behind its words, and a hook leads to it.
function bar(tree, place, picture) {
  const width = (picture.width - place.x) * strength(tree, place);
  const box = { x: place.x - 6, y: place.y - place.height / 2 + 2, width: width.toFixed(1), height: place.height - 4, rx: 4 };
  const made = [coloured(element("rect", { class: "share-bar", ...box }), tree, place)];
  const { parent } = place;
  if (parent) made.push(element("path", { class: "hook", d: `M${parent.x} ${parent.y + parent.height / 2 - 2}V${place.y}H${place.x - 6}` }));
  return made;
}

function knob(place, picture) {
  const x = picture.indented ? place.x - 12 : place.x + place.width + 8;
  const circle = element("circle", { cx: x, cy: place.y, r: 4, class: place.closed ? "knob closed" : "knob" });
  if (!place.closed || picture.indented) return [circle];
  return [circle, element("text", { x: x + 8, y: place.y, class: "share" }, `+${place.branch.children.length}`)];
}

function words(tree, place, picture) {
  const first = place.y - ((place.lines.length - 1) * LINE_PX) / 2;
  const lines = place.lines.map((line, at) => element("tspan", { x: place.x, y: first + at * LINE_PX }, line));
  const last = first + (place.lines.length - 1) * LINE_PX;
  const end = picture.indented ? { "text-anchor": "end" } : {};
  return [
    coloured(element("text", {}, ...lines), tree, place),
    element("text", { x: place.x + place.shareX, y: last, class: "share", ...end }, place.share),
  ];
}

function node(tree, place, picture) {
  const [x, width] = picture.indented ? [0, picture.width] : [place.x - 4, place.width + 18];
  const box = { x, y: place.y - place.height / 2 + 1, width, height: place.height - 2, rx: 4 };
  const hasBelow = place.branch.children.length > 0;
  return element(
    "g",
    {
      role: "treeitem",
      tabindex: -1,
      class: "node",
      "aria-level": place.depth,
      "aria-posinset": place.index + 1,
      "aria-setsize": place.siblings,
      "aria-label": `${phrase(place.branch.text)}, ${place.share}`,
      ...(hasBelow ? { "aria-expanded": String(!place.closed) } : {}),
    },
    element("rect", { ...box, class: "hit" }),
    ...(picture.indented ? bar(tree, place, picture) : []),
    ...words(tree, place, picture),
    ...(hasBelow ? knob(place, picture) : []),
  );
}

// Fills `svg`; returns the nodes' elements, in the order of `picture.places`.
export function draw(svg, tree, picture, label) {
  const root = { x: picture.rootX, y: picture.rootY };
  const edges = element("g", { "aria-hidden": "true" });
  if (!picture.indented) {
    edges.append(...picture.places.map((place) => edge(tree, place, root)));
    edges.append(element("circle", { class: "root", cx: root.x, cy: root.y, r: 5 }));
  }
  const nodes = picture.places.map((place) => node(tree, place, picture));
  svg.setAttribute("viewBox", `0 0 ${picture.width} ${picture.height}`);
  svg.classList.toggle("indented", picture.indented);
  const items = element("g", nodes.length ? { role: "tree", "aria-label": label } : {}, ...nodes);
  svg.replaceChildren(edges, items);
  return nodes;
}
