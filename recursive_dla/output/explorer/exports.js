// Taking the view elsewhere: a link, a picture, a part of the graph.

const CAPTION = 58; // pixels above a saved picture
const RAMP = { width: 84, height: 10, steps: 42 };

class Exports {
  constructor(explorer) {
    this.explorer = explorer;
    find("copy-link").addEventListener("click", () => this.copyLink());
    find("export-svg").addEventListener("click", () => {
      download("attribution-graph.svg", "image/svg+xml", this.svg());
    });
    find("export-json").addEventListener("click", () => this.saveSubgraph());
  }

  async copyLink() {
    this.explorer.writeAddress();
    try {
      await navigator.clipboard.writeText(location.href);
      announce("Link copied");
    } catch {
      announce("The browser forbids copying; the link is in the address bar.");
    }
  }

  /** The stage as it is seen, less what only follows the pointer or the keys. */
  svg() {
    const { stage, camera } = this.explorer;
    const scene = stage.scene();
    scene.hovered = null;
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
    const { graph, store } = this.explorer;
    const { pins, groups } = store.state;
    if (!pins.length && !groups.length) {
      announce("Pin nodes first: the file holds the pinned nodes.");
      return;
    }
    const text = JSON.stringify(pinnedSubgraph(graph, pins, groups), null, 2);
    download("attribution-subgraph.json", "application/json", `${text}\n`);
  }
}

/** What a saved picture is of, and what its colours and shapes mean. */
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
  const write = (text) => {
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

/**
 * The pinned nodes, grouped ones among them, and the edges between them as a
 * document. What flowed along the other edges moves to the nodes' rests, so
 * that every node still adds up.
 */
function pinnedSubgraph(graph, pins, groups) {
  const wanted = new Set([...pins, ...groups.flatMap((group) => group.members)]);
  const inside = (edge) => wanted.has(edge.source.id) && wanted.has(edge.target.id);
  const cut = (edges) => edges.reduce((sum, edge) => (inside(edge) ? sum : sum + edge.weight), 0);
  return {
    ...graph.source,
    metadata: {
      ...graph.metadata,
      pruning: {
        subgraph: "pinned nodes",
        groups: groups.map(({ name, members }) => ({ name, members })),
        before: graph.metadata.pruning ?? null,
      },
    },
    nodes: graph.source.nodes
      .map((node, index) => [node, graph.nodes[index]])
      .filter(([node]) => wanted.has(node.id))
      .map(([node, { inputs, outputs }]) => ({
        ...node,
        rest_in: node.rest_in + cut(inputs),
        rest_out: node.rest_out + cut(outputs),
      })),
    edges: graph.source.edges.filter((edge) => wanted.has(edge.source) && wanted.has(edge.target)),
  };
}

function download(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  make("a", { href: address, download: name }).click();
  // The browser reads the address after this turn of the event loop.
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
