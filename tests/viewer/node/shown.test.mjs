import assert from "node:assert/strict";
import { test } from "node:test";

import { flows, names, tiny } from "./graphs.mjs";
import { Groups, Kept, Shown } from "./model.mjs";

const graph = tiny();
const ALL = { share: 1, rooted: true, hidden: [], layers: null, heads: [], tokens: [] };

function shown(settings = {}, { picked = [], groups = [] } = {}) {
  return new Shown(new Kept(graph, { ...ALL, ...settings }, picked), new Groups(graph, groups));
}

function sorted(items) {
  return names(items).sort();
}

test("everything is shown, strongest first", () => {
  const { items, edges, edgeCount, threshold, heaviest, leadingEdges, leadingNodes } = shown();
  assert.deepEqual(names(items), names(graph.byStrength));
  assert.equal(edges, edges && edges.length === 14 && edges);
  assert.deepEqual([edgeCount, threshold, heaviest, leadingEdges, leadingNodes], [14, 0.01, 7, 14, 11]);
});

test("a share shows the strongest edges and what they lead from", () => {
  const half = shown({ share: 0.5 });
  assert.deepEqual(flows(half.edges), {
    "L1H0@3 > logit@3": 7, "embed@0 > L0MLP@0": 5, "L0MLP@0 > L1H0@3": 5, "L1MLP@3 > logit@3": 4,
  });
  assert.deepEqual(sorted(half.items), ["L0MLP@0", "L1H0@3", "L1MLP@3", "embed@0", "logit@3"]);
  assert.equal(half.threshold, 4);
  assert.deepEqual(names(shown({ share: 0 }).items), ["logit@3"]);
});

test("what leads to no logit is shown on request", () => {
  const share = 0.7; // the seven strongest edges; those of L0H2@2 lead nowhere
  assert.deepEqual(sorted(shown({ share }).items), ["L0MLP@0", "L1H0@3", "L1MLP@3", "embed@0", "embed@3", "logit@3"]);
  const loose = shown({ share, rooted: false });
  assert.equal(loose.edgeCount, 6);
  assert.ok(names(loose.items).includes("L0H2@2"));
  assert.ok(!names(loose.items).includes("L0H1@1"), "it has none of these edges");
  assert.deepEqual([loose.leadingEdges, loose.leadingNodes], [5, 6]);
});

test("filters take out kinds, layers, heads and tokens", () => {
  assert.deepEqual(sorted(shown({ hidden: ["embed", "mlp"] }).items), ["L0H1@1", "L0H2@2", "L1H0@3", "logit@3"]);
  assert.deepEqual(flows(shown({ hidden: ["embed", "mlp"] }).edges), {
    "L1H0@3 > logit@3": 7, "L0H1@1 > L1H0@3": -1, "L0H2@2 > L1H0@3": 0.01,
  });
  assert.deepEqual(sorted(shown({ layers: [0, 1] }).items), [
    "L0H1@1", "L0H2@2", "L0MLP@0", "L0MLP@3", "L1H0@3", "L1MLP@3",
  ]);
  const heads = names(shown({ heads: [2] }).items);
  assert.ok(heads.includes("L0H2@2") && heads.includes("L0MLP@3") && !heads.includes("L1H0@3"));
  assert.deepEqual(sorted(shown({ tokens: [0, 1] }).items), ["L0H1@1", "L0MLP@0", "embed@0", "embed@1"]);
});

test("what is picked stays, with its edges to what is shown", () => {
  const some = shown({ hidden: ["mlp"], share: 0.99 }, { picked: ["L0MLP@0"] });
  assert.ok(names(some.items).includes("L0MLP@0"));
  assert.equal(flows(some.edges)["L0MLP@0 > L1H0@3"], 5);
  // All edges but the one that leads on from this head, so that those into it lead nowhere.
  const stray = shown({ share: 38.23 / 38.24 }, { picked: ["L0H2@2"] });
  assert.ok(names(stray.items).includes("L0H2@2"));
  assert.ok(!Object.keys(flows(stray.edges)).includes("embed@2 > L0H2@2"));
});

test("a folded group stands for its members", () => {
  const groups = [{ key: 1, name: "two", members: ["L0MLP@0", "L0H1@1"], folded: true }];
  const { items, edges, edgeCount, nodes } = shown({}, { groups });
  assert.deepEqual(names(items.slice(0, 4)), ["logit@3", "L1H0@3", "embed@2", "embed@0"]);
  assert.ok(names(items).includes("two") && !names(items).includes("L0MLP@0"));
  assert.equal(nodes.length, 11, "members are counted as nodes still");
  const flow = flows(edges);
  assert.deepEqual([flow["two > L1H0@3"], flow["embed@0 > two"], flow["embed@1 > two"]], [4, 5, -1]);
  assert.deepEqual([edges.length, edgeCount], [13, 14]);
  const weights = edges.map(({ weight }) => Math.abs(weight));
  assert.deepEqual(weights, [...weights].sort((a, b) => b - a));
});

test("flow within a folded group is not drawn, and an unfolded one changes nothing", () => {
  const members = ["L1H0@3", "logit@3"];
  const { edges } = shown({}, { groups: [{ key: 1, name: "g", members, folded: true }] });
  assert.ok(!Object.keys(flows(edges)).includes("g > g"));
  assert.equal(edges.length, 13);
  const unfolded = shown({}, { groups: [{ key: 1, name: "g", members, folded: false }] });
  assert.deepEqual(flows(unfolded.edges), flows(graph.edges));
});
