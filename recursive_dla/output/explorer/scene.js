// What is drawn, in the pixels of the stage. The canvases and the SVG file are
// painted by the same functions, each through a painter of its own.

const GUTTER = { left: 46, bottom: 104 };
const AXIS_SIZE = 11.5;
const LABEL_SIZE = 11;
const LETTER = 0.602; // width of a monospaced letter, in font sizes
const SLANT = -Math.PI / 3.6;
const MOST_LABELS = 70;
const MARKS_KEPT_FREE = 24; // by the names of others
const MOST_RINGS = 400;
const MOST_BOW = 34; // pixels to the right
const SMALLEST_RIMMED = 2.6;
const TOKEN_LETTERS = 13;

// How much is left of what does not belong to the selected item.
const DIMMED = { edges: 0.1, items: 0.25 };

class Scene {
  /**
   * `at` holds the positions by item index; `focus` is the emphasised part or
   * null; `rings` lists [item, style] pairs, `hovered` an item or edge or null.
   */
  constructor({ graph, shown, layout, at, camera, palette, focus, hovered, rings, column }) {
    Object.assign(this, { graph, shown, layout, at, camera, palette, focus, hovered, rings, column });
    this.heaviest = Math.max(graph.heaviest, shown.heaviest);
  }

  x(item) {
    return this.camera.screenX(this.at.x[item.index]);
  }

  y(item) {
    return this.camera.screenY(this.at.y[item.index]);
  }

  radius(item) {
    return radiusOf(item, this.graph) * this.camera.markScale;
  }

  sees(x, y, margin) {
    return x > -margin && y > -margin &&
      x < this.camera.width + margin && y < this.camera.height + margin;
  }

  /** The four points of an edge's curve. It leaves upwards and arrives so. */
  curve(edge) {
    const x0 = this.x(edge.source);
    const y0 = this.y(edge.source);
    const x1 = this.x(edge.target);
    const y1 = this.y(edge.target);
    const rise = 0.45 * (y1 - y0);
    // Within a column a straight line would run through the nodes between.
    const upright = 1 - Math.min(1, Math.abs(x1 - x0) / (0.3 * Math.abs(y1 - y0) + 1));
    const bow = Math.min(MOST_BOW, 0.14 * Math.abs(y1 - y0)) * upright;
    return [x0, y0, x0 + bow, y0 + rise, x1 + bow, y1 - rise, x1, y1];
  }

  /** Whether an edge's curve may touch a rectangle; far cheaper than the curve. */
  mayTouch(edge, left, top, right, bottom) {
    const x0 = this.x(edge.source);
    const x1 = this.x(edge.target);
    const y0 = this.y(edge.source);
    const y1 = this.y(edge.target);
    return Math.max(x0, x1) + MOST_BOW > left && Math.min(x0, x1) < right &&
      Math.max(y0, y1) > top && Math.min(y0, y1) < bottom;
  }

  edgeWidth(edge) {
    const strength = Math.abs(edge.weight) / this.heaviest;
    return (0.5 + 5.5 * strength) * Math.min(1.25, 0.5 + 0.5 * this.camera.markScale);
  }

  drawEdge(painter, edge, strong) {
    if (!this.mayTouch(edge, 0, 0, this.camera.width, this.camera.height)) return;
    const strength = Math.abs(edge.weight) / this.heaviest;
    painter.curve(this.curve(edge), {
      colour: this.palette.edge(edge.weight),
      width: this.edgeWidth(edge) + (strong ? 0.5 : 0),
      opacity: strong ? 0.55 + 0.4 * Math.sqrt(strength) : 0.16 + 0.64 * Math.sqrt(strength),
    });
  }

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

  drawOverlay(painter) {
    if (this.focus) {
      for (const edge of this.focus.edges.toReversed()) this.drawEdge(painter, edge, true);
      for (const item of this.focus.items) this.drawItem(painter, item);
    }
    if (this.hovered?.source) {
      this.drawEdge(painter, this.hovered, true);
      for (const item of [this.hovered.source, this.hovered.target]) this.drawItem(painter, item);
    } else if (this.hovered) {
      const near = this.shown.edges.filter(
        (edge) => edge.source === this.hovered || edge.target === this.hovered,
      );
      for (const edge of near) this.drawEdge(painter, edge, true);
      for (const edge of near) {
        this.drawItem(painter, edge.source === this.hovered ? edge.target : edge.source);
      }
      this.drawItem(painter, this.hovered);
    }
    this.drawLabels(painter);
    for (const [item, style] of this.rings) this.drawRing(painter, item, style);
  }

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

  /** Names the most telling items, as far as the names cover neither one another nor the strongest marks. */
  drawLabels(painter) {
    const first = this.focus?.items ?? this.shown.items;
    const wanted = this.hovered && !this.hovered.source ? new Set([this.hovered, ...first]) : first;
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

  /** [left, top, right, bottom] of what a name should leave free. */
  markBox(item) {
    const [x, y, room] = [this.x(item), this.y(item), Math.max(3, this.radius(item) - 2)];
    return [x - room, y - room, x + room, y + room];
  }

  /** Beside the item, above or below it, wherever there is room; null if there is none. */
  labelPlace(item, text, taken) {
    const [x, y] = [this.x(item), this.y(item)];
    const width = Array.from(text).length * LETTER * LABEL_SIZE;
    const offset = this.radius(item) + 5;
    const places = [
      { x: x + offset, y, align: "start", left: x + offset },
      { x: x - offset, y, align: "end", left: x - offset - width },
      { x, y: y - offset - 5, align: "middle", left: x - width / 2 },
      { x, y: y + offset + 5, align: "middle", left: x - width / 2 },
    ];
    for (const place of places) {
      const box = [place.left - 1, place.y - 7, place.left + width + 1, place.y + 7];
      const inside = box[0] >= 0 && box[2] <= this.camera.width && box[1] >= 0 && box[3] <= this.camera.height;
      if (inside && !taken.some((other) => overlap(box, other))) return { ...place, box };
    }
    return null;
  }

  /** Embeddings are told apart by their tokens only. */
  label(item) {
    return shorten(item.kind === "embed" ? this.graph.token(item.pos) : itemName(item), 18);
  }

  drawLayerAxis(painter) {
    const { camera, layout, palette } = this;
    const special = new Map([[-1, "emb"]]);
    for (const root of this.graph.roots) {
      if (root.kind === "logit") special.set(root.layer, "logit");
    }
    const taken = [];
    const named = (row) => special.has(row.layer);
    for (const row of [...layout.rows].sort((a, b) => named(b) - named(a))) {
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
    const rank = ({ pos }) =>
      pos === this.column ? 0 : pos === graph.metadata.target?.pos ? 1 : occupied.has(pos) ? 2 : 3;
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
}

function overlap(a, b) {
  return a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
}

/**
 * The part of the drawing that belongs to the selected item: the edges of what
 * is drawn for it, and the inputs of every node unfolded in its tree.
 */
function focusOn(centres, unfolded, shown) {
  const readers = new Set([...centres, ...unfolded]);
  const edges = shown.edges.filter((edge) => centres.has(edge.source) || readers.has(edge.target));
  const items = new Set(centres);
  for (const { source, target } of edges) items.add(source).add(target);
  return { edges, items };
}

/** What is ringed, as [item, style] pairs: what lies on top comes last. */
function ringsOf({ found, graph, groups, selected, shown, state }, cursor) {
  const drawn = (node) => shown.mask[node.index] && groups.standIn(node) === node;
  const unfolded = groups.items.filter((group) => !group.folded);
  const styled = (style) => (item) => [item, style];
  return [
    // Beyond some number rings tell nothing any more.
    ...found.filter(drawn).slice(0, MOST_RINGS).map(styled("match")),
    ...unfolded.flatMap((group) => group.members).map(styled("member")),
    ...state.pins.map((id) => graph.byId.get(id)).map(styled("pinned")),
    ...(selected ? centresOf(selected, groups) : []).map(styled("selected")),
    ...(cursor ? [cursor] : []).map(styled("cursor")),
  ];
}
