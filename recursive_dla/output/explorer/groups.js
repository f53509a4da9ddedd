// Groups of pinned nodes, each seen as one node.

/**
 * The groups of a state as items that can be drawn and walked like nodes:
 * inputs and outputs are summed over the members, and flow from one member to
 * another (`inner`) is neither.
 */
class Groups {
  constructor(graph, groups) {
    this.items = groups.map((group, i) => groupItem(graph, group, graph.nodes.length + i));
    this.byKey = new Map(this.items.map((item) => [item.key, item]));
    this.owners = new Array(graph.nodes.length).fill(null);
    for (const item of this.items) {
      for (const member of item.members) this.owners[member.index] = item;
    }
  }

  /** What stands for `node` in the drawing: itself, or its folded group. */
  standIn(node) {
    const group = this.owners[node.index];
    return group?.folded ? group : node;
  }

  get folded() {
    return this.items.filter((item) => item.folded);
  }
}

function groupItem(graph, group, index) {
  const members = group.members.map((id) => graph.byId.get(id));
  const inside = new Set(members);
  const sum = (property) => members.reduce((total, member) => total + member[property], 0);
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
  };
  item.inputs = summed(members, "inputs", "source", inside, (other, weight) => ({
    source: other, target: item, weight,
  }));
  item.outputs = summed(members, "outputs", "target", inside, (other, weight) => ({
    source: item, target: other, weight,
  }));
  for (const member of members) {
    for (const edge of member.inputs) if (inside.has(edge.source)) item.inner += edge.weight;
  }
  return item;
}

function summed(members, direction, end, inside, build) {
  const totals = new Map();
  for (const member of members) {
    for (const edge of member[direction]) {
      const other = edge[end];
      if (!inside.has(other)) totals.set(other, (totals.get(other) ?? 0) + edge.weight);
    }
  }
  return [...totals]
    .map(([other, weight]) => build(other, weight))
    .sort(byWeight);
}

/** Whether an item is a group of pins, rather than a node; a document may have nodes of kind "group" too. */
function isPinnedGroup(item) {
  return item.members !== undefined;
}

/** How text names an item: a node by its id less the position, a group by its name. */
function itemName(item) {
  if (isPinnedGroup(item)) return showProse(item.name);
  const end = `@${item.pos}`;
  return showProse(item.id.endsWith(end) ? item.id.slice(0, -end.length) : item.component);
}
