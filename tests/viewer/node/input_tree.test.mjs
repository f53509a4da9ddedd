import assert from "node:assert/strict";
import { test } from "node:test";

import { edge, graphDocument, names, node, tiny } from "./graphs.mjs";
import { Graph, treeRows, unfoldedNodes } from "./model.mjs";

const graph = tiny();

function rows(id, open = [], limits = new Map()) {
  return treeRows(graph.node(id), open, limits);
}

test("the inputs of a node add up to it, with the rest that was cut", () => {
  const found = rows("logit@3");
  assert.deepEqual(found.map(({ type, path, flow }) => [type, path, flow]), [
    ["input", "L1H0@3", 7], ["input", "L1MLP@3", 4], ["input", "L0MLP@3", -2], ["rest", "+rest", 1],
  ]);
  assert.deepEqual(found.map(({ depth, place, size }) => [depth, place, size]), [[1, 1, 4], [1, 2, 4], [1, 3, 4], [1, 4, 4]]);
});

test("a deeper row shows what flows along its path", () => {
  const found = rows("logit@3", ["L1MLP@3", "L1MLP@3/L0MLP@3", "L0MLP@3"]);
  const flow = Object.fromEntries(found.map((row) => [row.path, row.flow]));
  // L1MLP@3 hands 4 of 4 on; L0MLP@3 is -1, of which 1 goes into L1MLP@3 and -2 to the logit.
  assert.equal(flow["L1MLP@3/embed@3"], 3);
  assert.equal(flow["L1MLP@3/L0MLP@3"], 1);
  assert.equal(flow["L1MLP@3/L0MLP@3/embed@3"], 0.75);
  assert.equal(flow["L1MLP@3/L0MLP@3+rest"], 0.25);
  assert.equal(flow["L0MLP@3/embed@3"], -1.5);
  assert.equal(flow["L0MLP@3+rest"], -0.5);
  const depths = Object.fromEntries(found.map((row) => [row.path, row.depth]));
  assert.deepEqual([depths["L1MLP@3"], depths["L1MLP@3/L0MLP@3/embed@3"]], [1, 3]);
});

test("below a node whose inputs cancel, flows are marked as approximate", () => {
  const found = rows("L1H0@3", ["L0H2@2", "L0MLP@0"]);
  const approximate = found.filter((row) => row.approximate).map(({ path }) => path);
  assert.deepEqual(approximate, ["L0H2@2/embed@2", "L0H2@2/embed@1"]);
});

test("only what has inputs can be unfolded", () => {
  const found = rows("L1MLP@3", ["embed@3"]);
  assert.deepEqual(found.map(({ path, expandable, expanded }) => [path, expandable, expanded]), [
    ["embed@3", false, false], ["L0MLP@3", true, false],
  ]);
});

test("long lists are cut, but not what is unfolded", () => {
  const sources = Array.from({ length: 20 }, (_, i) => node(`L0H${i}@0`, 20 - i, { rest_in: 1 }));
  const long = new Graph(graphDocument(
    [...sources, node("logit@0", 210)], sources.map(({ id, attribution }) => edge(id, "logit@0", attribution)), ["x"],
  ));
  const cut = treeRows(long.node("logit@0"), [], new Map());
  assert.equal(cut.length, 13);
  const { type, left, flow, limit, parent, place, size } = cut[12];
  assert.deepEqual([type, left, flow, limit, parent, place, size], ["more", 8, 36, 12, "", 13, 13]);
  const open = treeRows(long.node("logit@0"), ["L0H19@0"], new Map());
  assert.deepEqual([open[12].path, open[13].path, open[14].left], ["L0H19@0", "L0H19@0+rest", 7]);
  assert.equal(treeRows(long.node("logit@0"), [], new Map([["", 62]])).length, 20);
});

test("the unfolded nodes are those of whole paths", () => {
  const unfolded = (open) => names(unfoldedNodes(graph.node("logit@3"), open));
  assert.deepEqual(unfolded(["L1MLP@3", "L1MLP@3/L0MLP@3"]), ["L1MLP@3", "L0MLP@3"]);
  assert.deepEqual(unfolded(["L1MLP@3/L0MLP@3"]), [], "a folded row hides what is below");
  assert.deepEqual(unfolded(["embed@0", "nobody@1"]), [], "these are no inputs");
});
