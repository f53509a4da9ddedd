// Mouse and touch on the stage: moving, zooming, hovering, selecting.

const CLICK_SLOP = 4; // pixels a press may move and still be a click
const NODE_SLOP = 5;
const EDGE_SLOP = 5;

class Pointer {
  constructor(explorer) {
    this.explorer = explorer;
    this.pressed = new Map();
    this.travelled = 0;
    const { walker, plot } = explorer.stage;
    walker.addEventListener("pointerdown", (event) => this.press(event));
    walker.addEventListener("pointermove", (event) => this.move(event));
    walker.addEventListener("pointerup", (event) => this.release(event));
    walker.addEventListener("pointercancel", (event) => this.pressed.delete(event.pointerId));
    walker.addEventListener("pointerleave", () => this.hover(null));
    walker.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    plot.addEventListener("pointermove", (event) => this.overAxis(event));
    plot.addEventListener("pointerleave", () => hideTip());
  }

  place(event) {
    const box = this.explorer.stage.walker.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  press(event) {
    if (event.button !== 0) return;
    this.explorer.stage.walker.setPointerCapture(event.pointerId);
    this.pressed.set(event.pointerId, this.place(event));
    if (this.pressed.size === 1) this.travelled = 0;
  }

  move(event) {
    const before = this.pressed.get(event.pointerId);
    if (!before) {
      this.hover(event);
      return;
    }
    const now = this.place(event);
    const { camera } = this.explorer;
    if (this.pressed.size === 1) {
      this.travelled += Math.hypot(now.x - before.x, now.y - before.y);
      if (this.travelled < CLICK_SLOP) return;
      camera.pan(now.x - before.x, now.y - before.y);
    } else {
      this.pinch(event.pointerId, before, now);
    }
    this.pressed.set(event.pointerId, now);
    this.hover(null);
    this.explorer.cameraMoved();
  }

  /** One of two fingers moved: the other one is the still point. */
  pinch(id, before, now) {
    const { camera } = this.explorer;
    const still = [...this.pressed].find(([other]) => other !== id)[1];
    const span = (point) => Math.hypot(point.x - still.x, point.y - still.y) || 1;
    camera.zoomAt(still.x, still.y, span(now) / span(before));
    this.travelled = Infinity;
  }

  release(event) {
    if (!this.pressed.delete(event.pointerId) || this.travelled >= CLICK_SLOP) return;
    const { x, y } = this.place(event);
    const item = this.itemAt(x, y);
    if (item) this.explorer.setCursor(item);
    if (event.shiftKey && item) this.explorer.actions.togglePin(item);
    else this.explorer.actions.select(item);
  }

  wheel(event) {
    event.preventDefault();
    const { camera } = this.explorer;
    const { x, y } = this.place(event);
    // A wheel counts in pixels, lines or pages.
    const unit = [1, 16, 400][event.deltaMode];
    if (event.shiftKey) camera.pan(-unit * (event.deltaX || event.deltaY), 0);
    else camera.zoomAt(x, y, Math.exp(-0.0016 * unit * event.deltaY));
    this.hover(null);
    this.explorer.cameraMoved();
  }

  hover(event) {
    const { stage } = this.explorer;
    const place = event && this.place(event);
    const thing = place && (this.itemAt(place.x, place.y) ?? this.edgeAt(place.x, place.y));
    stage.hover(thing);
    stage.walker.classList.toggle("is-over", Boolean(thing) && !thing.source);
    if (thing) showTip(event, thing.source ? edgeTip(thing) : this.itemTip(thing));
    else hideTip();
  }

  itemTip(item) {
    return itemTip(item, this.explorer.graph);
  }

  overAxis(event) {
    const { camera, graph, stage } = this.explorer;
    const { x, y } = this.place(event);
    if (y <= camera.height || event.target === stage.walker) return;
    const column = this.explorer.view().layout.columns.find(({ start, width }) =>
      x >= camera.screenX(start) && x < camera.screenX(start + width));
    if (column) showTip(event, tokenTip(column.pos, graph));
    else hideTip();
  }

  /** The item under a point; of several, the one whose middle is nearest. */
  itemAt(x, y) {
    const scene = this.explorer.stage.scene();
    let best = null;
    let nearest = Infinity;
    for (const item of scene.shown.items) {
      const distance = Math.hypot(scene.x(item) - x, scene.y(item) - y);
      if (distance < nearest && distance < scene.radius(item) + NODE_SLOP) {
        best = item;
        nearest = distance;
      }
    }
    return best;
  }

  /** The edge under a point; of several close ones, the strongest. */
  edgeAt(x, y) {
    const scene = this.explorer.stage.scene();
    for (const edge of scene.focus?.edges ?? scene.shown.edges) {
      const near = scene.mayTouch(edge, x - EDGE_SLOP, y - EDGE_SLOP, x + EDGE_SLOP, y + EDGE_SLOP);
      if (near && distanceToCurve(scene.curve(edge), x, y) < EDGE_SLOP) return edge;
    }
    return null;
  }
}

const CURVE_STEPS = 24;

function distanceToCurve(points, x, y) {
  let nearest = Infinity;
  let [fromX, fromY] = points;
  for (let step = 1; step <= CURVE_STEPS; step++) {
    const t = step / CURVE_STEPS;
    const toX = bezier(points[0], points[2], points[4], points[6], t);
    const toY = bezier(points[1], points[3], points[5], points[7], t);
    nearest = Math.min(nearest, distanceToLine(fromX, fromY, toX, toY, x, y));
    [fromX, fromY] = [toX, toY];
  }
  return nearest;
}

function bezier(a, b, c, d, t) {
  const s = 1 - t;
  return s * s * s * a + 3 * s * s * t * b + 3 * s * t * t * c + t * t * t * d;
}

function distanceToLine(x0, y0, x1, y1, x, y) {
  const dx = x1 - x0;
  const dy = y1 - y0;
  const along = clamp(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy || 1), 0, 1);
  return Math.hypot(x0 + along * dx - x, y0 + along * dy - y);
}

// The tip beside the pointer.

function itemTip(item, graph) {
  const rows = [["attribution", showSigned(item.attribution)]];
  const { value } = graph.metadata;
  if (value) rows.push(["share of the value", showShare(item.attribution, value)]);
  if (item.restIn) rows.push(["inputs cut by pruning", showSigned(item.restIn)]);
  if (item.restOut) rows.push(["outputs cut by pruning", showSigned(item.restOut)]);
  rows.push(["inputs, outputs", `${item.inputs.length}, ${item.outputs.length}`]);
  return [itemHeading(item, graph), tipTable(rows)];
}

function edgeTip(edge) {
  const name = (item) => (isPinnedGroup(item) ? itemName(item) : showToken(item.id));
  return [
    make("p", { class: "tip__head" }, name(edge.source), " → ", name(edge.target)),
    tipTable([
      ["weight", showSigned(edge.weight)],
      ["share of the target", showShare(edge.weight, edge.target.attribution)],
      ["share of the source", showShare(edge.weight, edge.source.attribution)],
    ]),
  ];
}

function tokenTip(pos, graph) {
  const id = graph.metadata.tokens?.find((token) => token.pos === pos)?.token_id;
  return [
    make("p", { class: "tip__head" }, tokenChip(pos, graph)),
    tipTable([["position", `${pos}`], ...(id === undefined || id === null ? [] : [["token id", `${id}`]])]),
  ];
}

function itemHeading(item, graph) {
  return make("p", { class: "tip__head" }, itemName(item), " ",
    isPinnedGroup(item) ? showCount(item.members.length, "node") : tokenChip(item.pos, graph));
}

function tipTable(rows) {
  return make("dl", {}, rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

function showTip(event, content) {
  const tip = find("tip");
  const box = find("plot").getBoundingClientRect();
  tip.replaceChildren(...content);
  tip.hidden = false;
  const x = event.clientX - box.left;
  const y = event.clientY - box.top;
  const left = x + 16 + tip.offsetWidth > box.width ? x - tip.offsetWidth - 12 : x + 16;
  const top = Math.min(y + 14, box.height - tip.offsetHeight - 4);
  tip.style.left = `${Math.max(0, left)}px`;
  tip.style.top = `${Math.max(0, top)}px`;
}

function hideTip() {
  find("tip").hidden = true;
}
