// What belongs to the selected item.

import { allDrawnFor } from "./groups.mjs";
import { unfoldedNodes } from "./input_tree.mjs";

/** @import { Groups } from "./groups.mjs" */
/** @import { Shown } from "./shown.mjs" */
/** @import { Edge, Item } from "./types.d.mts" */

/**
 * The part of the drawing that belongs to the selected item: the edges of what
 * is drawn for it, and the inputs of every node unfolded in its tree.
 *
 * @param {Item} selected
 * @param {string[]} open
 * @param {Groups} groups
 * @param {Shown} shown
 * @returns {{ edges: Edge[], items: Set<Item> }}
 */
export function focusOn(selected, open, groups, shown) {
  /** @type {Set<Item>} */
  const centres = new Set(allDrawnFor(selected, groups));
  const unfolded = unfoldedNodes(selected, open).map((node) => groups.standIn(node));
  const readers = new Set([...centres, ...unfolded]);
  const edges = shown.edges.filter((edge) => centres.has(edge.source) || readers.has(edge.target));
  const items = new Set(centres);
  for (const { source, target } of edges) items.add(source).add(target);
  return { edges, items };
}
