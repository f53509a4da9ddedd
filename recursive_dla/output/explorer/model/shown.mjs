// What the slider and the filters leave to be drawn.

import { byAttribution, byWeight } from "./graph.mjs";

/** @import { Graph } from "./graph.mjs" */
/** @import { Groups } from "./groups.mjs" */
/** @import { Edge, GraphEdge, GraphNode, Item, Settings } from "./types.d.mts" */

/** The nodes and edges left, none of them folded into a group yet. */
export class Kept {
  /**
   * @param {Graph} graph
   * @param {Settings} settings
   * @param {string[]} picked Ids of nodes that stay in sight whatever else is hidden.
   */
  constructor(graph, settings, picked) {
    const { share, rooted } = settings;
    const keptCount = graph.countHolding(share);
    this.threshold = keptCount ? Math.abs(graph.edges[keptCount - 1].weight) : 0;
    const leading = graph.leadingToRoot(keptCount);
    const passes = nodeFilter(settings);

    const always = new Set(picked);
    this.mask = new Uint8Array(graph.nodes.length);
    for (const node of graph.nodes) {
      const alive = rooted ? leading[node.index] : touches(node, keptCount);
      if ((alive && passes(node)) || always.has(node.id)) this.mask[node.index] = 1;
    }

    /** @type {GraphEdge[]} */
    this.edges = [];
    this.leadingEdges = 0;
    for (let i = 0; i < keptCount; i++) {
      const edge = graph.edges[i];
      if (!this.mask[edge.source.index] || !this.mask[edge.target.index]) continue;
      // Without its target on the way to a root an edge leads nowhere.
      if (rooted && !leading[edge.target.index]) continue;
      this.edges.push(edge);
      this.leadingEdges += leading[edge.target.index];
    }
    this.nodes = graph.byStrength.filter((node) => this.mask[node.index]);
    this.leadingNodes = this.nodes.reduce((count, node) => count + leading[node.index], 0);
  }
}

/** What is kept, with the folded groups in place of their members; the strongest first. */
export class Shown {
  /** @param {Kept} kept @param {Groups} groups */
  constructor(kept, groups) {
    this.threshold = kept.threshold;
    this.mask = kept.mask;
    this.nodes = kept.nodes;
    this.leadingEdges = kept.leadingEdges;
    this.leadingNodes = kept.leadingNodes;
    this.edgeCount = kept.edges.length;
    /** @type {Item[]} */
    this.items = kept.nodes;
    /** @type {Edge[]} */
    this.edges = kept.edges;
    if (groups.folded.length) {
      const alone = kept.nodes.filter((node) => groups.standIn(node) === node);
      this.items = merge(/** @type {Item[]} */ (alone), [...groups.folded].sort(byAttribution), byAttribution);
      this.edges = foldEdges(kept.edges, groups);
    }
    this.heaviest = this.edges.length ? Math.abs(this.edges[0].weight) : 0;
  }
}

/** @param {Settings} settings @returns {(node: GraphNode) => boolean} */
function nodeFilter({ hidden, layers, heads, tokens }) {
  const hiddenKinds = new Set(hidden);
  const onlyHeads = heads.length ? new Set(heads) : null;
  const onlyTokens = tokens.length ? new Set(tokens) : null;
  return ({ kind, layer, head, pos }) =>
    !hiddenKinds.has(kind) &&
    (!layers || (layer >= layers[0] && layer <= layers[1])) &&
    (!onlyHeads || kind !== "head" || (head !== null && onlyHeads.has(head))) &&
    (!onlyTokens || onlyTokens.has(pos));
}

/** Whether one of the strongest edges begins or ends at a node. @param {GraphNode} node @param {number} keptCount */
function touches(node, keptCount) {
  const first = (/** @type {GraphEdge[]} */ edges) => (edges.length ? edges[0].index : Infinity);
  return first(node.inputs) < keptCount || first(node.outputs) < keptCount || node.kind === "logit";
}

/**
 * Edges between what stands for their ends, summed where those coincide.
 *
 * @param {GraphEdge[]} edges
 * @param {Groups} groups
 */
function foldEdges(edges, groups) {
  const inGroup = new Uint8Array(groups.owners.length);
  for (const group of groups.folded) for (const { index } of group.members) inGroup[index] = 1;
  /** @type {Edge[]} */
  const still = [];
  /** @type {Map<string, Edge>} */
  const totals = new Map();
  for (const edge of edges) {
    if (!inGroup[edge.source.index] && !inGroup[edge.target.index]) {
      still.push(edge);
      continue;
    }
    const source = groups.standIn(edge.source);
    const target = groups.standIn(edge.target);
    if (source === target) continue;
    const key = `${source.index}>${target.index}`;
    const total = totals.get(key);
    if (total) total.weight += edge.weight;
    else totals.set(key, { source, target, weight: edge.weight });
  }
  return merge(still, [...totals.values()].sort(byWeight), byWeight);
}

/**
 * Two lists in the same order as one; of equal things those of `many` come first.
 *
 * @template T
 * @param {T[]} many
 * @param {T[]} few
 * @param {(a: T, b: T) => number} compare
 */
function merge(many, few, compare) {
  const parts = [];
  let start = 0;
  for (const thing of few) {
    let end = many.length;
    for (let low = start; low < end;) {
      const middle = (low + end) >> 1;
      if (compare(thing, many[middle]) < 0) end = middle;
      else low = middle + 1;
    }
    parts.push(many.slice(start, end), [thing]);
    start = end;
  }
  return [...parts, many.slice(start)].flat();
}
