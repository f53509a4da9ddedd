// One reader's visit to one graph: all that the page shows, as data.

import { Actions } from "./actions.mjs";
import { Camera } from "./camera.mjs";
import { readFragment, writeFragment } from "./fragment.mjs";
import { Graph } from "./graph.mjs";
import { drawnFor, isGroup } from "./groups.mjs";
import { StateHistory } from "./history.mjs";
import { Snapshots } from "./snapshot.mjs";
import { openingState } from "./state.mjs";

/** @import { Layout } from "./layout.mjs" */
/** @import { Edge, GraphDocument, Item, Theme } from "./types.d.mts" */

/**
 * What can change: the state (and what follows from it), the part that the
 * camera sees, where the keys' cursor stands, what the pointer is over, and
 * the colours.
 *
 * @typedef {"state" | "camera" | "cursor" | "hover" | "theme"} Change
 */

export class Session {
  /**
   * @param {GraphDocument} document
   * @param {string} fragment That of the page's address, which may hold a view.
   * @param {(message: string) => void} say Tells the reader something.
   */
  constructor(document, fragment, say) {
    this.graph = new Graph(document);
    this.opening = openingState(this.graph);
    const given = readFragment(fragment, this.opening, this.graph);
    this.history = new StateHistory(given.state);
    this.actions = new Actions(this.history, say);
    this.snapshots = new Snapshots(this.graph);
    this.camera = new Camera();
    if (given.view) this.camera.settle(given.view);
    this.theme = given.theme;
    /** @type {Item | Edge | null} */
    this.hovered = null;
    /** @type {Item | null} */
    this.cursor = null;
    /** @type {Layout | null} */
    this.framed = null;
    /** @type {Map<Change, (() => void)[]>} */
    this.listeners = new Map();

    this.history.subscribe(() => this.refresh());
    this.refresh();
  }

  /** Calls `listener` after every such change. @param {Change} change @param {() => void} listener */
  on(change, listener) {
    this.listeners.set(change, [...(this.listeners.get(change) ?? []), listener]);
  }

  /** @param {Change} change */
  tell(change) {
    for (const listener of this.listeners.get(change) ?? []) listener();
  }

  /** The state with everything that follows from it. */
  view() {
    return this.snapshots.of(this.history.state);
  }

  /** Brings what is not part of the state into line with it, and has it shown anew. */
  refresh() {
    const { layout, selected, shown } = this.view();
    if (layout !== this.framed) this.camera.frame(layout);
    this.framed = layout;
    if (!this.cursor || !shown.items.includes(this.cursor)) {
      this.cursor = selected && shown.items.includes(selected) ? selected : shown.items[0] ?? null;
    }
    this.hovered = null;
    this.tell("state");
  }

  /** @param {number} index */
  itemAt(index) {
    return this.graph.nodes[index] ?? this.view().groups.items[index - this.graph.nodes.length];
  }

  /** What is drawn for an item at present. @param {Item} item */
  drawnFor(item) {
    return drawnFor(item, this.view().groups);
  }

  /** Whether an item is among what is drawn at present. @param {Item} item */
  isDrawn(item) {
    return isGroup(item) || this.view().shown.mask[item.index] === 1;
  }

  /** Selects an item and brings it into sight. @param {Item} item */
  goTo(item) {
    this.actions.select(item);
    this.setCursor(this.drawnFor(item));
  }

  /** @param {Item} item */
  setCursor(item) {
    this.cursor = item;
    this.tell("cursor");
    this.reveal(item);
  }

  /** @param {Item | Edge | null} thing */
  hover(thing) {
    if (thing === this.hovered) return;
    this.hovered = thing;
    this.tell("hover");
  }

  /** @param {Item} item */
  reveal(item) {
    const { at } = this.view();
    const { index } = this.drawnFor(item);
    if (this.camera.reveal(at.x[index], at.y[index])) this.cameraMoved();
  }

  /** @param {number} factor */
  zoom(factor) {
    this.camera.zoomAt(this.camera.width / 2, this.camera.height / 2, factor);
    this.cameraMoved();
  }

  fit() {
    this.camera.fit();
    this.cameraMoved();
  }

  /** To be called by whoever moves the camera. */
  cameraMoved() {
    this.tell("camera");
  }

  /** @param {Theme} theme */
  setTheme(theme) {
    this.theme = theme;
    this.tell("theme");
  }

  /** The view as the fragment of an address. */
  fragment() {
    const view = this.camera.fitted ? null : this.camera.view;
    return writeFragment(this.history.state, this.opening, view, this.theme);
  }

  /** Takes over the view of an address. @param {string} fragment */
  open(fragment) {
    const given = readFragment(fragment, this.opening, this.graph);
    this.setTheme(given.theme);
    this.camera.settle(given.view ?? { x: 0.5, y: 0.5, zoom: 1 });
    this.history.change(given.state);
    this.cameraMoved();
  }
}
