import assert from "node:assert/strict";
import { test } from "node:test";

import { edge, graphDocument, node, tiny } from "./graphs.mjs";
import { Graph, Groups, Layout, PITCH, neighbour, radiusOf } from "./model.mjs";

function places(graph, { nodes = graph.nodes, compact = false } = {}) {
  const layout = new Layout(graph, nodes, compact);
  return { layout, x: (id) => layout.x[graph.node(id).index], y: (id) => layout.y[graph.node(id).index] };
}

test("layers lead upwards and tokens to the right", () => {
  const { layout, x, y } = places(tiny());
  const upwards = ["embed@3", "L0MLP@3", "L1H0@3", "L1MLP@3", "logit@3"].map(y);
  assert.deepEqual(upwards, [...upwards].sort((a, b) => b - a));
  assert.equal(new Set(upwards).size, 5);
  assert.deepEqual(["embed@0", "embed@1", "embed@2", "embed@3"].map(x), layout.columns.map(({ middle }) => middle));
  assert.equal(x("L1H0@3"), x("embed@3"));
  // A layer's rows are as high as what stands in them.
  assert.deepEqual(layout.rows.map(({ layer }) => layer), [-1, 0, 1, 2]);
  assert.deepEqual(layout.rows.map(({ height }) => height), [38, 64, 64, 38]);
  assert.deepEqual([layout.width, layout.height], [4 * (PITCH + 14), 204]);
});

test("within a layer every edge runs upwards", () => {
  const graph = new Graph(graphDocument([
    node("L0.ln1.b@0", 1, { kind: "bias" }), node("L0.ln2.b@0", 1, { kind: "bias" }), node("L0.b_O@0", 1, { kind: "bias" }),
    node("L0H0@0", 1), node("L0MLP@0", 1), node("logit@0", 1, { layer: 1 }),
  ], [
    edge("L0.ln1.b@0", "L0H0@0", 1), edge("L0.ln1.b@0", "L0MLP@0", 1), edge("L0.ln2.b@0", "L0MLP@0", 1),
    edge("L0H0@0", "L0MLP@0", 1), edge("L0MLP@0", "logit@0", 1), edge("L0.b_O@0", "logit@0", 1),
  ], ["x"]));
  const { y } = places(graph);
  for (const { source, target } of graph.edges) assert.ok(y(source.id) > y(target.id), `${source.id} > ${target.id}`);
  assert.equal(y("L0.b_O@0"), y("L0H0@0"), "what nothing of the layer reads stands beside its attention");
  assert.ok(y("L0.ln2.b@0") < y("L0H0@0"), "what only the MLP reads stands between attention and MLP");
});

test("neighbours in a cell stand apart, in lines", () => {
  const heads = Array.from({ length: 9 }, (_, head) => node(`L0H${8 - head}@0`, 1));
  const graph = new Graph(graphDocument(heads, [], ["x"]));
  const { layout, x, y } = places(graph);
  // Nine heads take lines of five and four.
  const lines = [[0, 1, 2, 3, 4], [5, 6, 7, 8]];
  for (const line of lines) {
    const across = line.map((head) => x(`L0H${head}@0`));
    across.slice(1).forEach((right, i) => assert.equal(right - across[i], PITCH));
    assert.equal((across[0] + across.at(-1)) / 2, layout.columns[0].middle);
    assert.equal(new Set(line.map((head) => y(`L0H${head}@0`))).size, 1);
  }
  assert.equal(y("L0H5@0") - y("L0H0@0"), PITCH);
  assert.equal(layout.width, 5 * PITCH + 14);
});

test("a compact layout keeps no room for what is hidden", () => {
  const graph = tiny();
  const nodes = ["logit@3", "L1H0@3"].map((id) => graph.node(id));
  const { layout } = places(graph, { nodes, compact: true });
  assert.deepEqual(layout.columns.map(({ width }) => width), [8, 8, 8, PITCH + 14]);
  assert.deepEqual(layout.rows.map(({ height, empty }) => [height, empty]), [[8, true], [8, true], [38, false], [38, false]]);
});

test("a group stands in the middle of its members", () => {
  const graph = tiny();
  const { layout, x, y } = places(graph);
  const at = layout.withGroups(new Groups(graph, [{ key: 1, name: "g", members: ["embed@0", "logit@3"], folded: true }]));
  assert.equal(at.x[11], (x("embed@0") + x("logit@3")) / 2);
  assert.equal(at.y[11], (y("embed@0") + y("logit@3")) / 2);
  assert.deepEqual([...at.x.slice(0, 11)], [...layout.x]);
});

test("keys walk to the nearest in their direction", () => {
  const graph = tiny();
  const { layout } = places(graph);
  const to = (id, direction) => neighbour(graph.node(id), direction, graph.nodes, layout)?.id;
  assert.equal(to("logit@3", [0, 1]), "L1MLP@3");
  assert.equal(to("L1MLP@3", [0, -1]), "logit@3");
  assert.equal(to("embed@1", [1, 0]), "embed@2");
  assert.equal(to("embed@1", [-1, 0]), "embed@0");
  assert.equal(to("logit@3", [0, -1]), undefined);
});

test("a node is as large as it is strong, and a group is seen", () => {
  const graph = tiny();
  assert.equal(radiusOf(graph.node("L1H0@3"), graph), 13);
  assert.equal(radiusOf(graph.node("logit@3"), graph), 13);
  assert.equal(radiusOf(graph.node("L0MLP@3"), graph), 3.6 + 9.4 * Math.sqrt(1 / 7));
  assert.equal(radiusOf({ members: [] }, graph), 14);
});
