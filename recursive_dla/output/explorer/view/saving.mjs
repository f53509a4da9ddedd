// Taking the view elsewhere: a link, a picture, a part of the graph.

import { kindName } from "../model/graph.mjs";
import { outlineOf } from "../model/marks.mjs";
import { pinnedSubgraph } from "../model/subgraph.mjs";
import { showNumber, showProse, showSigned } from "../model/text.mjs";
import { announce, find, make } from "./dom.mjs";
import { LETTER } from "./fonts.mjs";
import { AXIS_SIZE, DIMMED, GUTTER } from "./scene.mjs";
import { SvgPainter } from "./svg_painter.mjs";

/** @import { Session } from "../model/session.mjs" */
/** @import { Address } from "./address.mjs" */
/** @import { Painter } from "./painter.d.mts" */
/** @import { Scene } from "./scene.mjs" */
/** @import { Stage } from "./stage.mjs" */

const CAPTION = 58; // pixels above a saved picture
const RAMP = { width: 84, height: 10, steps: 42 };

export class Saving {
  /** @param {Session} session @param {Stage} stage @param {Address} address */
  constructor(session, stage, address) {
    this.session = session;
    this.stage = stage;
    this.address = address;
    find("copy-link").addEventListener("click", () => this.copyLink());
    find("export-svg").addEventListener("click", () => {
      download("attribution-graph.svg", "image/svg+xml", this.svg());
    });
    find("export-json").addEventListener("click", () => this.saveSubgraph());
  }

  async copyLink() {
    this.address.write();
    try {
      await navigator.clipboard.writeText(location.href);
      announce("Link copied");
    } catch {
      announce("The browser forbids copying; the link is in the address bar.");
    }
  }

  /** The stage as it is seen, less what only follows the pointer or the keys. */
  svg() {
    const { session: { camera }, stage } = this;
    const scene = stage.scene();
    scene.item = scene.edge = null;
    scene.rings = scene.rings.filter(([, style]) => style !== "cursor");
    const painter = new SvgPainter(stage.width, CAPTION + stage.height, document.title);
    painter.rect(0, 0, stage.width, CAPTION + stage.height, scene.palette.surface);
    drawCaption(painter, scene);
    painter.layer({ y: CAPTION }, () => {
      scene.drawGround(painter);
      painter.inset({ x: GUTTER.left, width: camera.width, height: camera.height }, () => {
        painter.layer({ opacity: scene.focus ? DIMMED.edges : 1 }, () => {
          // In a file what comes later lies on top: the strongest go last.
          for (const edge of scene.shown.edges.toReversed()) scene.drawEdge(painter, edge, false);
        });
        painter.layer({ opacity: scene.focus ? DIMMED.items : 1 }, () => {
          for (const item of scene.shown.items.toReversed()) scene.drawItem(painter, item);
        });
        scene.drawOverlay(painter);
      });
    });
    return painter.finish();
  }

  saveSubgraph() {
    const { graph, history } = this.session;
    const { pins, groups } = history.state;
    if (!pins.length && !groups.length) {
      announce("Pin nodes first: the file holds the pinned nodes.");
      return;
    }
    const text = JSON.stringify(pinnedSubgraph(graph, pins, groups), null, 2);
    download("attribution-subgraph.json", "application/json", `${text}\n`);
  }
}

/** What a saved picture is of, and what its colours and shapes mean. @param {Painter} painter @param {Scene} scene */
function drawCaption(painter, { graph, palette, camera }) {
  const { model, target, value } = graph.metadata;
  const is = value === undefined ? "" : `: ${showSigned(value)} logits`;
  const at = target?.pos === undefined ? "" : ` at ${target.pos}`;
  painter.text(GUTTER.left, 17, `${showProse(target?.label ?? "attribution")}${at}${is}`, {
    size: 13.5, colour: palette.ink, align: "start", weight: 600, sans: true,
  });
  painter.text(GUTTER.left + camera.width - 8, 17, showProse(`${model ?? ""}`), {
    size: AXIS_SIZE, colour: palette.muted, align: "end", sans: true,
  });

  let x = GUTTER.left;
  const y = 39;
  const write = (/** @type {string} */ text) => {
    painter.text(x, y, text, { size: AXIS_SIZE, colour: palette.muted, align: "start" });
    x += text.length * LETTER * AXIS_SIZE + 8;
  };
  const limit = showNumber(graph.largest);
  write(`−${limit}`);
  // Whole pixels, so that no seam shows.
  const [left, step] = [Math.round(x), RAMP.width / RAMP.steps];
  for (let i = 0; i < RAMP.steps; i++) {
    const fill = palette.fill((2 * i + 1) / RAMP.steps - 1);
    painter.rect(left + i * step, y - RAMP.height / 2, step, RAMP.height, fill);
  }
  x += RAMP.width + 8;
  write(`+${limit}`);
  for (const kind of graph.kinds.keys()) {
    painter.shape(outlineOf(kind), x + 12, y, 4.5, { fill: palette.muted, stroke: palette.surface, width: 0 });
    x += 22;
    write(kindName(kind));
  }
}

/** @param {string} name @param {string} type @param {string} text */
function download(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  make("a", { href: address, download: name }).click();
  // The browser reads the address after this turn of the event loop.
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
