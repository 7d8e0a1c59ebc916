// Where every phrase of a drawn tree stands: from left to right, or, where that would not fit, each on a line of its own,
// indented. Knows nothing of SVG.

import { branches, gainOf, isTold, leastFor } from "./tree-shape.js";
import { percent, phrase } from "./tree-words.js";

export const LINE_PX = 16;
const PAD_PX = 8; // above and below a phrase, together
const MARGIN_PX = 12;
const GAP_PX = 36;
const HUES = 6;
const WRAPS_PX = [250, 180, 130]; // the widest line of a phrase, the first that fits is taken
const FEWER = [1, 0.8, 0.62, 0.48, 0.36]; // of the nodes that were wanted, until the picture fits
const INDENT_PX = 18;
const LEAST_LINE_PX = 60;
export const NARROW_PX = 520; // below this no tree is drawn from left to right
const SHARE_PX = 46;

// The drawing of `tree` for a stage of `widthPx`: all nodes of at least `least`, or, where that is null, as many of the
// `wanted` most probable as fit.
export function fitted(tree, ruler, widthPx, { least = null, wanted = 45, most = Infinity, isClosed = () => false }) {
  const fewer = least === null ? FEWER : [1];
  let found;
  for (const share of fewer) {
    const from = least ?? leastFor(tree, Math.max(8, Math.round(share * wanted)));
    const drawn = { ...branches(tree, from, most), least: from };
    if (widthPx < NARROW_PX) return indented(tree, drawn, ruler, widthPx, isClosed);
    for (const wrapPx of WRAPS_PX) {
      found = across(tree, drawn, ruler, wrapPx, isClosed);
      if (found.width <= widthPx) return found;
    }
  }
  if (least !== null) return found;
  const drawn = { ...branches(tree, leastFor(tree, wanted), most), least: leastFor(tree, wanted) };
  return indented(tree, drawn, ruler, widthPx, isClosed);
}

// Phrases in drawing order, parents first: { branch, parent, place, index, siblings, depth, hue, closed }.
function walked(drawn, isClosed) {
  const places = [];
  const enter = (branch, parent, index, siblings) => ({ branch, parent, index, siblings });
  const stack = drawn.children.map((child, index, all) => enter(child, null, index, all.length)).reverse();
  while (stack.length) {
    const here = stack.pop();
    const { branch, parent, index, siblings } = here;
    Object.assign(here, {
      place: places.length,
      depth: parent ? parent.depth + 1 : 1,
      hue: parent?.hue ?? (siblings > 1 ? index % HUES : null), // one for each branch of the first fork
      closed: branch.children.length > 0 && isClosed(branch),
    });
    places.push(here);
    const below = here.closed ? [] : branch.children;
    stack.push(...below.map((child, at) => enter(child, here, at, below.length)).reverse());
  }
  return places;
}

// What a phrase takes when its lines are at most `mostPx` long; its probability stands after the last line.
function measure(tree, here, ruler, mostPx) {
  const share = percent(tree.probabilities[here.branch.last]);
  const font = isTold(gainOf(tree, here)) ? "told" : "plain";
  const lines = ruler.lines(phrase(here.branch.text), mostPx, font);
  const widths = lines.map((line) => ruler.width(line.trimEnd(), font));
  const shareX = widths.at(-1) + 6;
  const width = Math.max(...widths, shareX + ruler.width(share, "small"));
  Object.assign(here, { share, lines, shareX, width, height: lines.length * LINE_PX + PAD_PX });
}

// Each leaf on rows of its own, a parent midway of its children.
function across(tree, drawn, ruler, wrapPx, isClosed) {
  const places = walked(drawn, isClosed);
  for (const here of places) {
    measure(tree, here, ruler, wrapPx);
    here.x = here.parent ? here.parent.x + here.parent.width + GAP_PX : MARGIN_PX + GAP_PX;
    here.below = 0; // height of its children together
  }
  let whole = 0;
  for (const here of places.toReversed()) {
    here.extent = Math.max(here.height, here.below);
    if (here.parent) here.parent.below += here.extent;
    else whole += here.extent;
  }
  const root = { next: MARGIN_PX };
  for (const here of places) {
    const above = here.parent ?? root;
    here.next = above.next + (here.extent - here.below) / 2;
    here.y = above.next + here.extent / 2;
    above.next += here.extent;
  }
  settle(places);
  const roots = places.filter((one) => !one.parent).map((one) => one.y);
  return {
    places,
    nDrawn: drawn.nDrawn,
    least: drawn.least,
    indented: false,
    width: Math.ceil(Math.max(0, ...places.map((one) => one.x + one.width)) + MARGIN_PX + 24),
    height: Math.ceil(whole + 2 * MARGIN_PX),
    rootX: MARGIN_PX,
    rootY: roots.length ? (roots[0] + roots.at(-1)) / 2 : MARGIN_PX + LINE_PX,
  };
}

// A parent stands midway of its first and its last child, where those are taller than itself.
function settle(places) {
  const ends = new Map();
  for (const here of places.toReversed()) {
    const children = ends.get(here);
    if (children && here.below >= here.height) here.y = (children.top + children.bottom) / 2;
    if (!here.parent) continue;
    const known = ends.get(here.parent);
    ends.set(here.parent, { top: here.y, bottom: known?.bottom ?? here.y });
  }
}

// One phrase below the other; probabilities in a column on the right.
function indented(tree, drawn, ruler, widthPx, isClosed) {
  const places = walked(drawn, isClosed);
  let y = MARGIN_PX / 2;
  for (const here of places) {
    here.x = MARGIN_PX + INDENT_PX * Math.min(here.depth - 1, (widthPx - SHARE_PX - LEAST_LINE_PX) / INDENT_PX) + 12;
    const room = Math.max(widthPx - here.x - SHARE_PX, LEAST_LINE_PX);
    measure(tree, here, ruler, room);
    Object.assign(here, { width: room, shareX: widthPx - here.x - MARGIN_PX / 2, y: y + here.height / 2 });
    y += here.height;
  }
  const size = { width: widthPx, height: Math.ceil(y + MARGIN_PX / 2), rootX: MARGIN_PX, rootY: MARGIN_PX / 2 };
  return { places, nDrawn: drawn.nDrawn, least: drawn.least, indented: true, ...size };
}
