import assert from "node:assert/strict";
import { test } from "node:test";

import { Camera, distanceToCurve, edgeCurve } from "./model.mjs";

function camera(width = 1000, height = 700, bounds = { width: 2000, height: 900 }) {
  const one = new Camera();
  one.resize(width, height);
  one.frame(bounds);
  return one;
}

function near(actual, expected, tolerance = 1e-9) {
  assert.ok(Math.abs(actual - expected) < tolerance, `${actual} is not ${expected}`);
}

/** What of the layout is seen at a place. */
function layoutX(one, x) {
  return (x - one.width / 2) / one.scaleX + one.view.x * one.bounds.width;
}

test("all is seen at first, with a margin", () => {
  const one = camera();
  assert.ok(one.fitted);
  near(one.screenX(0), 34);
  near(one.screenX(2000), 966);
  near(one.screenY(450), 350);
  assert.ok(one.screenY(0) >= 18 && one.screenY(900) <= 682);
});

test("neither direction is stretched to more than sixfold the other", () => {
  const one = camera(1000, 700, { width: 20000, height: 100 });
  near(one.fitY / one.fitX, 6);
  one.frame({ width: 100, height: 20000 });
  near(one.fitX / one.fitY, 6);
});

test("zooming holds the point and is undone by its inverse", () => {
  const one = camera();
  const before = layoutX(one, 700);
  one.zoomAt(700, 300, 2);
  near(one.view.zoom, 2);
  near(layoutX(one, 700), before, 1e-6);
  assert.ok(!one.fitted);
  one.zoomAt(700, 300, 0.5);
  near(one.view.zoom, 1);
  near(one.view.x, 0.5);
  near(one.view.y, 0.5);
});

test("panning there and back ends where it began", () => {
  const one = camera();
  one.zoomAt(500, 350, 3);
  const x = one.screenX(1000);
  one.pan(40, -25);
  near(one.screenX(1000), x + 40);
  one.pan(-40, 25);
  near(one.view.x, 0.5);
  near(one.view.y, 0.5);
});

test("a view means the same on another screen and after a new layout", () => {
  const one = camera();
  one.settle({ x: 0.3, y: 0.7, zoom: 2 });
  for (const change of [() => one.resize(640, 480), () => one.frame({ width: 500, height: 400 })]) {
    change();
    assert.deepEqual(one.view, { x: 0.3, y: 0.7, zoom: 2 });
    near(one.screenX(0.3 * one.bounds.width), one.width / 2);
    near(one.screenY(0.7 * one.bounds.height), one.height / 2);
  }
});

test("views out of range are brought in", () => {
  const one = camera();
  one.settle({ x: -3, y: 9, zoom: 1e9 });
  assert.deepEqual([one.view.x, one.view.y], [0, 1]);
  near(one.view.zoom * Math.min(one.fitX, one.fitY), 4);
  one.settle({ x: 0.5, y: 0.5, zoom: 0 });
  assert.equal(one.view.zoom, 0.5);
});

test("revealing moves just enough, and not without need", () => {
  const one = camera();
  assert.equal(one.reveal(1000, 450), false);
  one.settle({ x: 0.5, y: 0.5, zoom: 4 });
  assert.equal(one.reveal(1900, 450), true);
  near(one.screenX(1900), 940);
  near(one.screenY(450), 350);
});

test("close up both directions are of natural proportion", () => {
  const one = camera(1000, 700, { width: 2500, height: 1300 });
  assert.ok(one.scaleX < 0.75 * one.scaleY);
  one.settle({ ...one.view, zoom: 1e9 });
  near(one.scaleX, 4);
  near(one.scaleX / one.scaleY, 1, 1e-6);
});

test("an edge leaves upwards and arrives so, and bows within a column", () => {
  assert.deepEqual(edgeCurve(0, 100, 200, 0), [0, 100, 0, 55, 200, 45, 200, 0]);
  assert.deepEqual(edgeCurve(0, 100, 0, 0).map((part) => +part.toFixed(9)), [0, 100, 14, 55, 14, 45, 0, 0]);
  assert.deepEqual(edgeCurve(0, 1000, 0, 0), [0, 1000, 34, 550, 34, 450, 0, 0]);
  // It bows less the more it leans: half of its bow, halfway to where it bows no more.
  near(edgeCurve(0, 100, 15.5, 0)[2], 7);
});

test("the distance to a curve is that to its nearest point", () => {
  const straight = edgeCurve(0, 100, 400, 100);
  near(distanceToCurve(straight, 200, 103), 3);
  near(distanceToCurve(straight, -3, 96), 5);
  const bowed = edgeCurve(0, 100, 0, 0);
  near(distanceToCurve(bowed, 10.5, 50), 0, 1e-6);
  assert.ok(distanceToCurve(bowed, 0, 50) > 10);
});
