// The document as a graph that can be walked.

import { showProse, showToken } from "./text.mjs";

/** @import { GraphDocument, GraphEdge, GraphNode } from "./types.d.mts" */

// How many edges a page shows before its reader asks for more.
const OPENING_EDGES = 600;

const KINDS = new Map([
  ["logit", "Logit"],
  ["head", "Attention head"],
  ["mlp", "MLP"],
  ["embed", "Token embedding"],
  ["pos_embed", "Position embedding"],
  ["bias", "Bias"],
  ["remainder", "Remainder"],
  ["group", "Group"],
]);

/** @param {string} kind */
export function kindName(kind) {
  return KINDS.get(kind) ?? showProse(String(kind));
}

export class Graph {
  /** @param {GraphDocument} source */
  constructor(source) {
    this.source = source;
    this.metadata = source.metadata;
    /** @type {GraphNode[]} */
    this.nodes = source.nodes.map((node, index) => ({
      id: node.id,
      index,
      kind: node.kind,
      component: node.component,
      layer: node.layer,
      head: node.head,
      pos: node.pos,
      attribution: node.attribution,
      restIn: node.rest_in,
      restOut: node.rest_out,
      merged: source.metadata.groups?.[node.id] ?? [],
      inputs: [],
      outputs: [],
    }));
    this.byId = new Map(this.nodes.map((node) => [node.id, node]));
    this.byStrength = [...this.nodes].sort(byAttribution);

    // Strongest first: what the slider keeps is then always a leading part,
    // of this list and of every node's inputs and outputs.
    /** @type {GraphEdge[]} */
    this.edges = source.edges
      .map(({ source, target, weight }) => ({ source: this.node(source), target: this.node(target), weight, index: 0 }))
      .sort(byWeight);
    this.strengthUpTo = new Float64Array(this.edges.length + 1);
    this.edges.forEach((edge, index) => {
      edge.index = index;
      edge.target.inputs.push(edge);
      edge.source.outputs.push(edge);
      this.strengthUpTo[index + 1] = this.strengthUpTo[index] + Math.abs(edge.weight);
    });

    this.roots = this.nodes.filter((node) => node.kind === "logit");
    if (!this.roots.length) this.roots = this.nodes.filter((node) => !node.outputs.length);
    this.kinds = countKinds(this.nodes);
    this.tokens = this.tokenTexts();
    const layers = this.nodes.map((node) => node.layer);
    this.lowest = layers.reduce((a, b) => Math.min(a, b), 0);
    this.highest = layers.reduce((a, b) => Math.max(a, b), 0);

    // The roots hold the whole value and would dwarf everything else.
    const roots = new Set(this.roots);
    this.largest = Math.abs(this.byStrength.find((node) => !roots.has(node))?.attribution ?? 0) || 1;
    this.heaviest = Math.abs(this.edges[0]?.weight ?? 0) || 1;
  }

  /** The node that is known to have this id. @param {string} id */
  node(id) {
    const node = this.byId.get(id);
    if (!node) throw new Error(`no node is called ${id}`);
    return node;
  }

  /** The text of each position; null where the document names none. @returns {(string | null)[]} */
  tokenTexts() {
    const named = this.metadata.tokens ?? [];
    const last = [...named, ...this.nodes].reduce((most, { pos }) => Math.max(most, pos), -1);
    const texts = new Array(last + 1).fill(null);
    for (const token of named) texts[token.pos] = token.text;
    return texts;
  }

  /** @param {number} pos */
  token(pos) {
    const text = this.tokens[pos];
    return text === null || text === undefined ? "?" : showToken(text);
  }

  /** How many of the strongest edges hold `share` of all absolute weight. @param {number} share */
  countHolding(share) {
    const count = this.edges.length;
    if (share >= 1) return count;
    const wanted = share * this.strengthUpTo[count];
    let low = 0;
    let high = count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.strengthUpTo[middle] < wanted) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  openingShare() {
    const count = this.edges.length;
    if (count <= OPENING_EDGES) return 1;
    return Math.ceil((1000 * this.strengthUpTo[OPENING_EDGES]) / this.strengthUpTo[count]) / 1000;
  }

  /** Marks the nodes from which the `count` strongest edges lead to a root. @param {number} count */
  leadingToRoot(count) {
    const marks = new Uint8Array(this.nodes.length);
    const waiting = [...this.roots];
    for (const root of waiting) marks[root.index] = 1;
    for (let node = waiting.pop(); node; node = waiting.pop()) {
      for (const edge of node.inputs) {
        if (edge.index >= count) break;
        if (marks[edge.source.index]) continue;
        marks[edge.source.index] = 1;
        waiting.push(edge.source);
      }
    }
    return marks;
  }
}

/** How many nodes there are of each kind, in the order of `KINDS`. @param {GraphNode[]} nodes */
function countKinds(nodes) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const { kind } of nodes) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  const order = [...KINDS.keys()];
  const rank = (/** @type {string} */ kind) => (order.includes(kind) ? order.indexOf(kind) : order.length);
  return new Map([...counts].sort(([a], [b]) => rank(a) - rank(b)));
}

// Orders of nodes and of edges, the strongest first.

/** @param {{ attribution: number }} a @param {{ attribution: number }} b */
export function byAttribution(a, b) {
  return Math.abs(b.attribution) - Math.abs(a.attribution);
}

/** @param {{ weight: number }} a @param {{ weight: number }} b */
export function byWeight(a, b) {
  return Math.abs(b.weight) - Math.abs(a.weight);
}
