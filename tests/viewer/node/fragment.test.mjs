import assert from "node:assert/strict";
import { test } from "node:test";

import { graphDocument, node, tiny } from "./graphs.mjs";
import { Graph, openingState, pathIds, pathKey, readFragment, writeFragment } from "./model.mjs";

const graph = tiny();
const OPENING = openingState(graph);

const EVERYTHING = {
  selected: { group: 3 }, open: [pathKey(["L1H0@3"]), pathKey(["L1H0@3", "embed@2"])], share: 0.875, rooted: false,
  hidden: ["bias", "mlp"].slice(1), layers: [0, 1], heads: [0, 2], tokens: [1, 3], query: "L0 & mlp=ö", pins: ["embed@0"],
  groups: [
    { key: 3, name: "a, b; c: d/e", members: ["L1H0@3", "embed@2"], folded: true },
    { key: 1, name: "x", members: ["L0H1@1"], folded: false },
  ],
  compact: true,
};

test("the opening view has an empty fragment", () => {
  assert.equal(writeFragment(OPENING, OPENING, null, null), "");
  assert.deepEqual(readFragment("", OPENING, graph), { state: OPENING, view: null, theme: null });
});

test("a view comes back from its fragment", () => {
  const view = { x: 0.25, y: 0.125, zoom: 3.5 };
  for (const state of [EVERYTHING, { ...EVERYTHING, selected: { node: "L1H0@3" } }]) {
    const fragment = writeFragment(state, OPENING, view, "dark");
    assert.deepEqual(readFragment(`#${fragment}`, OPENING, graph), { state, view, theme: "dark" });
  }
});

test("a fragment holds what differs, in words", () => {
  const write = (part) => writeFragment({ ...OPENING, ...part }, OPENING, null, null);
  assert.equal(write({ selected: { node: "L1H0@3" }, open: ["L0MLP@0", "L0MLP@0/embed@0"] }), "sel=L1H0@3&open=L0MLP@0,L0MLP@0/embed@0");
  assert.equal(write({ pins: ["embed@0", "embed@1"], share: 0.5 }), "share=0.5&pins=embed@0,embed@1");
  assert.equal(write({ groups: EVERYTHING.groups.slice(1) }), "groups=1:x:0:L0H1@1");
  assert.equal(writeFragment(OPENING, OPENING, { x: 1 / 3, y: 0, zoom: 2 }, "light"), "view=0.3333,0,2&theme=light");
});

test("ids of any kind survive", () => {
  const ids = ["a&b=c@0", "x,y;z:/%@0", "\u2028 #@0", "日本@0"];
  const strange = new Graph(graphDocument(ids.map((id) => node(id, 1)), [], ["x"]));
  const opening = openingState(strange);
  const state = { ...opening, pins: ids.slice(1), selected: { node: ids[0] }, open: [pathKey(ids)] };
  assert.deepEqual(readFragment(writeFragment(state, opening, null, null), opening, strange).state, state);
  assert.deepEqual(pathIds(pathKey(ids)), ids);
});

test("what is spoiled is left out, the rest kept", () => {
  const read = (fragment) => {
    const { state, view, theme } = readFragment(fragment, OPENING, graph);
    const changed = Object.entries(state).filter(([key, value]) => JSON.stringify(value) !== JSON.stringify(OPENING[key]));
    return { ...Object.fromEntries(changed), ...(view && { view }), ...(theme && { theme }) };
  };
  assert.deepEqual(read("#sel=nobody@9&open=embed@0&pins=embed@0,nobody@1,embed@0,%E0%A4"), { pins: ["embed@0"] });
  assert.deepEqual(read("#sel=L1H0@3&open=embed@2,nobody@1,embed@2/%E0"), { selected: { node: "L1H0@3" }, open: ["embed@2"] });
  assert.deepEqual(read("#share=7&layers=-9,99&heads=1,x&tokens=2,77"), { layers: [-1, 2], heads: [1], tokens: [2] });
  assert.deepEqual(read("#share=nan&layers=1&hide=spoon,mlp&theme=pink&view=1,2"), { hidden: ["mlp"] });
  assert.deepEqual(read("#selgroup=1&groups=1:a:1:embed@0,nobody@1;1:b:1:embed@1;x:c:1:embed@2;2:d:0:embed@0&pins=embed@0"), {
    selected: { group: 1 }, groups: [{ key: 1, name: "a", members: ["embed@0"], folded: true }],
  });
  assert.deepEqual(read("#groups=2::1:embed@0").groups[0].name, "Group 2");
  assert.deepEqual(read("#&&=&junk"), {});
});
