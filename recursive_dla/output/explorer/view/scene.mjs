// What is drawn, in the pixels of the stage. The canvases and the SVG file are
// painted by the same functions, each through a painter of its own.

import { MOST_BOW, distanceToCurve, edgeCurve } from "../model/curves.mjs";
import { itemName } from "../model/groups.mjs";
import { PITCH } from "../model/layout.mjs";
import { outlineOf, radiusOf } from "../model/marks.mjs";
import { shorten } from "../model/text.mjs";
import { LETTER } from "./fonts.mjs";

/** @import { Camera } from "../model/camera.mjs" */
/** @import { Row } from "../model/layout.mjs" */
/** @import { Snapshot } from "../model/snapshot.mjs" */
/** @import { Edge, Item, RingStyle } from "../model/types.d.mts" */
/** @import { Painter, TextStyle } from "./painter.d.mts" */
/** @import { Palette } from "./palette.mjs" */

export const GUTTER = { left: 46, bottom: 104 };
export const AXIS_SIZE = 11.5;
const LABEL_SIZE = 11;
const SLANT = -Math.PI / 3.6;
const MOST_LABELS = 70;
const MARKS_KEPT_FREE = 24; // by the names of others
const SMALLEST_RIMMED = 2.6;
const TOKEN_LETTERS = 13;
const NODE_SLOP = 5; // pixels around what the pointer hits
const EDGE_SLOP = 5;

// How much is left of what does not belong to the selected item.
export const DIMMED = { edges: 0.1, items: 0.25 };

export class Scene {
  /**
   * @param {Snapshot} snapshot
   * @param {Camera} camera
   * @param {Palette} palette
   * @param {object} pointed What is pointed at.
   * @param {Item | null} pointed.item The item under the pointer.
   * @param {Edge | null} pointed.edge The edge under it.
   * @param {number | null} pointed.column The position whose token stands out.
   * @param {[Item, RingStyle][]} pointed.rings
   */
  constructor({ graph, shown, layout, at, focus }, camera, palette, { item, edge, column, rings }) {
    this.graph = graph;
    this.shown = shown;
    this.layout = layout;
    this.at = at;
    this.focus = focus;
    this.camera = camera;
    this.palette = palette;
    this.item = item;
    this.edge = edge;
    this.column = column;
    this.rings = rings;
    this.heaviest = Math.max(graph.heaviest, shown.heaviest);
  }

  /** @param {Item} item */
  x(item) {
    return this.camera.screenX(this.at.x[item.index]);
  }

  /** @param {Item} item */
  y(item) {
    return this.camera.screenY(this.at.y[item.index]);
  }

  /** @param {Item} item */
  radius(item) {
    return radiusOf(item, this.graph) * this.camera.markScale;
  }

  /**
   * Whether a point is inside, or outside by no more than this.
   *
   * @param {number} x
   * @param {number} y
   * @param {number} margin
   */
  sees(x, y, margin) {
    return x > -margin && y > -margin &&
      x < this.camera.width + margin && y < this.camera.height + margin;
  }

  /** @param {Edge} edge */
  curve({ source, target }) {
    return edgeCurve(this.x(source), this.y(source), this.x(target), this.y(target));
  }

  /**
   * Whether an edge's curve may touch a rectangle; far cheaper than the curve.
   *
   * @param {Edge} edge
   * @param {number} left
   * @param {number} top
   * @param {number} right
   * @param {number} bottom
   */
  mayTouch(edge, left, top, right, bottom) {
    const x0 = this.x(edge.source);
    const x1 = this.x(edge.target);
    const y0 = this.y(edge.source);
    const y1 = this.y(edge.target);
    return Math.max(x0, x1) + MOST_BOW > left && Math.min(x0, x1) < right &&
      Math.max(y0, y1) > top && Math.min(y0, y1) < bottom;
  }

  /** @param {Edge} edge */
  edgeWidth(edge) {
    const strength = Math.abs(edge.weight) / this.heaviest;
    return (0.5 + 5.5 * strength) * Math.min(1.25, 0.5 + 0.5 * this.camera.markScale);
  }

  /** @param {Painter} painter @param {Edge} edge @param {boolean} strong */
  drawEdge(painter, edge, strong) {
    if (!this.mayTouch(edge, 0, 0, this.camera.width, this.camera.height)) return;
    const strength = Math.abs(edge.weight) / this.heaviest;
    painter.curve(this.curve(edge), {
      colour: this.palette.edge(edge.weight),
      width: this.edgeWidth(edge) + (strong ? 0.5 : 0),
      opacity: strong ? 0.55 + 0.4 * Math.sqrt(strength) : 0.16 + 0.64 * Math.sqrt(strength),
    });
  }

  /** @param {Painter} painter @param {Item} item */
  drawItem(painter, item) {
    const x = this.x(item);
    const y = this.y(item);
    const radius = this.radius(item);
    if (!this.sees(x, y, radius)) return;
    painter.shape(outlineOf(item.kind), x, y, radius, {
      fill: this.palette.fill(item.attribution / this.graph.largest),
      stroke: this.palette.surface,
      // A rim sets marks apart; on thousands of dots it would only cost time.
      width: radius < SMALLEST_RIMMED ? 0 : 1,
    });
  }

  // The layers of the picture, from the back to the front.

  /** @param {Painter} painter */
  drawGround(painter) {
    const { camera, layout, palette } = this;
    const top = Math.max(0, camera.screenY(0));
    const bottom = Math.min(camera.height, camera.screenY(layout.height));
    for (const column of layout.columns) {
      const fill = column.pos === this.graph.metadata.target?.pos ? palette.target
        : column.pos % 2 ? palette.band : null;
      const left = Math.max(0, camera.screenX(column.start));
      const right = Math.min(camera.width, camera.screenX(column.start + column.width));
      if (fill && right > left) {
        painter.rect(GUTTER.left + left, top, right - left, bottom - top, fill);
      }
    }
    for (const row of layout.rows) {
      const y = camera.screenY(row.top + row.height);
      if (y < 0 || y > camera.height) continue;
      painter.line(GUTTER.left, y, GUTTER.left + camera.width, y, palette.grid);
    }
    this.drawLayerAxis(painter);
    this.drawTokenAxis(painter);
  }

  /** @param {Painter} painter */
  drawOverlay(painter) {
    if (this.focus) {
      for (const edge of this.focus.edges.toReversed()) this.drawEdge(painter, edge, true);
      for (const item of this.focus.items) this.drawItem(painter, item);
    }
    if (this.edge) {
      this.drawEdge(painter, this.edge, true);
      for (const item of [this.edge.source, this.edge.target]) this.drawItem(painter, item);
    } else if (this.item) {
      const near = this.shown.edges.filter(({ source, target }) => source === this.item || target === this.item);
      for (const edge of near) this.drawEdge(painter, edge, true);
      for (const { source, target } of near) this.drawItem(painter, source === this.item ? target : source);
      this.drawItem(painter, this.item);
    }
    this.drawLabels(painter);
    for (const [item, style] of this.rings) this.drawRing(painter, item, style);
  }

  /** @param {Painter} painter @param {Item} item @param {RingStyle} style */
  drawRing(painter, item, style) {
    const x = this.x(item);
    const y = this.y(item);
    if (!this.sees(x, y, 20)) return;
    const { accent, ink, match, surface } = this.palette;
    const radius = this.radius(item);
    if (style === "pinned") {
      painter.ring(x + 0.8 * radius, y - 0.8 * radius, 2.6, { stroke: surface, width: 1, fill: accent });
    } else {
      const stroke = { selected: accent, cursor: ink, match, member: accent }[style];
      const dash = style === "member" ? [2, 2] : null;
      painter.ring(x, y, radius + (style === "cursor" ? 6 : 3.5), { stroke, width: style === "match" ? 1.5 : 2, dash });
    }
  }

  /**
   * Names the most telling items, as far as the names cover neither one another nor the strongest marks.
   *
   * @param {Painter} painter
   */
  drawLabels(painter) {
    const first = this.focus?.items ?? this.shown.items;
    const wanted = this.item ? new Set([this.item, ...first]) : first;
    /** @type {Item[]} */
    const named = [];
    for (const item of wanted) {
      if (named.length === MOST_LABELS) break;
      if (this.sees(this.x(item), this.y(item), 0)) named.push(item);
    }
    const taken = named.slice(0, MARKS_KEPT_FREE).map((item) => this.markBox(item));
    for (const item of named) {
      const text = this.label(item);
      const place = this.labelPlace(item, text, taken);
      if (!place) continue;
      taken.push(place.box, this.markBox(item));
      painter.text(place.x, place.y, text, {
        size: LABEL_SIZE, colour: this.palette.ink, align: place.align, halo: this.palette.surface,
      });
    }
  }

  /** What a name should leave free. @param {Item} item @returns {Box} */
  markBox(item) {
    const [x, y, room] = [this.x(item), this.y(item), Math.max(3, this.radius(item) - 2)];
    return [x - room, y - room, x + room, y + room];
  }

  /**
   * Beside the item, above or below it, wherever there is room; null if there is none.
   *
   * @param {Item} item
   * @param {string} text
   * @param {Box[]} taken
   */
  labelPlace(item, text, taken) {
    const [x, y] = [this.x(item), this.y(item)];
    const width = Array.from(text).length * LETTER * LABEL_SIZE;
    const offset = this.radius(item) + 5;
    /** @type {{ x: number, y: number, align: TextStyle["align"], left: number }[]} */
    const places = [
      { x: x + offset, y, align: "start", left: x + offset },
      { x: x - offset, y, align: "end", left: x - offset - width },
      { x, y: y - offset - 5, align: "middle", left: x - width / 2 },
      { x, y: y + offset + 5, align: "middle", left: x - width / 2 },
    ];
    for (const place of places) {
      /** @type {Box} */
      const box = [place.left - 1, place.y - 7, place.left + width + 1, place.y + 7];
      const inside = box[0] >= 0 && box[2] <= this.camera.width && box[1] >= 0 && box[3] <= this.camera.height;
      if (inside && !taken.some((other) => overlap(box, other))) return { ...place, box };
    }
    return null;
  }

  /** Embeddings are told apart by their tokens only. @param {Item} item */
  label(item) {
    return shorten(item.kind === "embed" ? this.graph.token(item.pos) : itemName(item), 18);
  }

  /** @param {Painter} painter */
  drawLayerAxis(painter) {
    const { camera, layout, palette } = this;
    const special = new Map([[-1, "emb"]]);
    for (const root of this.graph.roots) {
      if (root.kind === "logit") special.set(root.layer, "logit");
    }
    /** @type {number[]} */
    const taken = [];
    const named = (/** @type {Row} */ row) => special.has(row.layer);
    for (const row of [...layout.rows].sort((a, b) => Number(named(b)) - Number(named(a)))) {
      const y = camera.screenY(row.middle);
      if (row.empty && row.height < PITCH && !named(row)) continue;
      if (y < 4 || y > camera.height - 4 || taken.some((other) => Math.abs(other - y) < 14)) continue;
      taken.push(y);
      painter.text(GUTTER.left - 8, y, special.get(row.layer) ?? `${row.layer}`, {
        size: AXIS_SIZE, colour: palette.muted, align: "end",
      });
    }
    painter.text(GUTTER.left - 8, camera.height + 14, "layer", {
      size: AXIS_SIZE - 1, colour: palette.muted, align: "end", sans: true,
    });
  }

  /** @param {Painter} painter */
  drawTokenAxis(painter) {
    const { camera, palette } = this;
    const labels = this.tokenLabels();
    const level = labels.every(({ text, room }) => text.length * LETTER * AXIS_SIZE + 8 < room);
    for (const { x, text, pos } of labels) {
      const colour = pos === this.column ? palette.accent : palette.ink;
      const weight = pos === this.column ? 700 : 400;
      const muted = { size: AXIS_SIZE - 1.5, colour: palette.muted };
      const plain = { size: AXIS_SIZE, colour, weight };
      const y = camera.height;
      if (level) {
        painter.text(x, y + 16, text, { ...plain, align: "middle" });
        painter.text(x, y + 32, `${pos}`, { ...muted, align: "middle" });
      } else {
        const number = `${pos}`;
        const along = (number.length * (AXIS_SIZE - 1.5) + AXIS_SIZE) * LETTER;
        painter.text(x + 3, y + 10, number, { ...muted, align: "end", angle: SLANT });
        painter.text(x + 3 - along * Math.cos(SLANT), y + 10 - along * Math.sin(SLANT), text, {
          ...plain, align: "end", angle: SLANT,
        });
      }
    }
  }

  /** The tokens with room for a label: the chosen first, then the occupied. */
  tokenLabels() {
    const { camera, graph, layout } = this;
    const occupied = new Set(this.shown.nodes.map((node) => node.pos));
    const rank = (/** @type {{ pos: number }} */ { pos }) =>
      pos === this.column ? 0 : pos === graph.metadata.target?.pos ? 1 : occupied.has(pos) ? 2 : 3;
    /** @type {number[]} */
    const taken = [];
    const labels = [];
    for (const column of [...layout.columns].sort((a, b) => rank(a) - rank(b))) {
      const x = camera.screenX(column.middle);
      if (x < 0 || x > camera.width) continue;
      if (taken.some((other) => Math.abs(other - x) < 15)) continue;
      taken.push(x);
      labels.push({
        x: GUTTER.left + x,
        pos: column.pos,
        text: shorten(graph.token(column.pos), TOKEN_LETTERS),
        room: column.width * camera.scaleX,
      });
    }
    return labels;
  }

  // What is under the pointer.

  /** The item under a point; of several, the one whose middle is nearest. @param {number} x @param {number} y */
  itemAt(x, y) {
    let best = null;
    let nearest = Infinity;
    for (const item of this.shown.items) {
      const distance = Math.hypot(this.x(item) - x, this.y(item) - y);
      if (distance < nearest && distance < this.radius(item) + NODE_SLOP) {
        best = item;
        nearest = distance;
      }
    }
    return best;
  }

  /** The edge under a point; of several close ones, the strongest. @param {number} x @param {number} y */
  edgeAt(x, y) {
    for (const edge of this.focus?.edges ?? this.shown.edges) {
      const near = this.mayTouch(edge, x - EDGE_SLOP, y - EDGE_SLOP, x + EDGE_SLOP, y + EDGE_SLOP);
      if (near && distanceToCurve(this.curve(edge), x, y) < EDGE_SLOP) return edge;
    }
    return null;
  }
}

/** @typedef {[left: number, top: number, right: number, bottom: number]} Box */

/** @param {Box} a @param {Box} b */
function overlap(a, b) {
  return a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
}
