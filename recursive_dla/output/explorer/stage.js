// The canvases and when each of them is painted.

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

    // The frame that asks for them has other work to do, too.
    this.slices = {
      items: new Slices({ first: 300, next: 1500 }),
      edges: new Slices({ first: 100, next: 1000 }),
    };
    this.nextSlice = 0;
    this.paintedView = null; // of the edges
    this.paintedColumn = null;

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
    if (stale.has("ground") || scene.column !== this.paintedColumn) {
      this.paintedColumn = scene.column;
      scene.drawGround(this.painter("ground", this));
    }
    // Marks that move must not fall behind their labels.
    if (stale.has("items")) this.startItems(scene, stale.has("moved"));
    if (stale.has("overlay")) scene.drawOverlay(this.painter("overlay"));
    if (stale.has("edges")) this.startEdges(scene);
    else if (stale.has("moved")) this.moveEdges(scene);
    this.planSlice();
  }

  /** A painter on an empty canvas; `beneath` puts each thing below those painted before it. */
  painter(name, { width, height } = this.explorer.camera, beneath = false) {
    const painter = new CanvasPainter(this.canvases[name], width, height, beneath);
    painter.clear();
    return painter;
  }

  /** Few edges are redrawn at once; many are moved as a picture until rest. */
  moveEdges(scene) {
    clearTimeout(this.rest);
    const known = this.paintedView;
    if (!known || this.slices.edges.fits(scene.shown.edges)) {
      this.startEdges(scene);
      return;
    }
    this.slices.edges.stop();
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
    const painter = this.sorted("edges");
    this.slices.edges.start(scene.shown.edges, (edge) => scene.drawEdge(painter, edge, false));
  }

  startItems(scene, moving) {
    const painter = this.sorted("items");
    this.slices.items.start(scene.shown.items, (item) => scene.drawItem(painter, item), moving || undefined);
  }

  /** A painter for what comes strongest first, and stays on top of what follows. */
  sorted(name) {
    return this.painter(name, this.explorer.camera, true);
  }

  planSlice() {
    cancelAnimationFrame(this.nextSlice);
    if (Object.values(this.slices).some((slices) => slices.unfinished)) {
      this.nextSlice = requestAnimationFrame(() => this.goOn());
    }
  }

  /** The next slice, but in a frame that has nothing more pressing to paint. */
  goOn() {
    if (!this.frame) Object.values(this.slices).find((slices) => slices.unfinished)?.goOn();
    this.planSlice();
  }
}
