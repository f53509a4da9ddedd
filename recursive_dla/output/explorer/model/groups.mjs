// Groups of pinned nodes, each seen as one node.

import { byWeight } from "./graph.mjs";
import { showProse } from "./text.mjs";

/** @import { Graph } from "./graph.mjs" */
/** @import { Edge, Group, GroupState, GraphNode, Item, Member } from "./types.d.mts" */

/** The groups of a state as items that can be drawn and walked like nodes. */
export class Groups {
  /** @param {Graph} graph @param {GroupState[]} groups */
  constructor(graph, groups) {
    this.items = groups.map((group, i) => groupItem(graph, group, graph.nodes.length + i));
    this.byKey = new Map(this.items.map((item) => [item.key, item]));
    /** @type {(Group | null)[]} */
    this.owners = new Array(graph.nodes.length).fill(null);
    for (const item of this.items) {
      for (const member of item.members) this.owners[member.index] = item;
    }
  }

  /** What stands for `node` in the drawing: itself, or its folded group. @param {GraphNode} node @returns {Item} */
  standIn(node) {
    const group = this.owners[node.index];
    return group?.folded ? group : node;
  }

  get folded() {
    return this.items.filter((item) => item.folded);
  }
}

/**
 * Inputs and outputs are summed over the members, and flow from one member to another (`inner`) is neither.
 *
 * @param {Graph} graph
 * @param {GroupState} group
 * @param {number} index
 */
function groupItem(graph, group, index) {
  const members = group.members.map((id) => graph.node(id));
  const inside = new Set(members);
  const sum = (/** @type {"attribution" | "restIn" | "restOut"} */ property) =>
    members.reduce((total, member) => total + member[property], 0);
  /** @type {Group} */
  const item = {
    index,
    key: group.key,
    kind: "group",
    name: group.name,
    folded: group.folded,
    members,
    attribution: sum("attribution"),
    restIn: sum("restIn"),
    restOut: sum("restOut"),
    inner: 0,
    inputs: [],
    outputs: [],
  };
  /** @type {Map<GraphNode, number>} */
  const read = new Map();
  /** @type {Map<GraphNode, number>} */
  const written = new Map();
  for (const member of members) {
    for (const { source, weight } of member.inputs) {
      if (inside.has(source)) item.inner += weight;
      else read.set(source, (read.get(source) ?? 0) + weight);
    }
    for (const { target, weight } of member.outputs) {
      if (!inside.has(target)) written.set(target, (written.get(target) ?? 0) + weight);
    }
  }
  item.inputs = [...read].map(([source, weight]) => ({ source, target: item, weight })).sort(byWeight);
  item.outputs = [...written].map(([target, weight]) => ({ source: item, target, weight })).sort(byWeight);
  return item;
}

/**
 * Whether an item is a group of pins, rather than a node; a document may have nodes of kind "group" too.
 *
 * @param {Item | Member} item
 * @returns {item is Group}
 */
export function isGroup(item) {
  return "members" in item;
}

/** @param {Item | Edge} thing @returns {thing is Edge} */
export function isEdge(thing) {
  return "source" in thing;
}

/** How text names an item: a node by its id less the position, a group by its name. @param {Item | Member} item */
export function itemName(item) {
  if (isGroup(item)) return showProse(item.name);
  const end = `@${item.pos}`;
  return showProse(item.id.endsWith(end) ? item.id.slice(0, -end.length) : item.component);
}

/** What stays the same when an item is built anew from the state. @param {Item} item */
export function itemKey(item) {
  return isGroup(item) ? `group ${item.key}` : item.index;
}

/**
 * What is drawn for an item: itself, the folded group it is in, or a member of the unfolded group it is.
 *
 * @param {Item} item
 * @param {Groups} groups
 */
export function drawnFor(item, groups) {
  if (!isGroup(item)) return groups.standIn(item);
  return item.folded ? item : item.members[0];
}

/** All that is drawn for an item: of an unfolded group all members. @param {Item} item @param {Groups} groups */
export function allDrawnFor(item, groups) {
  return isGroup(item) && !item.folded ? item.members : [drawnFor(item, groups)];
}
