// Which part of the layout is seen, and how large.

import { clamp } from "./tools.mjs";

/** @import { CameraView } from "./types.d.mts" */

// How far the two directions may be stretched apart to fill the plot.
const MOST_STRETCH = 6;
const CLOSEST = 4; // pixels per unit of the layout
const SLOWEST = 0.4; // exponent at which the less squeezed direction grows
const FARTHEST = 0.5; // of the zoom that fits everything
const MARGIN = { x: 34, y: 18 };

/** @type {CameraView} */
const EVERYTHING = { x: 0.5, y: 0.5, zoom: 1 };

/**
 * The view is kept as shares of the layout, zoom 1 showing all of it, so that
 * it means the same on a screen of another size and after a new layout.
 */
export class Camera {
  constructor() {
    this.width = 1;
    this.height = 1;
    this.view = EVERYTHING;
    this.bounds = { width: 1, height: 1 };
    this.fitX = this.fitY = 1;
    this.scaleX = this.scaleY = 1;
    this.markScale = 1;
    this.frame(this.bounds);
  }

  /** @param {number} width @param {number} height */
  resize(width, height) {
    this.width = Math.max(1, width);
    this.height = Math.max(1, height);
    this.frame(this.bounds);
  }

  /** Takes the layout to be this large. @param {{ width: number, height: number }} bounds */
  frame(bounds) {
    this.bounds = { width: bounds.width, height: bounds.height };
    const x = Math.max(1, this.width - 2 * MARGIN.x) / bounds.width;
    const y = Math.max(1, this.height - 2 * MARGIN.y) / bounds.height;
    this.fitX = Math.min(x, y * MOST_STRETCH, CLOSEST / 2);
    this.fitY = Math.min(y, x * MOST_STRETCH, CLOSEST / 2);
    this.settle(this.view);
  }

  /** Sees this part, or the nearest there is. @param {CameraView} view */
  settle(view) {
    const closest = Math.max(1, CLOSEST / Math.min(this.fitX, this.fitY));
    this.view = {
      x: clamp(view.x, 0, 1),
      y: clamp(view.y, 0, 1),
      zoom: clamp(view.zoom, FARTHEST, closest),
    };
    this.scaleX = this.scale(this.fitX, this.fitY);
    this.scaleY = this.scale(this.fitY, this.fitX);
    // Marks shrink less than distances, so that a far view still shows them.
    this.markScale = clamp(1.15 * Math.min(this.scaleX, this.scaleY), 0.62, 1.5);
  }

  /**
   * The scale of one direction. The squeezed one follows the zoom; the other
   * grows more slowly until, close up, both are of natural proportion.
   *
   * @param {number} fit
   * @param {number} other
   */
  scale(fit, other) {
    const { zoom } = this.view;
    if (fit <= other || zoom <= 1) return fit * zoom;
    const meeting = Math.max(1, 1 / other);
    const exponent = meeting > 1 ? clamp(Math.log(1 / fit) / Math.log(meeting), SLOWEST, 1) : 1;
    return fit * Math.min(zoom, meeting) ** exponent * Math.max(1, zoom / meeting);
  }

  get fitted() {
    return this.view.zoom === 1 && this.view.x === 0.5 && this.view.y === 0.5;
  }

  fit() {
    this.settle(EVERYTHING);
  }

  /** @param {number} x */
  screenX(x) {
    return (x - this.view.x * this.bounds.width) * this.scaleX + this.width / 2;
  }

  /** @param {number} y */
  screenY(y) {
    return (y - this.view.y * this.bounds.height) * this.scaleY + this.height / 2;
  }

  /** @param {number} dx @param {number} dy */
  pan(dx, dy) {
    this.settle({
      ...this.view,
      x: this.view.x - dx / this.scaleX / this.bounds.width,
      y: this.view.y - dy / this.scaleY / this.bounds.height,
    });
  }

  /**
   * Zooms by `factor`, holding what is at (px, py) in place.
   *
   * @param {number} px
   * @param {number} py
   * @param {number} factor
   */
  zoomAt(px, py, factor) {
    const before = { x: this.scaleX, y: this.scaleY };
    this.settle({ ...this.view, zoom: this.view.zoom * factor });
    const dx = (px - this.width / 2) * (this.scaleX / before.x - 1);
    const dy = (py - this.height / 2) * (this.scaleY / before.y - 1);
    this.pan(-dx, -dy);
  }

  /** Moves just enough for the point to be well inside; whether it moved. @param {number} x @param {number} y */
  reveal(x, y) {
    const inset = Math.min(60, this.width / 4, this.height / 4);
    const dx = clamp(this.screenX(x), inset, this.width - inset) - this.screenX(x);
    const dy = clamp(this.screenY(y), inset, this.height - inset) - this.screenY(y);
    // A point near the border of the layout may stand near that of the plot.
    const inPlot = this.screenX(x) > 8 && this.screenX(x) < this.width - 8 &&
      this.screenY(y) > 8 && this.screenY(y) < this.height - 8;
    if (inPlot || (!dx && !dy)) return false;
    this.pan(dx, dy);
    return true;
  }
}
