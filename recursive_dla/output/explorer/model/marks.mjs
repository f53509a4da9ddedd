// How one node looks: its shape by kind, its size by attribution.

import geometry from "../geometry.json" with { type: "json" };
import { isGroup } from "./groups.mjs";

/** @import { Graph } from "./graph.mjs" */
/** @import { Item, Member } from "./types.d.mts" */

// Radii in pixels.
const SMALLEST = 3.6;
const LARGEST = geometry.largest_radius_px;
const GROUP_SIZE = 14;

// Outlines around the origin, of about the same area as a unit circle.
/** @type {Record<string, string>} */
const OUTLINES = {
  head: "M1,0A1,1 0 1 1 -1,0A1,1 0 1 1 1,0Z",
  mlp: "M-.6,-.9H.6A.3,.3 0 0 1 .9,-.6V.6A.3,.3 0 0 1 .6,.9H-.6A.3,.3 0 0 1 -.9,.6V-.6A.3,.3 0 0 1 -.6,-.9Z",
  embed: "M0,-1.15L1.15,.85H-1.15Z",
  pos_embed: "M0,1.15L1.15,-.85H-1.15Z",
  bias: "M0,-1.2L1.2,0L0,1.2L-1.2,0Z",
  remainder: "M0,-1.2L.35,-.35L1.2,0L.35,.35L0,1.2L-.35,.35L-1.2,0L-.35,-.35Z",
  logit: "M-1.1,0L-.55,-.98H.55L1.1,0L.55,.98H-.55Z",
  group: "M-.9,-.75H.9A.4,.4 0 0 1 1.3,-.35V.35A.4,.4 0 0 1 .9,.75H-.9A.4,.4 0 0 1 -1.3,.35V-.35A.4,.4 0 0 1 -.9,-.75Z",
};
const OTHER_OUTLINE = "M0,-1.1L1.05,-.34L.65,.89H-.65L-1.05,-.34Z";

/** @param {string} kind */
export function outlineOf(kind) {
  return Object.hasOwn(OUTLINES, kind) ? OUTLINES[kind] : OTHER_OUTLINE;
}

/**
 * The strength of an item from 0 to 1; small ones are set apart by the square root.
 *
 * @param {Item | Member} item
 * @param {Graph} graph
 */
export function strengthOf(item, graph) {
  return Math.sqrt(Math.min(1, Math.abs(item.attribution) / graph.largest));
}

/** The radius of an item where marks are drawn at their natural size. @param {Item} item @param {Graph} graph */
export function radiusOf(item, graph) {
  return isGroup(item) ? GROUP_SIZE : SMALLEST + (LARGEST - SMALLEST) * strengthOf(item, graph);
}
