// The slider and the filters.

class Filters {
  constructor(explorer) {
    this.explorer = explorer;
    const { graph, store, actions } = explorer;
    this.slider = find("share");
    this.slider.addEventListener("input", () => {
      store.change({ share: Number(this.slider.value) / 1000 }, "share");
    });
    for (const name of ["rooted", "compact"]) {
      find(name).addEventListener("change", (event) => store.change({ [name]: event.target.checked }));
    }
    find("filter-reset").addEventListener("click", () => {
      actions.resetFilters();
      // The button hides itself; the focus goes to what it reset.
      this.kinds[0]?.focus();
    });

    this.kinds = [...graph.kinds].map(([kind, count]) => {
      const outline = makeSvg("svg", { class: "mark mark--plain", viewBox: "-1.4 -1.4 2.8 2.8", "aria-hidden": "true" },
        makeSvg("path", { d: outlineOf(kind) }));
      return this.chip(kind, () => actions.toggle("hidden", kind),
        outline, kindName(kind), make("span", { class: "note" }, count.toLocaleString("en-US")));
    });
    find("kinds").append(...this.kinds);

    const heads = unique(graph.nodes.filter((node) => node.kind === "head").map((node) => node.head));
    this.heads = heads.sort((a, b) => a - b)
      .map((head) => this.chip(head, () => actions.toggle("heads", head), `${head}`));
    find("heads").append(...this.heads);
    find("heads-box").hidden = !heads.length;

    this.tokens = graph.tokens.map((_, pos) =>
      this.chip(pos, () => actions.toggle("tokens", pos),
        make("bdi", {}, shorten(graph.token(pos), 18)), make("span", { class: "chip-token__pos" }, `${pos}`)));
    find("tokens").append(...this.tokens);

    this.ends = [find("layer-from"), find("layer-to")];
    for (const end of this.ends) {
      end.min = graph.lowest;
      end.max = graph.highest;
      end.addEventListener("change", () => this.changeLayers());
    }
  }

  chip(value, onclick, ...content) {
    return make("button", { type: "button", class: "chip", "data-value": value, onclick }, content);
  }

  changeLayers() {
    const { graph, store } = this.explorer;
    const whole = [graph.lowest, graph.highest];
    const [low, high] = this.ends.map((end, i) =>
      end.value === "" ? whole[i] : clamp(Math.round(end.valueAsNumber), ...whole));
    const all = low <= graph.lowest && high >= graph.highest;
    store.change({ layers: all ? null : [Math.min(low, high), Math.max(low, high)] });
    this.showLayers(store.state.layers);
  }

  showLayers(layers) {
    const { graph } = this.explorer;
    (layers ?? [graph.lowest, graph.highest]).forEach((layer, i) => {
      this.ends[i].value = layer;
    });
  }

  render({ state, shown }) {
    const { graph } = this.explorer;
    const share = Math.round(1000 * state.share);
    if (Number(this.slider.value) !== share) this.slider.value = share;
    const percent = `${(100 * state.share).toFixed(1)}%`;
    find("share-value").textContent = percent;
    this.slider.setAttribute("aria-valuetext", `${percent} of all absolute edge weight`);
    find("share-note").textContent = state.share >= 1
      ? "All edges."
      : `The strongest edges, holding this share of all |weight|: those from ${showNumber(shown.threshold)} up.`;
    const of = (part, whole) => `${part.toLocaleString("en-US")} of ${whole.toLocaleString("en-US")}`;
    find("counts").replaceChildren(
      make("dt", {}, "Edges"), make("dd", {}, of(shown.edgeCount, graph.edges.length)),
      make("dt", {}, "Nodes"), make("dd", {}, of(shown.nodes.length, graph.nodes.length)),
      make("dt", {}, "Reach the logit"), make("dd", {},
        `${showCount(shown.leadingEdges, "edge")}, ${showCount(shown.leadingNodes, "node")}`),
    );
    find("rooted").checked = state.rooted;
    find("compact").checked = state.compact;

    press(this.kinds, (kind) => !state.hidden.includes(kind));
    press(this.heads, (head) => state.heads.includes(Number(head)));
    press(this.tokens, (pos) => state.tokens.includes(Number(pos)));
    find("heads-note").textContent = state.heads.length ? `only ${state.heads.join(", ")}` : "all";
    find("tokens-note").textContent = state.tokens.length ? `only ${state.tokens.join(", ")}` : "all";
    this.showLayers(state.layers);
    find("filter-reset").hidden =
      !(state.hidden.length || state.heads.length || state.tokens.length || state.layers);
  }
}

function press(chips, isPressed) {
  for (const chip of chips) chip.setAttribute("aria-pressed", String(isPressed(chip.dataset.value)));
}
