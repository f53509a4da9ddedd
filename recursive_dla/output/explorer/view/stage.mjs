// The canvases and when each of them is painted.

import { isEdge } from "../model/groups.mjs";
import { ringsOf } from "../model/rings.mjs";
import { CanvasPainter } from "./canvas_painter.mjs";
import { find, findAs } from "./dom.mjs";
import { Slices } from "./paint_slices.mjs";
import { Palette, showTheme } from "./palette.mjs";
import { DIMMED, GUTTER, Scene } from "./scene.mjs";
import { hideTip } from "./tip.mjs";

/** @import { Session } from "../model/session.mjs" */
/** @import { Snapshot } from "../model/snapshot.mjs" */
/** @import { Edge, Item } from "../model/types.d.mts" */

/**
 * What was seen when the edges were painted.
 *
 * @typedef {{ x: number, y: number, width: number, height: number, scaleX: number, scaleY: number }} EdgeView
 */
/** @typedef {"ground" | "edges" | "items" | "overlay"} Layer */

const REST = 140; // milliseconds without movement before edges are redrawn

export class Stage {
  /** @param {Session} session */
  constructor(session) {
    this.session = session;
    this.plot = find("plot");
    this.window = find("plot-window");
    this.width = this.height = 0;
    this.walker = find("walker");
    /** @type {Record<Layer, HTMLCanvasElement>} */
    this.canvases = {
      ground: findAs(HTMLCanvasElement, "ground"),
      edges: findAs(HTMLCanvasElement, "edges"),
      items: findAs(HTMLCanvasElement, "items"),
      overlay: findAs(HTMLCanvasElement, "overlay"),
    };
    /** @type {Set<Layer | "moved">} */
    this.stale = new Set();
    this.frame = 0;
    /** @type {Snapshot | null} What was last asked to be painted. */
    this.known = null;

    // The frame that asks for them has other work to do, too.
    this.slices = {
      /** @type {Slices<Item>} */
      items: new Slices(300, 1500),
      /** @type {Slices<Edge>} */
      edges: new Slices(100, 1000),
    };
    this.nextSlice = 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.rest = undefined;
    /** @type {EdgeView | null} */
    this.paintedView = null;
    /** @type {number | null} */
    this.paintedColumn = null;
    showTheme(session.theme);
    this.palette = new Palette();

    for (const box of [this.window, this.walker]) {
      box.style.left = `${GUTTER.left}px`;
      box.style.bottom = `${GUTTER.bottom}px`;
    }
    new ResizeObserver(() => this.resize()).observe(this.plot);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.recolour());
    this.walker.addEventListener("blur", () => this.request("overlay"));
    session.on("state", () => this.update());
    session.on("camera", () => this.moved());
    session.on("cursor", () => this.request("ground", "overlay"));
    session.on("hover", () => this.request("overlay"));
    session.on("theme", () => this.recolour());
    this.resize();
    this.update();
  }

  /** Asks for what a change of the state touches. */
  update() {
    const { known } = this;
    const view = this.session.view();
    this.known = view;
    this.request("overlay");
    if (view.layout !== known?.layout) this.request("ground");
    if (view.shown !== known?.shown || view.layout !== known.layout || view.groups !== known.groups) {
      this.request("items", "edges");
      // What it tells of may be gone.
      hideTip();
    }
  }

  recolour() {
    showTheme(this.session.theme);
    this.palette = new Palette();
    this.request("ground", "edges", "items", "overlay");
  }

  resize() {
    const { clientWidth, clientHeight } = this.plot;
    this.width = Math.max(GUTTER.left + 50, clientWidth);
    this.height = Math.max(GUTTER.bottom + 50, clientHeight);
    this.session.camera.resize(this.width - GUTTER.left, this.height - GUTTER.bottom);
    this.paintedView = null;
    this.request("ground", "edges", "items", "overlay");
  }

  /** Called after every movement of the camera. */
  moved() {
    this.request("ground", "items", "overlay", "moved");
  }

  /** @param {...(Layer | "moved")} layers */
  request(...layers) {
    for (const layer of layers) this.stale.add(layer);
    this.frame ||= requestAnimationFrame(() => this.paint());
  }

  scene() {
    const { camera, cursor, hovered } = this.session;
    const view = this.session.view();
    const [item, edge] = !hovered ? [null, null] : isEdge(hovered) ? [null, hovered] : [hovered, null];
    const rings = ringsOf(view, document.activeElement === this.walker ? cursor : null);
    const column = positionOf(item) ?? positionOf(view.selected) ?? positionOf(cursor);
    return new Scene(view, camera, this.palette, { item, edge, column, rings });
  }

  paint() {
    this.frame = 0;
    const scene = this.scene();
    const { stale } = this;
    this.stale = new Set();
    this.canvases.edges.style.opacity = `${scene.focus ? DIMMED.edges : 1}`;
    this.canvases.items.style.opacity = `${scene.focus ? DIMMED.items : 1}`;
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

  /**
   * A painter on an empty canvas.
   *
   * @param {Layer} name
   * @param {{ width: number, height: number }} size
   * @param {boolean} beneath Whether each thing is put below those painted before it.
   */
  painter(name, { width, height } = this.session.camera, beneath = false) {
    const painter = new CanvasPainter(this.canvases[name], width, height, beneath);
    painter.clear();
    return painter;
  }

  /** Few edges are redrawn at once; many are moved as a picture until rest. @param {Scene} scene */
  moveEdges(scene) {
    clearTimeout(this.rest);
    const known = this.paintedView;
    if (!known || this.slices.edges.fits(scene.shown.edges)) {
      this.startEdges(scene);
      return;
    }
    this.slices.edges.stop();
    const { camera } = this.session;
    const x = camera.scaleX / known.scaleX;
    const y = camera.scaleY / known.scaleY;
    const left = camera.screenX(known.x) - (x * known.width) / 2;
    const top = camera.screenY(known.y) - (y * known.height) / 2;
    this.canvases.edges.style.transform = `translate(${left}px, ${top}px) scale(${x}, ${y})`;
    this.rest = setTimeout(() => this.request("edges"), REST);
  }

  /** @param {Scene} scene */
  startEdges(scene) {
    clearTimeout(this.rest);
    const { camera } = this.session;
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

  /** @param {Scene} scene @param {boolean} moving */
  startItems(scene, moving) {
    const painter = this.sorted("items");
    this.slices.items.start(scene.shown.items, (item) => scene.drawItem(painter, item), moving || undefined);
  }

  /** A painter for what comes strongest first, and stays on top of what follows. @param {Layer} name */
  sorted(name) {
    return this.painter(name, this.session.camera, true);
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

/** The token of a node; a group has none. @param {Item | null} item */
function positionOf(item) {
  return item && "pos" in item ? item.pos : null;
}
