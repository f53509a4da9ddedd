// Painting much over several frames, the strongest first: what matters is seen
// at once, and no input waits for the rest.

class Slices {
  /** `first` things are painted when asked for, `next` in each frame that follows. */
  constructor({ first, next }) {
    Object.assign(this, { first, next });
    this.stop();
  }

  stop() {
    this.things = [];
    this.painted = 0;
  }

  get unfinished() {
    return this.painted < this.things.length;
  }

  /** Whether that many are painted in one go. */
  fits(things) {
    return things.length <= this.next;
  }

  start(things, draw, atOnce = this.fits(things)) {
    Object.assign(this, { things, draw, painted: 0 });
    this.paint(atOnce ? things.length : this.first);
  }

  goOn() {
    this.paint(this.next);
  }

  paint(count) {
    const end = Math.min(this.things.length, this.painted + count);
    for (let i = this.painted; i < end; i++) this.draw(this.things[i]);
    this.painted = end;
  }
}
