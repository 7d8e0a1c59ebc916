// A definition tree as it is drawn: trimmed to what matters, chains of tokens joined into phrases, every phrase placed.
// The rules are those of agent/evidence/branches.py. Knows nothing of the page.

const CHAIN_SHARE = 0.5; // a node and its only drawn child are one phrase from this share of its probability on

export const ROW_PX = 24;
const GAP_PX = 40;
const MARGIN_PX = 14;
const HUES = 6;

// The nodes to draw, parents first: those of at least `least`, and of these the `most` probable.
function kept(tree, least, most) {
  const alive = new Uint8Array(tree.parents.length);
  alive[0] = 1;
  const nodes = [];
  for (let node = 1; node < tree.parents.length; node++) {
    if (alive[tree.parents[node]] && tree.probabilities[node] >= least) {
      alive[node] = 1;
      nodes.push(node);
    }
  }
  if (nodes.length <= most) return nodes;
  nodes.sort((a, b) => tree.probabilities[b] - tree.probabilities[a] || a - b);
  return nodes.slice(0, most).sort((a, b) => a - b);
}

// { children, nDrawn }: the root's branches. A branch is a phrase, from its `first` node to its `last`.
export function branches(tree, least, most = Infinity) {
  const nodes = kept(tree, least, most);
  const below = new Map();
  for (let place = nodes.length - 1; place >= 0; place--) {
    const node = nodes[place];
    const children = (below.get(node) ?? []).reverse();
    below.delete(node);
    const parent = tree.parents[node];
    if (!below.has(parent)) below.set(parent, []);
    below.get(parent).push(joined(tree, node, children));
  }
  return { children: (below.get(0) ?? []).reverse(), nDrawn: nodes.length };
}

function joined(tree, node, children) {
  const branch = { first: node, last: node, text: tree.tokens[tree.token[node]], children };
  const [only] = children;
  if (children.length === 1 && tree.probabilities[only.last] >= CHAIN_SHARE * tree.probabilities[node]) {
    return { first: node, last: only.last, text: branch.text + only.text, children: only.children };
  }
  return branch;
}

// The least probability at which at most `most` nodes are drawn; of those that are equally probable all or none.
export function leastFor(tree, most) {
  const falling = tree.probabilities.slice(1).sort((a, b) => b - a);
  return falling.length <= most ? tree.cutoff : Math.min(1, falling[most - 1] * 1.0000001);
}

// { places, width, height, rootY }: each leaf on a row of its own, a parent midway of its children, in drawing order.
// `widthOf(branch)` is what a phrase takes; `isClosed(branch)` hides what hangs below it.
export function layout(drawn, widthOf, isClosed) {
  const places = [];
  let rows = 0;
  const place = (branch, parent, index, siblings) => {
    const here = {
      branch,
      parent,
      index,
      siblings,
      depth: parent ? parent.depth + 1 : 1,
      hue: parent?.hue ?? (siblings > 1 ? index % HUES : null), // one for each branch of the first fork
      x: parent ? parent.x + parent.width + GAP_PX : MARGIN_PX + GAP_PX,
      width: widthOf(branch),
      closed: branch.children.length > 0 && isClosed(branch),
      y: 0,
    };
    places.push(here);
    return here;
  };
  // an explicit stack: a tree may be a thousand phrases deep
  const open = [];
  const enter = (branch, parent, index, siblings) => {
    const here = place(branch, parent, index, siblings);
    open.push({ here, next: 0 });
  };
  drawn.children.forEach((child, index) => {
    enter(child, null, index, drawn.children.length);
    while (open.length) {
      const top = open[open.length - 1];
      const { here } = top;
      const below = here.closed ? [] : here.branch.children;
      if (top.next < below.length) {
        enter(below[top.next], here, top.next++, below.length);
        continue;
      }
      open.pop();
      here.y = below.length ? (here.top + here.bottom) / 2 : MARGIN_PX + (rows++ + 0.5) * ROW_PX;
      if (here.parent) {
        here.parent.top = Math.min(here.parent.top ?? Infinity, here.y);
        here.parent.bottom = Math.max(here.parent.bottom ?? -Infinity, here.y);
      }
    }
  });
  const roots = places.filter((item) => !item.parent).map((item) => item.y);
  return {
    places,
    width: Math.ceil(Math.max(0, ...places.map((item) => item.x + item.width)) + MARGIN_PX),
    height: Math.ceil(Math.max(rows, 1) * ROW_PX + 2 * MARGIN_PX),
    rootY: roots.length ? (Math.min(...roots) + Math.max(...roots)) / 2 : MARGIN_PX + ROW_PX / 2,
    rootX: MARGIN_PX,
  };
}
