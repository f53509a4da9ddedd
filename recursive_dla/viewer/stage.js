// The canvases and when each of them is painted.

// Edges painted in one frame. Where they need several, the first has other work
// to do, too.
const SLICE = 2000;
const FIRST_SLICE = 300;
const REST = 140; // milliseconds without movement before edges are redrawn

class Stage {
  constructor(explorer) {
    this.explorer = explorer;
    this.plot = find("plot");
    this.window = find("plot-window");
    this.walker = find("walker");
    this.canvases = Object.fromEntries(
      ["ground", "edges", "items", "overlay"].map((name) => [name, find(name)]),
    );
    this.stale = new Set();
    this.frame = 0;
    this.hovered = null;
    this.cursor = null;

    this.painted = 0; // edges
    this.paintedView = null;

    for (const box of [this.window, this.walker]) {
      box.style.left = `${GUTTER.left}px`;
      box.style.bottom = `${GUTTER.bottom}px`;
    }
    new ResizeObserver(() => this.resize()).observe(this.plot);
    this.resize();
  }

  resize() {
    const { clientWidth, clientHeight } = this.plot;
    this.width = Math.max(GUTTER.left + 50, clientWidth);
    this.height = Math.max(GUTTER.bottom + 50, clientHeight);
    this.explorer.camera.resize(this.width - GUTTER.left, this.height - GUTTER.bottom);
    this.paintedView = null;
    this.request("ground", "edges", "items", "overlay");
  }

  /** Called after every movement of the camera. */
  moved() {
    this.request("ground", "items", "overlay", "moved");
  }

  hover(thing) {
    if (thing === this.hovered) return;
    this.hovered = thing;
    this.request("overlay");
  }

  setCursor(item) {
    this.cursor = item;
    this.request("ground", "overlay");
  }

  request(...layers) {
    for (const layer of layers) this.stale.add(layer);
    this.frame ||= requestAnimationFrame(() => this.paint());
  }

  scene() {
    const { camera, palette } = this.explorer;
    const view = this.explorer.view();
    const { graph, shown, layout, at, focus, selected } = view;
    const { hovered } = this;
    const rings = ringsOf(view, document.activeElement === this.walker ? this.cursor : null);
    const column = hovered?.pos ?? selected?.pos ?? this.cursor?.pos ?? null;
    return new Scene({ graph, shown, layout, at, camera, palette, focus, hovered, rings, column });
  }

  paint() {
    this.frame = 0;
    const scene = this.scene();
    const { stale } = this;
    this.stale = new Set();
    for (const [name, opacity] of Object.entries(DIMMED)) {
      this.canvases[name].style.opacity = scene.focus ? opacity : 1;
    }
    find("empty").hidden = scene.shown.items.length > 0;
    if (stale.has("ground")) {
      this.surface("ground", this.width, this.height, (painter) => scene.drawGround(painter));
    }
    if (stale.has("items")) this.inset("items", (painter) => scene.drawItems(painter));
    if (stale.has("overlay")) this.inset("overlay", (painter) => scene.drawOverlay(painter));
    if (stale.has("edges")) this.startEdges(scene);
    else if (stale.has("moved")) this.moveEdges(scene);
  }

  inset(name, draw) {
    const { width, height } = this.explorer.camera;
    this.surface(name, width, height, draw);
  }

  surface(name, width, height, draw) {
    const painter = new CanvasPainter(this.canvases[name], width, height);
    painter.clear();
    draw(painter);
  }

  /** Few edges are redrawn at once; many are moved as a picture until rest. */
  moveEdges(scene) {
    clearTimeout(this.rest);
    const known = this.paintedView;
    if (!known || scene.shown.edges.length <= SLICE) {
      this.startEdges(scene);
      return;
    }
    cancelAnimationFrame(this.slices);
    const { camera } = this.explorer;
    const x = camera.scaleX / known.scaleX;
    const y = camera.scaleY / known.scaleY;
    const left = camera.screenX(known.x) - (x * known.width) / 2;
    const top = camera.screenY(known.y) - (y * known.height) / 2;
    this.canvases.edges.style.transform = `translate(${left}px, ${top}px) scale(${x}, ${y})`;
    this.rest = setTimeout(() => this.request("edges"), REST);
  }

  startEdges(scene) {
    clearTimeout(this.rest);
    cancelAnimationFrame(this.slices);
    const { camera } = this.explorer;
    this.canvases.edges.style.transform = "";
    this.paintedView = {
      x: camera.view.x * camera.bounds.width,
      y: camera.view.y * camera.bounds.height,
      width: camera.width,
      height: camera.height,
      scaleX: camera.scaleX,
      scaleY: camera.scaleY,
    };
    const painter = new CanvasPainter(this.canvases.edges, camera.width, camera.height);
    painter.clear();
    // The strongest come first and stay on top of those that follow.
    painter.context.globalCompositeOperation = "destination-over";
    this.painted = 0;
    this.paintSlice(scene, painter, scene.shown.edges.length <= SLICE ? SLICE : FIRST_SLICE);
  }

  paintSlice(scene, painter, count) {
    const end = Math.min(scene.shown.edges.length, this.painted + count);
    scene.drawEdges(painter, this.painted, end);
    this.painted = end;
    if (end < scene.shown.edges.length) this.slices = requestAnimationFrame(() => this.goOn(scene, painter));
  }

  /** The next slice, but in a frame that has nothing more pressing to paint. */
  goOn(scene, painter) {
    if (this.frame) {
      this.slices = requestAnimationFrame(() => this.goOn(scene, painter));
    } else {
      this.paintSlice(scene, painter, SLICE);
    }
  }
}
