import assert from "node:assert/strict";
import { test } from "node:test";

import { flows, names, tiny } from "./graphs.mjs";
import { Groups, allDrawnFor, drawnFor, focusOn, isEdge, isGroup, itemKey, itemName, Kept, Shown } from "./model.mjs";

const graph = tiny();
const MEMBERS = ["L0MLP@3", "L1MLP@3", "L0MLP@0"];

function grouped(folded, members = MEMBERS) {
  const groups = new Groups(graph, [{ key: 4, name: "some\nMLPs", members, folded }]);
  return { groups, group: groups.items[0] };
}

test("a group sums its members, less what flows among them", () => {
  const { group } = grouped(true);
  assert.equal(group.attribution, 8);
  assert.equal(group.restIn, -0.25);
  assert.equal(group.inner, 1);
  assert.deepEqual(flows(group.inputs), {
    "embed@0 > some\nMLPs": 5, "embed@3 > some\nMLPs": 2.25,
  });
  assert.deepEqual(flows(group.outputs), { "some\nMLPs > L1H0@3": 5, "some\nMLPs > logit@3": 2 });
  const inputs = group.inputs.reduce((sum, { weight }) => sum + weight, 0);
  assert.ok(Math.abs(inputs + group.inner + group.restIn - group.attribution) < 1e-9);
  assert.equal(group.index, graph.nodes.length);
});

test("a folded group is drawn for its members, an unfolded one by them", () => {
  const [member, other] = [graph.node("L1MLP@3"), graph.node("L1H0@3")];
  const { groups, group } = grouped(true);
  assert.deepEqual([groups.standIn(member), groups.standIn(other)], [group, other]);
  assert.deepEqual([drawnFor(member, groups), drawnFor(group, groups)], [group, group]);
  assert.deepEqual(allDrawnFor(group, groups), [group]);
  const open = grouped(false);
  assert.equal(open.groups.standIn(member), member);
  assert.equal(drawnFor(open.group, open.groups), graph.node("L0MLP@3"));
  assert.deepEqual(names(allDrawnFor(open.group, open.groups)), MEMBERS);
  assert.deepEqual(open.groups.folded, []);
});

test("items are told apart and named", () => {
  const { group } = grouped(true);
  const node = graph.node("L0MLP@3");
  assert.deepEqual([group, node].map(isGroup), [true, false]);
  assert.deepEqual([group, node, graph.edges[0]].map(isEdge), [false, false, true]);
  assert.deepEqual([group, node, { ...node, id: "odd" }].map(itemName), ["some⏎MLPs", "L0MLP", "L0MLP"]);
  assert.deepEqual([group, node].map(itemKey), ["group 4", node.index]);
});

test("the focus is what the selected item reads and writes, and what is unfolded reads", () => {
  const { groups } = grouped(false, []);
  const settings = { share: 1, rooted: true, hidden: [], layers: null, heads: [], tokens: [] };
  const shown = new Shown(new Kept(graph, settings, []), groups);
  const closed = focusOn(graph.node("L1MLP@3"), [], groups, shown);
  assert.deepEqual(names([...closed.items]).sort(), ["L0MLP@3", "L1MLP@3", "embed@3", "logit@3"]);
  const open = focusOn(graph.node("L1MLP@3"), ["L0MLP@3"], groups, shown);
  assert.deepEqual(flows(open.edges), { ...flows(closed.edges), "embed@3 > L0MLP@3": -0.75 });
});
