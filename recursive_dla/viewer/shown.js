// What the slider and the filters leave to be drawn.

class Shown {
  /** `picked` lists the ids of nodes that stay in sight whatever else is hidden. */
  constructor(graph, groups, { share, rooted, hidden, layers, heads, tokens }, picked) {
    const keptCount = graph.countHolding(share);
    this.threshold = keptCount ? Math.abs(graph.edges[keptCount - 1].weight) : 0;
    const leading = graph.leadingToRoot(keptCount);
    const passes = nodeFilter({ hidden, layers, heads, tokens });

    const always = new Set(picked);
    this.mask = new Uint8Array(graph.nodes.length);
    for (const node of graph.nodes) {
      const alive = rooted ? leading[node.index] : touches(node, keptCount);
      if ((alive && passes(node)) || always.has(node.id) || groups.owners[node.index]) {
        this.mask[node.index] = 1;
      }
    }

    const edges = [];
    this.leadingEdges = 0;
    for (let i = 0; i < keptCount; i++) {
      const edge = graph.edges[i];
      if (!this.mask[edge.source.index] || !this.mask[edge.target.index]) continue;
      // Without its target on the way to a root an edge leads nowhere.
      if (rooted && !leading[edge.target.index]) continue;
      edges.push(edge);
      this.leadingEdges += leading[edge.target.index];
    }
    this.nodes = graph.nodes.filter((node) => this.mask[node.index]);
    this.leadingNodes = this.nodes.reduce((count, node) => count + leading[node.index], 0);
    this.edgeCount = edges.length;

    this.edges = groups.folded.length ? foldEdges(edges, groups) : edges;
    this.items = [
      ...this.nodes.filter((node) => groups.standIn(node) === node),
      ...groups.folded,
    ].sort((a, b) => Math.abs(b.attribution) - Math.abs(a.attribution));
    this.heaviest = this.edges.length ? Math.abs(this.edges[0].weight) : 0;
  }
}

function nodeFilter({ hidden, layers, heads, tokens }) {
  const hiddenKinds = new Set(hidden);
  const onlyHeads = heads.length ? new Set(heads) : null;
  const onlyTokens = tokens.length ? new Set(tokens) : null;
  return (node) =>
    !hiddenKinds.has(node.kind) &&
    (!layers || (node.layer >= layers[0] && node.layer <= layers[1])) &&
    (!onlyHeads || node.kind !== "head" || onlyHeads.has(node.head)) &&
    (!onlyTokens || onlyTokens.has(node.pos));
}

function touches(node, keptCount) {
  const first = (edges) => (edges.length ? edges[0].index : Infinity);
  return first(node.inputs) < keptCount || first(node.outputs) < keptCount || node.kind === "logit";
}

/** Edges between what stands for their ends, summed where those coincide. */
function foldEdges(edges, groups) {
  const result = [];
  const totals = new Map();
  for (const edge of edges) {
    const source = groups.standIn(edge.source);
    const target = groups.standIn(edge.target);
    if (source === edge.source && target === edge.target) {
      result.push(edge);
    } else if (source !== target) {
      const key = `${source.index}>${target.index}`;
      const total = totals.get(key);
      if (total) total.weight += edge.weight;
      else totals.set(key, { source, target, weight: edge.weight });
    }
  }
  return merge(result, [...totals.values()].sort(byStrength));
}

function byStrength(a, b) {
  return Math.abs(b.weight) - Math.abs(a.weight);
}

/** Two lists in the order of strength as one. */
function merge(many, few) {
  const result = [];
  let next = 0;
  for (const edge of many) {
    while (next < few.length && byStrength(few[next], edge) < 0) result.push(few[next++]);
    result.push(edge);
  }
  return result.concat(few.slice(next));
}
