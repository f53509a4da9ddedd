// The head of the page: what the graph explains, and how it was made.

const THEMES = {
  system: { icon: "◐", name: "as the system", next: "light" },
  light: { icon: "☀", name: "light", next: "dark" },
  dark: { icon: "☾", name: "dark", next: "system" },
};

class Masthead {
  constructor(explorer) {
    this.explorer = explorer;
    const { metadata } = explorer.graph;
    const target = metadata.target ?? {};
    const model = showProse(`${metadata.model ?? "Attribution graph"}`);
    document.title = `${showProse(target.label ?? "attribution")} · ${model}`;
    find("title").textContent = model;
    find("prompt").textContent = showProse(metadata.prompt ?? "");
    find("prompt").title = find("prompt").textContent;
    find("facts").append(...this.facts(metadata, target));
    find("legend").append(...this.legend());

    const { store } = explorer;
    find("undo").addEventListener("click", () => store.undo());
    find("redo").addEventListener("click", () => store.redo());
    document.addEventListener("pointerdown", (event) => closePopovers(event.target));
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && closePopovers(null)) event.preventDefault();
    });
    find("theme").addEventListener("click", () => {
      const { next } = THEMES[explorer.theme ?? "system"];
      explorer.setTheme(next === "system" ? null : next);
    });
    find("help-open").addEventListener("click", () => this.openHelp());
    find("help-close").addEventListener("click", () => find("help").close());
    find("zoom-in").addEventListener("click", () => explorer.zoom(1.4));
    find("zoom-out").addEventListener("click", () => explorer.zoom(1 / 1.4));
    find("zoom-fit").addEventListener("click", () => explorer.fit());
  }

  render() {
    const { store, theme } = this.explorer;
    // A disabled button would lose the focus in the middle of undoing.
    find("undo").setAttribute("aria-disabled", String(!store.past.length));
    find("redo").setAttribute("aria-disabled", String(!store.future.length));
    const { icon, name } = THEMES[theme ?? "system"];
    find("theme").textContent = icon;
    find("theme").title = `Colours: ${name}`;
    find("theme").setAttribute("aria-label", `Colours: ${name}`);
  }

  openHelp() {
    find("help").showModal();
  }

  facts(metadata, target) {
    const facts = [];
    const add = (name, value, note = null) =>
      facts.push(make("div", {}, make("dt", {}, name),
        make("dd", {}, value, note && make("span", { class: "note" }, ` ${note}`))));
    if (target.label !== undefined) {
      add("Target", make("bdi", {}, showProse(target.label)),
        target.pos === undefined ? null : `at ${target.pos}`);
    }
    if (metadata.value !== undefined) {
      add(target.wrong_answer ? "Logit difference" : "Value", showNumber(metadata.value), "logits");
    }
    if (metadata.completeness_error !== undefined) {
      add("Completeness error", showNumber(metadata.completeness_error));
    }
    if (metadata.rule !== undefined) add("Rule", showProse(`${metadata.rule}`));
    add("Pruning", this.pruning(metadata.pruning));
    return facts;
  }

  pruning(settings) {
    const entries = settings && typeof settings === "object" ? Object.entries(settings) : [];
    if (!entries.length) return "none";
    return make("details", { class: "popover" },
      make("summary", {}, showCount(entries.length, "setting")),
      make("dl", {}, entries.flatMap(([name, value]) => [
        make("dt", {}, showProse(name.replaceAll("_", " "))), make("dd", {}, showProse(showSetting(value)))])));
  }

  legend() {
    const { graph } = this.explorer;
    const kinds = [...graph.kinds.keys()].map((kind) => make("span", { class: "legend__kind" },
      makeSvg("svg", { class: "mark mark--plain", viewBox: "-1.4 -1.4 2.8 2.8", "aria-hidden": "true" },
        makeSvg("path", { d: outlineOf(kind) })), kindName(kind)));
    const limit = showNumber(graph.largest);
    return [
      make("span", { class: "legend__scale" },
        make("span", {}, `−${limit}`),
        make("span", { class: "legend__ramp", role: "img", "aria-label": "Colour scale, negative to positive" }),
        make("span", {}, `+${limit}`)),
      ...kinds,
    ];
  }
}

/** Closes every popover that does not hold `target`; whether there was one. */
function closePopovers(target) {
  const open = [...document.querySelectorAll(".popover[open]")].filter((popover) => !popover.contains(target));
  for (const popover of open) popover.open = false;
  return open.length > 0;
}

function showSetting(value) {
  if (typeof value === "number") return Number.isInteger(value) ? `${value}` : `${+value.toPrecision(6)}`;
  if (typeof value === "string") return value;
  return JSON.stringify(value);
}
