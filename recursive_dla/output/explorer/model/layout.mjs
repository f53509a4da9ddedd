// Where everything stands: tokens along x, layers upwards.

import geometry from "../geometry.json" with { type: "json" };

/** @import { Graph } from "./graph.mjs" */
/** @import { Group, GraphNode, Positions } from "./types.d.mts" */
/** @import { Groups } from "./groups.mjs" */

/**
 * `lanes` are the middles of its lanes.
 *
 * @typedef {{ layer: number, top: number, height: number, middle: number, lanes: number[], empty: boolean }} Row
 */
/**
 * Nodes that share a token, a layer and a lane.
 *
 * @typedef {{ pos: number, layer: number, lane: number, nodes: GraphNode[] }} Cell
 */

export const PITCH = 22; // between the centres of neighbours in one cell
const COLUMN_GAP = 14;
const LANE_GAP = 4;
const ROW_GAP = 12;
const SLIVER = 8; // what is left of an empty column or row in a compact layout

// Within a layer, from below. An edge thus always runs upwards.
const LANES = geometry.lanes;
const LANE_COUNT = Object.keys(LANES).length;

/** @param {GraphNode} node */
function laneOf(node) {
  if (node.kind === "mlp") return LANES.mlp;
  if (node.kind === "head") return LANES.attention;
  const readers = node.outputs.map((edge) => edge.target).filter(({ layer }) => layer === node.layer);
  if (!readers.length) return LANES.attention;
  return readers.every(({ kind }) => kind === "mlp") ? LANES.read_by_mlp : LANES.read_by_attention;
}

/** How many of `count` nodes stand side by side before a cell starts a line. @param {number} count */
function lineLength(count) {
  return Math.min(count, Math.max(4, Math.ceil(Math.sqrt(2 * count))));
}

export class Layout {
  /**
   * @param {Graph} graph
   * @param {GraphNode[]} nodes Those that get room of their own.
   * @param {boolean} compact Whether nothing else does.
   */
  constructor(graph, nodes, compact) {
    this.x = new Float32Array(graph.nodes.length);
    this.y = new Float32Array(graph.nodes.length);
    this.graph = graph;

    /** @type {Map<string, Cell>} */
    const byPlace = new Map();
    for (const node of [...nodes].sort(inCellOrder)) {
      const { pos, layer } = node;
      const lane = laneOf(node);
      const key = `${pos},${layer},${lane}`;
      const cell = byPlace.get(key);
      if (cell) cell.nodes.push(node);
      else byPlace.set(key, { pos, layer, lane, nodes: [node] });
    }
    const cells = [...byPlace.values()];
    this.columns = placeColumns(graph, cells, compact);
    this.rows = placeRows(graph, cells, compact);
    for (const cell of cells) this.fill(cell);

    const last = this.columns.at(-1);
    this.width = last ? last.start + last.width : 1;
    this.height = this.rows.length ? this.rows[0].top + this.rows[0].height : 1;
  }

  /** @param {Cell} cell */
  fill({ pos, layer, lane, nodes }) {
    const column = this.columns[pos];
    const row = this.rows[layer - this.graph.lowest];
    const length = lineLength(nodes.length);
    const lines = Math.ceil(nodes.length / length);
    nodes.forEach((node, i) => {
      const line = Math.floor(i / length);
      const inLine = Math.min(length, nodes.length - line * length);
      this.x[node.index] = column.middle + (i - line * length - (inLine - 1) / 2) * PITCH;
      this.y[node.index] = row.lanes[lane] + (line - (lines - 1) / 2) * PITCH;
    });
  }

  /** A group stands in the middle of its members. @param {Group} group */
  placeGroup(group) {
    const mean = (/** @type {Float32Array} */ values) =>
      group.members.reduce((sum, member) => sum + values[member.index], 0) / group.members.length;
    return [mean(this.x), mean(this.y)];
  }

  /** Positions for nodes and groups alike. @param {Groups} groups @returns {Positions} */
  withGroups(groups) {
    const count = this.graph.nodes.length + groups.items.length;
    const x = new Float32Array(count);
    const y = new Float32Array(count);
    x.set(this.x);
    y.set(this.y);
    for (const item of groups.items) [x[item.index], y[item.index]] = this.placeGroup(item);
    return { x, y };
  }
}

/** @param {GraphNode} a @param {GraphNode} b */
function inCellOrder(a, b) {
  return (a.head ?? Infinity) - (b.head ?? Infinity) || a.index - b.index;
}

/** @param {Graph} graph @param {Cell[]} cells @param {boolean} compact */
function placeColumns(graph, cells, compact) {
  /** @type {number[]} */
  const needed = new Array(graph.tokens.length).fill(0);
  for (const { pos, nodes } of cells) {
    needed[pos] = Math.max(needed[pos], lineLength(nodes.length));
  }
  let start = 0;
  return needed.map((count, pos) => {
    const empty = compact && !count;
    const width = empty ? SLIVER : Math.max(count, 1) * PITCH + COLUMN_GAP;
    const column = { pos, start, width, middle: start + width / 2, empty };
    start += width;
    return column;
  });
}

/** @param {Graph} graph @param {Cell[]} cells @param {boolean} compact */
function placeRows(graph, cells, compact) {
  const count = graph.highest - graph.lowest + 1;
  /** @type {number[][]} */
  const lines = Array.from({ length: count }, () => new Array(LANE_COUNT).fill(0));
  for (const { layer, lane, nodes } of cells) {
    const needed = lines[layer - graph.lowest];
    needed[lane] = Math.max(needed[lane], Math.ceil(nodes.length / lineLength(nodes.length)));
  }
  // Filled from the top down, so that the lowest layer ends up lowest.
  /** @type {Row[]} */
  const rows = new Array(count);
  let top = 0;
  for (let i = count - 1; i >= 0; i--) {
    const empty = !lines[i].some(Boolean);
    /** @type {number[]} */
    const lanes = [];
    let y = top + ROW_GAP / 2;
    for (let lane = LANE_COUNT - 1; lane >= 0; lane--) {
      const height = lines[i][lane] ? lines[i][lane] * PITCH + LANE_GAP : 0;
      lanes[lane] = y + height / 2;
      y += height;
    }
    const height = empty ? (compact ? SLIVER : PITCH) : y + ROW_GAP / 2 - top;
    rows[i] = { layer: graph.lowest + i, top, height, middle: top + height / 2, lanes, empty };
    top += height;
  }
  return rows;
}
