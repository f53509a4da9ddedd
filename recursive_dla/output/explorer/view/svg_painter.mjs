// Painting a scene into an SVG file.

import { SVG_SPACE } from "./dom.mjs";
import { fontFamily } from "./fonts.mjs";

/** @import { Curve } from "../model/types.d.mts" */
/** @import { Painter, RingPaint, ShapeStyle, TextStyle } from "./painter.d.mts" */

/** @implements {Painter} */
export class SvgPainter {
  /** @param {number} width @param {number} height @param {string} title */
  constructor(width, height, title) {
    this.parts = [
      `<svg xmlns="${SVG_SPACE}" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">`,
    ];
    this.add("title", {}, title);
  }

  /**
   * What `draw` paints, moved to the right by `x` and cut to the given size.
   *
   * @param {{ x: number, width: number, height: number }} box
   * @param {() => void} draw
   */
  inset({ x, width, height }, draw) {
    this.parts.push(
      `<clipPath id="plot"><rect width="${width}" height="${height}"/></clipPath>`,
      `<g transform="translate(${x} 0)" clip-path="url(#plot)">`,
    );
    draw();
    this.parts.push("</g>");
  }

  /**
   * What `draw` paints, fainter or moved downwards.
   *
   * @param {{ opacity?: number, y?: number }} change
   * @param {() => void} draw
   */
  layer({ opacity = 1, y = 0 }, draw) {
    this.parts.push(`<g${opacity === 1 ? "" : ` opacity="${opacity}"`}${y ? ` transform="translate(0 ${y})"` : ""}>`);
    draw();
    this.parts.push("</g>");
  }

  finish() {
    return [...this.parts, "</svg>\n"].join("\n");
  }

  /** @param {string} tag @param {Record<string, string | number | null>} attributes @param {string | null} text */
  add(tag, attributes, text = null) {
    const written = Object.entries(attributes)
      .map(([name, value]) => value === null ? ""
        : ` ${name}="${escapeXml(typeof value === "number" ? short(value) : value)}"`)
      .join("");
    this.parts.push(`<${tag}${written}${text === null ? "/>" : `>${escapeXml(text)}</${tag}>`}`);
  }

  /** @param {number} x @param {number} y @param {number} width @param {number} height @param {string} fill */
  rect(x, y, width, height, fill) {
    this.add("rect", { x, y, width, height, fill });
  }

  /** @param {number} x1 @param {number} y1 @param {number} x2 @param {number} y2 @param {string} stroke */
  line(x1, y1, x2, y2, stroke) {
    this.add("line", { x1, y1, x2, y2, stroke });
  }

  /** @param {Curve} points @param {{ colour: string, width: number, opacity: number }} style */
  curve(points, { colour, width, opacity }) {
    const [x0, y0, ...rest] = points.map(short);
    this.add("path", {
      d: `M${x0},${y0}C${rest.join(",")}`,
      fill: "none", stroke: colour, "stroke-width": width, "stroke-opacity": opacity,
    });
  }

  /** @param {string} outline @param {number} x @param {number} y @param {number} radius @param {ShapeStyle} style */
  shape(outline, x, y, radius, { fill, stroke, width }) {
    this.add("path", {
      d: outline,
      transform: `translate(${short(x)} ${short(y)}) scale(${short(radius)})`,
      fill, stroke, "stroke-width": width / radius,
    });
  }

  /** @param {number} cx @param {number} cy @param {number} r @param {RingPaint} style */
  ring(cx, cy, r, { stroke, width, fill = "none", dash = null }) {
    this.add("circle", {
      cx, cy, r, fill, stroke, "stroke-width": width,
      "stroke-dasharray": dash ? dash.join(" ") : null,
    });
  }

  /** @param {number} x @param {number} y @param {string} text @param {TextStyle} style */
  text(x, y, text, { size, colour, align, angle = 0, weight = 400, halo = null, sans = false }) {
    const turn = angle ? ` rotate(${short((180 * angle) / Math.PI)})` : "";
    this.add("text", {
      transform: `translate(${short(x)} ${short(y)})${turn}`,
      "font-family": fontFamily(sans),
      "font-size": size,
      "font-weight": weight,
      "text-anchor": align,
      "dominant-baseline": "central",
      fill: colour,
      stroke: halo,
      "stroke-width": halo ? 3 : null,
      "stroke-linejoin": halo ? "round" : null,
      "paint-order": halo ? "stroke" : null,
    }, text);
  }
}

/** @param {number} value */
function short(value) {
  return String(Math.round(100 * value) / 100);
}

const ENTITIES = new Map([["&", "&amp;"], ["<", "&lt;"], [">", "&gt;"], ['"', "&quot;"], ["'", "&apos;"]]);

/** @param {string} text */
function escapeXml(text) {
  return text.replace(/[&<>"']/g, (character) => ENTITIES.get(character) ?? character);
}
