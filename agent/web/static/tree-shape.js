// A definition tree as it is drawn: trimmed to what matters, chains of tokens joined into phrases.
// The rules are those of agent/evidence/branches.py. Knows nothing of the page.

const CHAIN_SHARE = 0.5; // a node and its only drawn child are one phrase from this share of its probability on
const TOLD_ABOVE = 1; // nats

// The nodes to draw in falling order, so that parents come first: those of at least `least`, of these the `most` probable.
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
  return nodes.sort((a, b) => tree.probabilities[b] - tree.probabilities[a] || a - b).slice(0, most);
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

export function probabilityOf(tree, branch) {
  return tree.probabilities[branch.last];
}

export function liftOf(tree, branch) {
  return tree.lifts ? tree.lifts[branch.last] : null;
}

// Nats that a phrase adds to its parent's lift; the root's is 0.
export function gainOf(tree, { branch, parent }) {
  const [lift, before] = [liftOf(tree, branch), parent ? liftOf(tree, parent.branch) : 0];
  return lift === null || before === null ? null : lift - before;
}

// Whether a gain is worth writing words in its colour.
export function isTold(gain) {
  return gain !== null && Math.abs(gain) >= TOLD_ABOVE;
}
