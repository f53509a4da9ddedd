// The rings around items.

import { allDrawnFor } from "./groups.mjs";

/** @import { Snapshot } from "./snapshot.mjs" */
/** @import { Item, RingStyle } from "./types.d.mts" */

const MOST_MATCHES = 400;

/**
 * What is ringed, and how: what lies on top comes last.
 *
 * @param {Snapshot} snapshot
 * @param {Item | null} cursor
 * @returns {[Item, RingStyle][]}
 */
export function ringsOf({ found, graph, groups, selected, shown, state }, cursor) {
  const unfolded = groups.items.filter((group) => !group.folded);
  const matches = found.filter((node) => shown.mask[node.index] && groups.standIn(node) === node);
  const ringed = (/** @type {Item[]} */ items, /** @type {RingStyle} */ style) =>
    items.map((item) => /** @type {[Item, RingStyle]} */ ([item, style]));
  return [
    // Beyond some number rings tell nothing any more.
    ...ringed(matches.slice(0, MOST_MATCHES), "match"),
    ...ringed(unfolded.flatMap((group) => group.members), "member"),
    ...ringed(state.pins.map((id) => graph.node(id)), "pinned"),
    ...ringed(selected ? allDrawnFor(selected, groups) : [], "selected"),
    ...ringed(cursor ? [cursor] : [], "cursor"),
  ];
}
