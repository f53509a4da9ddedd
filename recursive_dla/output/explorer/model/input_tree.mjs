// The inputs of an item, each unfolding into its own inputs.

import { pathIds, pathKey } from "./fragment.mjs";

/** @import { GraphNode, Item } from "./types.d.mts" */

/**
 * One row. Its `type` says of what: an input, what is cut off a long list, or the rest that pruning cut.
 *
 * @typedef {{
 *   path: string, flow: number, approximate: boolean, depth: number, place: number, size: number,
 * } & (InputRow | MoreRow | RestRow)} TreeRow
 * @typedef {{ type: "input", item: GraphNode, expandable: boolean, expanded: boolean }} InputRow
 * @typedef {{ type: "more", parent: string, left: number, limit: number }} MoreRow
 * @typedef {{ type: "rest" }} RestRow
 */

// Below this share of the inputs it is made of, an attribution counts as
// nearly zero, and flows scaled by it as approximate.
const NEARLY_ZERO = 0.01;
const TREE_LIMIT = 12;

/** Whether the inputs of an item nearly cancel. @param {Item} item */
function cancels(item) {
  const gross = item.inputs.reduce((sum, edge) => sum + Math.abs(edge.weight), Math.abs(item.restIn));
  return Math.abs(item.attribution) < NEARLY_ZERO * gross;
}

/**
 * The rows of the tree under `root`, as a flat list. A row's flow is what
 * reaches the root along its path: each step down takes the share of the edge
 * in the attribution of the node above it.
 *
 * @param {Item} root
 * @param {string[]} open Paths of the unfolded rows.
 * @param {Map<string, number>} limits How many inputs are listed below a path, where a reader asked for more.
 */
export function treeRows(root, open, limits) {
  const unfolded = new Set(open);
  /** @type {TreeRow[]} */
  const rows = [];
  /**
   * @param {Item} item
   * @param {string[]} ids
   * @param {number} scale
   * @param {boolean} approximate
   */
  const visit = (item, ids, scale, approximate) => {
    const parent = pathKey(ids);
    const limit = limits.get(parent) ?? TREE_LIMIT;
    const depth = ids.length + 1;
    const inputs = item.inputs.map(({ source, weight }) => ({ source, weight, path: pathKey([...ids, source.id]) }));
    // An unfolded row stays, however far down the list.
    const isListed = inputs.map(({ path }, i) => i < limit || unfolded.has(path));
    const listed = inputs.filter((_, i) => isListed[i]);
    const left = inputs.length - listed.length;
    const size = listed.length + (left > 0 ? 1 : 0) + (item.restIn !== 0 ? 1 : 0);
    let place = 0;
    for (const { source, weight, path } of listed) {
      const flow = weight * scale;
      const expandable = source.inputs.length > 0 || source.restIn !== 0;
      const expanded = expandable && unfolded.has(path);
      place += 1;
      rows.push({
        type: "input", item: source, path, flow, approximate, expandable, expanded, depth, place, size,
      });
      if (expanded) {
        visit(source, [...ids, source.id], flow / source.attribution, approximate || cancels(source));
      }
    }
    if (left > 0) {
      const hidden = inputs.filter((_, i) => !isListed[i]);
      const flow = scale * hidden.reduce((sum, { weight }) => sum + weight, 0);
      place += 1;
      rows.push({ type: "more", parent, left, limit, path: `${parent}+more`, flow, approximate, depth, place, size });
    }
    if (item.restIn !== 0) {
      place += 1;
      rows.push({ type: "rest", path: `${parent}+rest`, flow: item.restIn * scale, approximate, depth, place, size });
    }
  };
  visit(root, [], 1, false);
  return rows;
}

/** The nodes whose inputs the tree under `root` shows. @param {Item} root @param {string[]} open */
export function unfoldedNodes(root, open) {
  const unfolded = new Set(open);
  return open.flatMap((path) => {
    const steps = path.split("/");
    if (!steps.every((_, i) => unfolded.has(steps.slice(0, i + 1).join("/")))) return [];
    /** @type {Item} */
    let item = root;
    /** @type {GraphNode[]} */
    let found = [];
    for (const id of pathIds(path)) {
      const source = item.inputs.find((edge) => edge.source.id === id)?.source;
      if (!source) return [];
      item = source;
      found = [source];
    }
    return found;
  });
}
