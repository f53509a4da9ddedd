// The view in the address bar, from where it can be shared.

/** @import { Session } from "../model/session.mjs" */

const DELAY = 300; // milliseconds; browsers limit how often it may change

export class Address {
  /** @param {Session} session */
  constructor(session) {
    this.session = session;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    session.on("state", () => this.plan());
    session.on("camera", () => this.plan());
    session.on("theme", () => this.plan());
    window.addEventListener("hashchange", () => this.read());
    this.plan();
  }

  plan() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.write(), DELAY);
  }

  write() {
    clearTimeout(this.timer);
    // A page that is written into another one has no address.
    if (location.protocol === "about:") return;
    const fragment = this.session.fragment();
    if (location.hash.slice(1) === fragment) return;
    history.replaceState(null, "", fragment ? `#${fragment}` : location.pathname + location.search);
  }

  /** Takes over a view that was put into the address bar. */
  read() {
    clearTimeout(this.timer);
    this.session.open(location.hash);
  }
}
