// The explorer: a session with the graph that the page holds, and the parts of the page that show it.
//
// What a reader does changes the session; the session tells what changed; the
// parts show it. Modules of `model/` touch no page, those of `view/` do.

import { Session } from "./model/session.mjs";
import { Address } from "./view/address.mjs";
import { announce, find } from "./view/dom.mjs";
import { Filters } from "./view/filters.mjs";
import { Keyboard } from "./view/keyboard.mjs";
import { Masthead } from "./view/masthead.mjs";
import { Panel } from "./view/panel.mjs";
import { Pins } from "./view/pins.mjs";
import { Pointer } from "./view/pointer.mjs";
import { Saving } from "./view/saving.mjs";
import { Search } from "./view/search.mjs";
import { Stage } from "./view/stage.mjs";

const session = new Session(JSON.parse(find("attribution-graph").textContent ?? ""), location.hash, announce);
const stage = new Stage(session);
const panel = new Panel(session);
const masthead = new Masthead(session);
const pins = new Pins(session);
const search = new Search(session);
const filters = new Filters(session);
const keyboard = new Keyboard(session, stage.walker, {
  group: () => pins.group(),
  help: () => masthead.openHelp(),
});

/** Shows the current state everywhere but on the stage. */
function render() {
  const view = session.view();
  // First, since it asks where it is scrolled: the page is still laid out.
  panel.render(view);
  masthead.render();
  pins.render(view);
  search.render(view);
  filters.render(view);
  keyboard.describe();
}

session.on("state", render);
session.on("theme", () => masthead.render());
session.on("cursor", () => keyboard.describe());
render();

const address = new Address(session);
new Pointer(session, stage);
new Saving(session, stage, address);

/** Where a node (by its id) or a group (by its name) is on the page, in CSS pixels. @param {string} name */
function whereIs(name) {
  const { at, groups } = session.view();
  const { index } = groups.items.find((item) => item.name === name) ?? session.graph.node(name);
  const box = stage.walker.getBoundingClientRect();
  return {
    x: box.left + session.camera.screenX(at.x[index]),
    y: box.top + session.camera.screenY(at.y[index]),
  };
}

// For scripts and the console.
Object.assign(window, { explorer: { session, stage, panel, address, whereIs } });
