// Nodes and tokens in the midst of text.

import { isGroup, itemName } from "../model/groups.mjs";
import { outlineOf, strengthOf } from "../model/marks.mjs";
import { shorten, showCount } from "../model/text.mjs";
import { make, makeSvg } from "./dom.mjs";

/** @import { Graph } from "../model/graph.mjs" */
/** @import { Item, Member } from "../model/types.d.mts" */

const BOX = { viewBox: "-1.4 -1.4 2.8 2.8", "aria-hidden": "true" };

/** The mark of a node as it is drawn; its colours follow the theme. @param {Item | Member} item @param {Graph} graph */
export function markIcon(item, graph) {
  const shape = makeSvg("path", { d: outlineOf(item.kind) });
  shape.style.setProperty("--strength", `${Math.round(100 * strengthOf(item, graph))}%`);
  shape.classList.add(item.attribution < 0 ? "is-negative" : "is-positive");
  return makeSvg("svg", { class: "mark", ...BOX }, shape);
}

/** The shape of a kind. @param {string} kind */
export function kindIcon(kind) {
  return makeSvg("svg", { class: "mark mark--plain", ...BOX }, makeSvg("path", { d: outlineOf(kind) }));
}

/** A token as a chip; its text is isolated from the direction around it. @param {number} pos @param {Graph} graph */
export function tokenChip(pos, graph) {
  return make("span", { class: "chip-token" }, tokenText(pos, graph, 24));
}

/** What is in a chip. @param {number} pos @param {Graph} graph @param {number} limit */
export function tokenText(pos, graph, limit) {
  return [make("bdi", {}, shorten(graph.token(pos), limit)), make("span", { class: "chip-token__pos" }, `${pos}`)];
}

/** An item in words, for screen readers. @param {Item} item @param {Graph} graph */
export function itemLabel(item, graph) {
  if (isGroup(item)) return `${itemName(item)}, group of ${showCount(item.members.length, "node")}`;
  return `${itemName(item)}, token ${item.pos} ${graph.token(item.pos)}`;
}
