// Mouse and touch on the stage: moving, zooming, hovering, selecting.

import { edgeTip, hideTip, itemTip, showTip, tokenTip } from "./tip.mjs";

/** @import { Session } from "../model/session.mjs" */
/** @import { Stage } from "./stage.mjs" */

/** A place on the walker. @typedef {{ x: number, y: number }} Point */

const CLICK_SLOP = 4; // pixels a press may move and still be a click

export class Pointer {
  /** @param {Session} session @param {Stage} stage */
  constructor(session, stage) {
    this.session = session;
    this.stage = stage;
    /** @type {Map<number, Point>} */
    this.pressed = new Map();
    this.travelled = 0;
    const { walker, plot } = stage;
    walker.addEventListener("pointerdown", (event) => this.press(event));
    walker.addEventListener("pointermove", (event) => this.move(event));
    walker.addEventListener("pointerup", (event) => this.release(event));
    walker.addEventListener("pointercancel", (event) => this.pressed.delete(event.pointerId));
    walker.addEventListener("pointerleave", () => this.hover(null));
    walker.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    plot.addEventListener("pointermove", (event) => this.overAxis(event));
    plot.addEventListener("pointerleave", () => hideTip());
  }

  /** @param {MouseEvent} event @returns {Point} */
  place(event) {
    const box = this.stage.walker.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  /** @param {PointerEvent} event */
  press(event) {
    if (event.button !== 0) return;
    this.stage.walker.setPointerCapture(event.pointerId);
    this.pressed.set(event.pointerId, this.place(event));
    if (this.pressed.size === 1) this.travelled = 0;
  }

  /** @param {PointerEvent} event */
  move(event) {
    const before = this.pressed.get(event.pointerId);
    if (!before) {
      this.hover(event);
      return;
    }
    const now = this.place(event);
    const { camera } = this.session;
    if (this.pressed.size === 1) {
      this.travelled += Math.hypot(now.x - before.x, now.y - before.y);
      if (this.travelled < CLICK_SLOP) return;
      camera.pan(now.x - before.x, now.y - before.y);
    } else {
      this.pinch(event.pointerId, before, now);
    }
    this.pressed.set(event.pointerId, now);
    this.hover(null);
    this.session.cameraMoved();
  }

  /**
   * One of two fingers moved: the other one is the still point.
   *
   * @param {number} id
   * @param {Point} before
   * @param {Point} now
   */
  pinch(id, before, now) {
    const { camera } = this.session;
    const still = [...this.pressed].find(([other]) => other !== id)?.[1] ?? before;
    const span = (/** @type {Point} */ point) => Math.hypot(point.x - still.x, point.y - still.y) || 1;
    camera.zoomAt(still.x, still.y, span(now) / span(before));
    this.travelled = Infinity;
  }

  /** @param {PointerEvent} event */
  release(event) {
    if (!this.pressed.delete(event.pointerId) || this.travelled >= CLICK_SLOP) return;
    const { x, y } = this.place(event);
    const item = this.stage.scene().itemAt(x, y);
    if (item) this.session.setCursor(item);
    if (event.shiftKey && item) this.session.actions.togglePin(item);
    else this.session.actions.select(item);
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    event.preventDefault();
    const { camera } = this.session;
    const { x, y } = this.place(event);
    // A wheel counts in pixels, lines or pages.
    const unit = [1, 16, 400][event.deltaMode];
    if (event.shiftKey) camera.pan(-unit * (event.deltaX || event.deltaY), 0);
    else camera.zoomAt(x, y, Math.exp(-0.0016 * unit * event.deltaY));
    this.hover(null);
    this.session.cameraMoved();
  }

  /** @param {PointerEvent | null} event Null where the pointer is over nothing. */
  hover(event) {
    const { session, stage } = this;
    let item = null;
    let edge = null;
    if (event) {
      const { x, y } = this.place(event);
      const scene = stage.scene();
      item = scene.itemAt(x, y);
      edge = item ? null : scene.edgeAt(x, y);
    }
    session.hover(item ?? edge);
    stage.walker.classList.toggle("is-over", item !== null);
    if (event && item) showTip(event, itemTip(item, session.graph));
    else if (event && edge) showTip(event, edgeTip(edge));
    else hideTip();
  }

  /** @param {PointerEvent} event */
  overAxis(event) {
    const { session, stage } = this;
    const { camera, graph } = session;
    const { x, y } = this.place(event);
    if (y <= camera.height || event.target === stage.walker) return;
    const column = this.session.view().layout.columns.find(({ start, width }) =>
      x >= camera.screenX(start) && x < camera.screenX(start + width));
    if (column) showTip(event, tokenTip(column.pos, graph));
    else hideTip();
  }
}
