import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { tiny } from "./graphs.mjs";
import { Actions, Groups, StateHistory, openingState } from "./model.mjs";

const graph = tiny();
let now, history, said, actions, changes;

beforeEach(() => {
  now = 0;
  said = [];
  changes = 0;
  history = new StateHistory(openingState(graph), () => now);
  history.subscribe(() => { changes += 1; });
  actions = new Actions(history, (message) => said.push(message));
});

test("steps are undone and redone", () => {
  const opening = history.state;
  history.change({ share: 0.5 });
  history.change({ query: "mlp" });
  assert.equal(opening.share, 1, "states are not changed in place");
  history.undo();
  assert.deepEqual([history.state.share, history.state.query], [0.5, ""]);
  history.undo();
  assert.equal(history.state, opening);
  history.undo();
  assert.equal(history.state, opening);
  history.redo();
  history.redo();
  history.redo();
  assert.deepEqual([history.state.share, history.state.query], [0.5, "mlp"]);
  assert.equal(changes, 6);
});

test("a change forgets what was undone, and no change is no step", () => {
  history.change({ share: 0.5 });
  history.undo();
  history.change({ share: 1, pins: [] });
  assert.deepEqual([history.past.length, history.future.length, changes], [0, 1, 2]);
  history.change({ rooted: false });
  assert.deepEqual([history.past.length, history.future.length], [1, 0]);
});

test("a gesture in quick succession is one step", () => {
  const drag = (share, time) => {
    now = time;
    history.change({ share }, "share");
  };
  drag(0.9, 0);
  drag(0.8, 999);
  drag(0.7, 1900);
  assert.equal(history.past.length, 1);
  drag(0.6, 2900);
  assert.equal(history.past.length, 2, "a pause ends it");
  now = 2901;
  history.change({ query: "m" }, "search");
  assert.equal(history.past.length, 3, "and another gesture does");
  history.undo();
  history.change({ query: "x" }, "search");
  assert.equal(history.past.length, 3, "and undoing does");
});

test("the history has an end", () => {
  for (let i = 1; i <= 400; i++) history.change({ share: 1 / (i + 1) });
  assert.equal(history.past.length, 300);
  for (let i = 0; i < 400; i++) history.undo();
  assert.equal(history.state.share, 1 / 101);
});

test("selecting folds the tree, unless it is selected already", () => {
  actions.select(graph.node("L1H0@3"));
  actions.toggleOpen("L0MLP@0");
  actions.toggleOpen("L0MLP@0/embed@0");
  actions.select(graph.node("L1H0@3"));
  assert.deepEqual(history.state.open, ["L0MLP@0", "L0MLP@0/embed@0"]);
  actions.toggleOpen("L0MLP@0");
  assert.deepEqual(history.state.open, [], "folding takes along what is below");
  actions.select(null);
  assert.equal(history.state.selected, null);
});

test("pins become a group, and its members pins again", () => {
  for (const id of ["embed@0", "embed@1", "embed@2"]) actions.togglePin(graph.node(id));
  actions.select(graph.node("embed@1"));
  assert.equal(actions.group(["embed@1"]), null);
  assert.equal(actions.group(["embed@0", "embed@1"]), 1);
  assert.deepEqual(history.state.groups, [{ key: 1, name: "Group 1", members: ["embed@0", "embed@1"], folded: true }]);
  assert.deepEqual([history.state.pins, history.state.selected], [["embed@2"], null]);
  assert.ok(actions.isPinned(graph.node("embed@0")) && !actions.isPinned(graph.node("embed@3")));
  actions.rename(1, "  both ");
  actions.rename(1, " ");
  actions.fold(1, false);
  assert.deepEqual([history.state.groups[0].name, history.state.groups[0].folded], ["both", false]);
  actions.select(new Groups(graph, history.state.groups).items[0]);
  assert.deepEqual(history.state.selected, { group: 1 });
  actions.ungroup(1);
  assert.deepEqual(history.state.pins, ["embed@2", "embed@0", "embed@1"]);
  assert.deepEqual([history.state.groups, history.state.selected], [[], null]);
  actions.unpinAll();
  assert.deepEqual(history.state.pins, []);
  assert.deepEqual(said, [
    "embed pinned", "embed pinned", "embed pinned", "Pin at least two nodes to group them.",
    "Group 1 made of 2 nodes", "both ungrouped",
  ]);
});

test("a grouped node is unpinned by leaving its group", () => {
  actions.togglePin(graph.node("embed@0"));
  actions.togglePin(graph.node("L0MLP@0"));
  actions.group(["embed@0", "L0MLP@0"]);
  actions.togglePin(graph.node("L0MLP@0"));
  assert.deepEqual(history.state.groups[0].members, ["embed@0"]);
  assert.equal(said.at(-1), "L0MLP unpinned");
  actions.togglePin(graph.node("embed@0"));
  assert.deepEqual(history.state.groups, [], "an empty group is none");
});

test("filters toggle, in order, and are reset as one step", () => {
  for (const head of [10, 9, 2]) actions.toggleHead(head);
  actions.toggleHead(9);
  actions.toggleToken(3);
  actions.toggleKind("mlp");
  actions.toggleKind("embed");
  const { heads, tokens, hidden } = history.state;
  assert.deepEqual([heads, tokens, hidden], [[2, 10], [3], ["embed", "mlp"]]);
  const steps = history.past.length;
  actions.resetFilters();
  assert.deepEqual([history.state.heads, history.state.tokens, history.state.hidden], [[], [], []]);
  assert.equal(history.past.length, steps + 1);
});
