// Painting a scene on a canvas.

import { fontFamily } from "./fonts.mjs";

/** @import { Curve } from "../model/types.d.mts" */
/** @import { Painter, RingPaint, ShapeStyle, TextStyle } from "./painter.d.mts" */

/** @type {Map<string, Path2D>} */
const PATHS = new Map();

/** @param {string} outline */
function pathOf(outline) {
  let path = PATHS.get(outline);
  if (!path) PATHS.set(outline, path = new Path2D(outline));
  return path;
}

/** @implements {Painter} */
export class CanvasPainter {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {number} width
   * @param {number} height
   * @param {boolean} beneath Whether what is painted first stays on top.
   */
  constructor(canvas, width, height, beneath = false) {
    this.beneath = beneath;
    this.scale = window.devicePixelRatio || 1;
    const pixels = [Math.round(width * this.scale), Math.round(height * this.scale)];
    // Setting the size also clears, but costs a new bitmap each time.
    if (canvas.width !== pixels[0] || canvas.height !== pixels[1]) {
      [canvas.width, canvas.height] = pixels;
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
    }
    const context = canvas.getContext("2d");
    if (!context) throw new Error("the browser paints on no canvas");
    this.context = context;
    this.context.globalCompositeOperation = beneath ? "destination-over" : "source-over";
    this.reset();
  }

  reset() {
    this.context.setTransform(this.scale, 0, 0, this.scale, 0, 0);
  }

  clear() {
    const { width, height } = this.context.canvas;
    this.context.clearRect(0, 0, width, height);
  }

  /** @param {number} x @param {number} y @param {number} width @param {number} height @param {string} fill */
  rect(x, y, width, height, fill) {
    this.context.fillStyle = fill;
    this.context.fillRect(x, y, width, height);
  }

  /** @param {number} x0 @param {number} y0 @param {number} x1 @param {number} y1 @param {string} stroke */
  line(x0, y0, x1, y1, stroke) {
    const { context } = this;
    context.strokeStyle = stroke;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(x0, y0);
    context.lineTo(x1, y1);
    context.stroke();
  }

  /** @param {Curve} points @param {{ colour: string, width: number, opacity: number }} style */
  curve([x0, y0, x1, y1, x2, y2, x3, y3], { colour, width, opacity }) {
    const { context } = this;
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.globalAlpha = opacity;
    context.beginPath();
    context.moveTo(x0, y0);
    context.bezierCurveTo(x1, y1, x2, y2, x3, y3);
    context.stroke();
    context.globalAlpha = 1;
  }

  /** @param {string} outline @param {number} x @param {number} y @param {number} radius @param {ShapeStyle} style */
  shape(outline, x, y, radius, { fill, stroke, width }) {
    const { context, scale } = this;
    const path = pathOf(outline);
    context.setTransform(radius * scale, 0, 0, radius * scale, x * scale, y * scale);
    context.fillStyle = fill;
    context.strokeStyle = stroke;
    context.lineWidth = width / radius;
    if (width && this.beneath) context.stroke(path);
    context.fill(path);
    if (width && !this.beneath) context.stroke(path);
    this.reset();
  }

  /** @param {number} x @param {number} y @param {number} radius @param {RingPaint} style */
  ring(x, y, radius, { stroke, width, fill = null, dash = null }) {
    const { context } = this;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    if (fill) {
      context.fillStyle = fill;
      context.fill();
    }
    context.setLineDash(dash ?? []);
    context.strokeStyle = stroke;
    context.lineWidth = width;
    context.stroke();
    context.setLineDash([]);
  }

  /** @param {number} x @param {number} y @param {string} text @param {TextStyle} style */
  text(x, y, text, { size, colour, align, angle = 0, weight = 400, halo = null, sans = false }) {
    const { context } = this;
    context.font = `${weight} ${size}px ${fontFamily(sans)}`;
    context.textAlign = align === "middle" ? "center" : align;
    context.textBaseline = "middle";
    context.translate(x, y);
    context.rotate(angle);
    if (halo) {
      context.strokeStyle = halo;
      context.lineWidth = 3;
      context.lineJoin = "round";
      context.strokeText(text, 0, 0);
    }
    context.fillStyle = colour;
    context.fillText(text, 0, 0);
    this.reset();
  }
}
