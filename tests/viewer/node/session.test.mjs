import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { names, tinyDocument } from "./graphs.mjs";
import { Session, ringsOf } from "./model.mjs";

let session, told;

function begin(fragment = "") {
  session = new Session(tinyDocument(), fragment, () => {});
  session.camera.resize(900, 600);
  told = [];
  for (const change of ["state", "camera", "cursor", "hover", "theme"]) session.on(change, () => told.push(change));
}

beforeEach(() => begin());

test("a session opens at the strongest node, or with the view of its address", () => {
  assert.equal(session.cursor.id, "logit@3");
  assert.equal(session.fragment(), "");
  begin("#sel=L1H0@3&view=0.2,0.3,2&theme=dark");
  assert.equal(session.view().selected.id, "L1H0@3");
  assert.equal(session.cursor.id, "L1H0@3");
  assert.deepEqual([session.camera.view, session.theme], [{ x: 0.2, y: 0.3, zoom: 2 }, "dark"]);
  assert.equal(session.fragment(), "sel=L1H0@3&view=0.2,0.3,2&theme=dark");
});

test("a view is computed anew only where its causes changed", () => {
  const before = session.view();
  assert.equal(session.view().shown, before.shown);
  session.history.change({ query: "mlp" });
  const searched = session.view();
  assert.equal(searched.shown, before.shown);
  assert.deepEqual(names(searched.found), ["L0MLP@0", "L1MLP@3", "L0MLP@3"]);
  session.history.change({ share: 0.5 });
  assert.notEqual(session.view().shown, before.shown);
  assert.equal(session.view().layout, before.layout);
  session.history.change({ compact: true });
  assert.notEqual(session.view().layout, before.layout);
  assert.equal(session.camera.bounds.width, session.view().layout.width, "the camera follows");
});

test("what changes is told once", () => {
  const node = session.graph.node("L1H0@3");
  session.hover(node);
  session.hover(node);
  session.setTheme("light");
  session.zoom(1.4);
  assert.deepEqual(told.splice(0), ["hover", "theme", "camera"]);
  session.actions.select(node);
  assert.deepEqual(told.splice(0), ["state"]);
  assert.equal(session.hovered, null);
  session.goTo(session.graph.node("logit@3"));
  assert.deepEqual(told.splice(0), ["state", "cursor"], "what is in sight needs no other view");
});

test("the cursor stays on what is shown", () => {
  session.setCursor(session.graph.node("L0H1@1"));
  session.history.change({ share: 0.5 });
  assert.equal(session.cursor.id, "logit@3");
  session.history.change({ hidden: ["logit"] });
  assert.equal(session.cursor.id, "L1H0@3");
  session.history.change({ hidden: [...session.graph.kinds.keys()] });
  assert.equal(session.cursor, null);
});

test("a group is walked to by what is drawn for it", () => {
  const { actions, graph } = session;
  for (const id of ["L1H0@3", "L1MLP@3"]) actions.togglePin(graph.node(id));
  const key = actions.group(["L1H0@3", "L1MLP@3"]);
  const group = session.itemAt(graph.nodes.length);
  assert.equal(group.key, key);
  session.goTo(graph.node("L1H0@3"));
  assert.equal(session.cursor, group);
  assert.ok(session.isDrawn(group));
  actions.fold(key, false);
  session.goTo(session.itemAt(graph.nodes.length));
  assert.equal(session.cursor.id, "L1H0@3");
});

test("what is selected or pinned stays in sight", () => {
  session.history.change({ hidden: ["mlp"], share: 0.5 });
  const node = session.graph.node("L0MLP@3");
  assert.equal(session.isDrawn(node), false);
  session.actions.select(node);
  assert.equal(session.isDrawn(node), true);
  session.actions.togglePin(session.graph.node("L1MLP@3"));
  session.actions.select(null);
  assert.deepEqual(names(session.view().shown.items), ["logit@3", "L1H0@3", "embed@0", "L1MLP@3"]);
});

test("an address is taken over, as a step that can be undone", () => {
  session.actions.select(session.graph.node("logit@3"));
  session.open("#pins=embed@0&theme=dark");
  assert.deepEqual([session.view().state.pins, session.view().selected, session.theme], [["embed@0"], null, "dark"]);
  session.history.undo();
  assert.equal(session.view().selected.id, "logit@3");
});

test("rings lie on one another in order", () => {
  session.history.change({ query: "embed", pins: ["embed@1"], selected: { node: "embed@2" } });
  const rings = ringsOf(session.view(), session.graph.node("embed@0"));
  assert.deepEqual(rings.map(([item, style]) => `${style} ${item.id}`), [
    "match embed@2", "match embed@0", "match embed@1", "match embed@3", "pinned embed@1", "selected embed@2", "cursor embed@0",
  ]);
});
