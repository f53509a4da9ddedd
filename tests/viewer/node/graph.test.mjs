import assert from "node:assert/strict";
import { test } from "node:test";

import { edge, flows, graphDocument, names, node, tiny } from "./graphs.mjs";
import { Graph, SearchIndex, kindName, pinnedSubgraph } from "./model.mjs";

test("edges stand in order of strength, in the graph and at every node", () => {
  const graph = tiny();
  assert.deepEqual(graph.edges.map(({ weight }) => weight), [7, 5, 5, 4, 3, 3, -2.99, 2.49, -2, -1, -1, 1, -0.75, 0.01]);
  assert.deepEqual(graph.edges.map(({ index }) => index), [...graph.edges.keys()]);
  assert.deepEqual(flows(graph.node("L1H0@3").inputs), {
    "L0MLP@0 > L1H0@3": 5, "embed@2 > L1H0@3": 2.49, "L0H1@1 > L1H0@3": -1, "L0H2@2 > L1H0@3": 0.01,
  });
  assert.deepEqual(Object.keys(flows(graph.node("L0MLP@3").outputs)), ["L0MLP@3 > logit@3", "L0MLP@3 > L1MLP@3"]);
  assert.deepEqual(names(graph.byStrength.slice(0, 3)), ["logit@3", "L1H0@3", "embed@2"]);
  assert.equal(graph.heaviest, 7);
  assert.equal(graph.largest, 7, "the root's own value would dwarf all else");
});

test("a share of all weight is held by the fewest edges that have it", () => {
  const graph = tiny();
  assert.equal(graph.strengthUpTo.at(-1).toFixed(2), "38.24");
  const half = 21 / graph.strengthUpTo.at(-1);
  assert.equal(graph.countHolding(half), 4);
  assert.equal(graph.countHolding(half + 1e-9), 5);
  assert.equal(graph.countHolding(0), 0);
  assert.equal(graph.countHolding(1), 14);
});

test("a large graph opens with its strongest edges", () => {
  assert.equal(tiny().openingShare(), 1);
  const sources = Array.from({ length: 1000 }, (_, i) => node(`L0H${i}@0`, 1));
  const edges = sources.map(({ id }, i) => edge(id, "logit@0", 1 + i / 1e6));
  const graph = new Graph(graphDocument([...sources, node("logit@0", 1000)], edges, ["x"]));
  const count = graph.countHolding(graph.openingShare());
  assert.ok(count >= 600 && count <= 602, `${count}`);
});

test("only what the strongest edges lead from reaches the root", () => {
  const graph = tiny();
  const reaching = (count) => names(graph.nodes.filter(({ index }) => graph.leadingToRoot(count)[index]));
  assert.deepEqual(reaching(0), ["logit@3"]);
  assert.deepEqual(reaching(4), ["embed@0", "L0MLP@0", "L1H0@3", "L1MLP@3", "logit@3"]);
  // The seventh edge leads into L0H2@2, which only the weakest leads out of.
  assert.ok(!reaching(13).includes("L0H2@2"));
  assert.ok(reaching(14).includes("L0H2@2"));
});

test("without a logit, what nothing reads is the root", () => {
  const graph = new Graph(graphDocument([node("embed@0", 2), node("L0MLP@0", 2)], [edge("embed@0", "L0MLP@0", 2)], ["x"]));
  assert.deepEqual(names(graph.roots), ["L0MLP@0"]);
});

test("kinds, layers and tokens are those that occur", () => {
  const graph = new Graph(graphDocument(
    [node("spoon@1", 1), node("embed@0", 1), node("L2H0@2", 1), node("logit@2", 1, { layer: 3 })], [], ["<s>", "\n"],
  ));
  assert.deepEqual([...graph.kinds], [["logit", 1], ["head", 1], ["embed", 1], ["spoon", 1]]);
  assert.deepEqual([graph.lowest, graph.highest], [-1, 3]);
  assert.deepEqual(graph.tokens, ["<s>", "\n", null]);
  assert.deepEqual([graph.token(1), graph.token(2), graph.token(7)], ["⏎", "?", "?"]);
  assert.deepEqual(["head", "attn", "odd\n"].map(kindName), ["Attention head", "attn", "odd⏎"]);
  assert.throws(() => graph.node("nobody@0"), /no node is called nobody@0/);
});

test("a search finds what every word matches, strongest first", () => {
  const index = new SearchIndex(tiny());
  const found = (query) => names(index.find(query));
  assert.deepEqual(found("MLP @3"), ["L1MLP@3", "L0MLP@3"]);
  assert.deepEqual(found("attention"), ["L1H0@3", "L0H1@1", "L0H2@2"]);
  assert.deepEqual(found("·b"), ["embed@1", "L0H1@1"]);
  assert.deepEqual([found(""), found("  "), found("mlp nothing")], [[], [], []]);
});

test("pins as a document keep their sums", () => {
  const graph = tiny();
  const part = pinnedSubgraph(graph, ["L1H0@3"], [{ key: 1, name: "g", members: ["logit@3", "L0MLP@0"], folded: true }]);
  assert.deepEqual(part.nodes.map(({ id }) => id), ["L0MLP@0", "L1H0@3", "logit@3"]);
  assert.deepEqual(part.edges, [edge("L0MLP@0", "L1H0@3", 5), edge("L1H0@3", "logit@3", 7)]);
  for (const { id, attribution, rest_in: rest } of part.nodes) {
    const inputs = part.edges.filter(({ target }) => target === id).reduce((sum, { weight }) => sum + weight, 0);
    assert.ok(Math.abs(inputs + rest - attribution) < 1e-9, id);
  }
  assert.deepEqual(part.nodes[0].rest_out, 0);
  assert.equal(part.metadata.pruning.subgraph, "pinned nodes");
});
