// The curves that edges are drawn as.

import geometry from "../geometry.json" with { type: "json" };
import { clamp } from "./tools.mjs";

/** @import { Curve } from "./types.d.mts" */

/** How far a curve may leave the rectangle of its ends, to the right. */
export const MOST_BOW = geometry.edge_bow_most_px;

const STEPS = 24;

/**
 * An edge leaves its source upwards and arrives so at its target.
 *
 * @param {number} x0
 * @param {number} y0
 * @param {number} x1
 * @param {number} y1
 * @returns {Curve}
 */
export function edgeCurve(x0, y0, x1, y1) {
  const height = Math.abs(y1 - y0);
  const lift = geometry.edge_lift_of_rise * (y1 - y0);
  // Within a column a straight line would run through the nodes between.
  const upright = 1 - Math.min(1, Math.abs(x1 - x0) / (geometry.edge_upright_slope * height + 1));
  const bow = Math.min(MOST_BOW, geometry.edge_bow_of_rise * height) * upright;
  return [x0, y0, x0 + bow, y0 + lift, x1 + bow, y1 - lift, x1, y1];
}

/** @param {Curve} curve @param {number} x @param {number} y */
export function distanceToCurve(curve, x, y) {
  let nearest = Infinity;
  let [fromX, fromY] = curve;
  for (let step = 1; step <= STEPS; step++) {
    const t = step / STEPS;
    const toX = bezier(curve[0], curve[2], curve[4], curve[6], t);
    const toY = bezier(curve[1], curve[3], curve[5], curve[7], t);
    nearest = Math.min(nearest, distanceToLine(fromX, fromY, toX, toY, x, y));
    [fromX, fromY] = [toX, toY];
  }
  return nearest;
}

/** @param {number} a @param {number} b @param {number} c @param {number} d @param {number} t */
function bezier(a, b, c, d, t) {
  const s = 1 - t;
  return s * s * s * a + 3 * s * s * t * b + 3 * s * t * t * c + t * t * t * d;
}

/** @param {number} x0 @param {number} y0 @param {number} x1 @param {number} y1 @param {number} x @param {number} y */
function distanceToLine(x0, y0, x1, y1, x, y) {
  const dx = x1 - x0;
  const dy = y1 - y0;
  const along = clamp(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy || 1), 0, 1);
  return Math.hypot(x0 + along * dx - x, y0 + along * dy - y);
}
