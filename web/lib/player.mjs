// @ts-check
/** Moves through the evaluations by itself, when asked to. */

const INTERVAL = 250; // milliseconds an evaluation

export class Player {
  /**
   * @param {() => boolean} advance shows the next evaluation; false once there is none
   * @param {(playing: boolean) => void} changed told whenever it starts or stops
   */
  constructor(advance, changed) {
    this.advance = advance;
    this.changed = changed;
    /** @type {ReturnType<typeof setInterval> | null} */
    this.timer = null;
  }

  get playing() {
    return this.timer !== null;
  }

  start() {
    if (this.playing) return;
    this.timer = setInterval(() => this.advance() || this.stop(), INTERVAL);
    this.changed(true);
  }

  stop() {
    if (this.timer === null) return;
    clearInterval(this.timer);
    this.timer = null;
    this.changed(false);
  }
}
