// The tip beside the pointer.

import { isGroup, itemName } from "../model/groups.mjs";
import { showCount, showShare, showSigned, showToken } from "../model/text.mjs";
import { find, make } from "./dom.mjs";
import { tokenChip } from "./icons.mjs";

/** @import { Graph } from "../model/graph.mjs" */
/** @import { Edge, Item } from "../model/types.d.mts" */

/** @param {Item} item @param {Graph} graph */
export function itemTip(item, graph) {
  const rows = [["attribution", showSigned(item.attribution)]];
  const { value } = graph.metadata;
  if (value) rows.push(["share of the value", showShare(item.attribution, value)]);
  if (item.restIn) rows.push(["inputs cut by pruning", showSigned(item.restIn)]);
  if (item.restOut) rows.push(["outputs cut by pruning", showSigned(item.restOut)]);
  rows.push(["inputs, outputs", `${item.inputs.length}, ${item.outputs.length}`]);
  return [itemHeading(item, graph), tipTable(rows)];
}

/** @param {Edge} edge */
export function edgeTip(edge) {
  const name = (/** @type {Item} */ item) => (isGroup(item) ? itemName(item) : showToken(item.id));
  return [
    make("p", { class: "tip__head" }, name(edge.source), " → ", name(edge.target)),
    tipTable([
      ["weight", showSigned(edge.weight)],
      ["share of the target", showShare(edge.weight, edge.target.attribution)],
      ["share of the source", showShare(edge.weight, edge.source.attribution)],
    ]),
  ];
}

/** @param {number} pos @param {Graph} graph */
export function tokenTip(pos, graph) {
  const id = graph.metadata.tokens?.find((token) => token.pos === pos)?.token_id;
  return [
    make("p", { class: "tip__head" }, tokenChip(pos, graph)),
    tipTable([["position", `${pos}`], ...(id === undefined || id === null ? [] : [["token id", `${id}`]])]),
  ];
}

/** @param {Item} item @param {Graph} graph */
function itemHeading(item, graph) {
  return make("p", { class: "tip__head" }, itemName(item), " ",
    isGroup(item) ? showCount(item.members.length, "node") : tokenChip(item.pos, graph));
}

/** @param {string[][]} rows */
function tipTable(rows) {
  return make("dl", {}, rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

/** @param {MouseEvent} event @param {Element[]} content */
export function showTip(event, content) {
  const tip = find("tip");
  const box = find("plot").getBoundingClientRect();
  tip.replaceChildren(...content);
  tip.hidden = false;
  const x = event.clientX - box.left;
  const y = event.clientY - box.top;
  const left = x + 16 + tip.offsetWidth > box.width ? x - tip.offsetWidth - 12 : x + 16;
  const top = Math.min(y + 14, box.height - tip.offsetHeight - 4);
  tip.style.left = `${Math.max(0, left)}px`;
  tip.style.top = `${Math.max(0, top)}px`;
}

export function hideTip() {
  find("tip").hidden = true;
}
