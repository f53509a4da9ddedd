// The state of the view: what a reader has chosen to see.

/** @import { Graph } from "./graph.mjs" */
/** @import { State } from "./types.d.mts" */

/** @param {Graph} graph @returns {State} */
export function openingState(graph) {
  return {
    selected: null,
    open: [],
    share: graph.openingShare(),
    rooted: true,
    hidden: [],
    layers: null,
    heads: [],
    tokens: [],
    query: "",
    pins: [],
    groups: [],
    compact: false,
  };
}
