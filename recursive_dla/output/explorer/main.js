// The explorer: the state, what follows from it, and the parts that show it.

const ADDRESS_DELAY = 300; // milliseconds; browsers limit how often it may change

class Explorer {
  constructor(source) {
    this.graph = new Graph(source);
    this.opening = openingState(this.graph);
    this.camera = new Camera();
    const given = readFragment(location.hash, this.opening, this.graph);
    this.store = new Store(given.state);
    this.actions = new Actions(this.graph, this.store);
    this.applyTheme(given.theme);
    if (given.view) this.camera.settle(given.view);
    this.derived = new Derived(this.graph);

    this.stage = new Stage(this);
    this.masthead = new Masthead(this);
    this.panel = new Panel(this);
    this.pins = new Pins(this);
    this.search = new Search(this);
    this.filters = new Filters(this);
    this.keyboard = new Keyboard(this);
    this.exports = new Exports(this);
    new Pointer(this);

    this.store.subscribe(() => this.refresh());
    window.addEventListener("hashchange", () => this.readAddress());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.applyTheme(this.theme));
    this.refresh();
  }

  /** The state with everything that follows from it. */
  view() {
    return this.derived.of(this.store.state);
  }

  itemAt(index) {
    return this.graph.nodes[index] ?? this.view().groups.items[index - this.graph.nodes.length];
  }

  /** Shows the current state everywhere. */
  refresh() {
    const view = this.view();
    const known = this.current ?? {};
    this.current = view;
    if (view.layout !== known.layout) this.camera.frame(view.layout);
    const { cursor } = this.stage;
    if (cursor && !view.shown.items.includes(cursor)) this.stage.setCursor(null);
    this.stage.hover(null);
    this.stage.request("overlay");
    if (view.layout !== known.layout) this.stage.request("ground");
    if (view.shown !== known.shown || view.layout !== known.layout || view.groups !== known.groups) {
      this.stage.request("items", "edges");
      // What it tells of may be gone.
      hideTip();
    }
    // First, since it asks where it is scrolled: the page is still laid out.
    this.panel.render(view);
    this.masthead.render(view);
    this.pins.render(view);
    this.search.render(view);
    this.filters.render(view);
    this.keyboard.describe();
    this.planAddress();
  }

  /** What is drawn for an item at present. */
  drawnFor(item) {
    return drawnFor(item, this.view().groups);
  }

  /** Whether an item is among what is drawn at present. */
  isDrawn(item) {
    return isPinnedGroup(item) || this.current.shown.mask[item.index] === 1;
  }

  /** Selects an item and brings it into sight. */
  goTo(item) {
    this.actions.select(item);
    this.setCursor(this.drawnFor(item));
  }

  setCursor(item) {
    this.stage.setCursor(item);
    this.keyboard.describe();
    this.reveal(item);
  }

  reveal(item) {
    const { at } = this.view();
    const drawn = this.drawnFor(item);
    if (this.camera.reveal(at.x[drawn.index], at.y[drawn.index])) this.cameraMoved();
  }

  zoom(factor) {
    this.camera.zoomAt(this.camera.width / 2, this.camera.height / 2, factor);
    this.cameraMoved();
  }

  fit() {
    this.camera.fit();
    this.cameraMoved();
  }

  cameraMoved() {
    this.stage.moved();
    this.planAddress();
  }

  setTheme(theme) {
    this.applyTheme(theme);
    this.refresh();
  }

  /** `theme` is "light", "dark", or null for what the system asks for. */
  applyTheme(theme) {
    this.theme = theme;
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    this.palette = new Palette();
    this.stage?.request("ground", "edges", "items", "overlay");
  }

  planAddress() {
    clearTimeout(this.addressTimer);
    this.addressTimer = setTimeout(() => this.writeAddress(), ADDRESS_DELAY);
  }

  writeAddress() {
    clearTimeout(this.addressTimer);
    const view = this.camera.fitted ? null : this.camera.view;
    const fragment = writeFragment(this.store.state, this.opening, view, this.theme);
    if (location.hash.slice(1) === fragment) return;
    history.replaceState(null, "", fragment ? `#${fragment}` : location.pathname + location.search);
  }

  /** Takes over a view that was put into the address bar. */
  readAddress() {
    clearTimeout(this.addressTimer);
    const given = readFragment(location.hash, this.opening, this.graph);
    this.applyTheme(given.theme);
    this.camera.settle(given.view ?? { x: 0.5, y: 0.5, zoom: 1 });
    this.store.change(given.state);
    this.stage.moved();
    this.masthead.render();
  }

  /** Where an item is on the page, for scripts: {x, y} in CSS pixels. */
  whereIs(id) {
    const { at, groups } = this.view();
    const item = groups.items.find(({ name }) => name === id) ?? this.graph.byId.get(id);
    const box = this.stage.walker.getBoundingClientRect();
    return {
      x: box.left + this.camera.screenX(at.x[item.index]),
      y: box.top + this.camera.screenY(at.y[item.index]),
    };
  }
}

window.explorer = new Explorer(JSON.parse(find("attribution-graph").textContent));
