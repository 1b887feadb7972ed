// @ts-check
/**
 * The handle on the threshold line: drag it, or focus it and use the arrow keys. It lies over the canvas and moves with
 * the line.
 *
 * @typedef {import("./layout.mjs").CurveLayout} CurveLayout
 */
import { valueAt, yOf } from "./curve.mjs";
import { significant, STEPS, thresholdBeyond, widgetThreshold } from "./numbers.mjs";

/** Factors by which keys change the value. @type {Readonly<Record<string, number>>} */
const KEYS = Object.freeze({
  ArrowUp: 1.05, ArrowRight: 1.05, ArrowDown: 1 / 1.05, ArrowLeft: 1 / 1.05, PageUp: 1.5, PageDown: 1 / 1.5,
});
const HEIGHT = 14;

export class ThresholdHandle {
  /**
   * @param {(value: number) => void} tried told the value, rounded, whenever the user moves the handle
   * @param {(event: MouseEvent) => number} locate y of an event on the canvas
   */
  constructor(tried, locate) {
    this.tried = tried;
    this.locate = locate;
    /** @type {CurveLayout | null} */
    this.layout = null;
    this.value = 0;
    this.factor = 1;
    /** How far from the line it was taken, so that it does not jump. */
    this.offset = 0;
    /** What the pointer asks for until the next frame is drawn. @type {number | null} */
    this.wanted = null;
    this.element = document.createElement("div");
    this.element.className = "threshold";
    this.element.tabIndex = 0;
    this.element.setAttribute("role", "slider");
    this.element.setAttribute("aria-orientation", "vertical");
    this.element.addEventListener("pointerdown", (event) => this.grab(event));
    this.element.addEventListener("pointermove", (event) => this.drag(event));
    this.element.addEventListener("lostpointercapture", () => this.tryWanted());
    this.element.addEventListener("keydown", (event) => this.press(event));
    this.place(null, 0, 1);
  }

  /**
   * Put the handle on the line.
   * @param {CurveLayout | null} layout null where there is nothing to drag
   * @param {number} value as the widget holds it
   * @param {number} factor by which the line lies higher at the evaluation that is selected
   */
  place(layout, value, factor) {
    this.layout = layout;
    this.value = value;
    this.factor = factor;
    this.element.hidden = layout === null;
    if (!layout) return;
    const { axis, curve } = layout;
    const top = yOf(axis, layout, value * factor) - HEIGHT / 2;
    Object.assign(this.element.style, { left: `${layout.x}px`, top: `${top}px`, width: `${layout.width}px` });
    this.element.title = `Drag to see what another ${curve.knob} would have done.`;
    const spoken = { label: curve.knob, valuemin: axis.low / factor, valuemax: axis.high / factor, valuenow: value };
    for (const [name, of] of Object.entries(spoken)) this.element.setAttribute(`aria-${name}`, String(of));
    this.element.setAttribute("aria-valuetext", significant(value, 3));
  }

  /** Give the keys to the handle. */
  focus() {
    this.element.focus({ preventScroll: true });
  }

  /** @param {PointerEvent} event */
  grab(event) {
    if (event.button !== 0 || !this.layout) return;
    this.offset = this.locate(event) - yOf(this.layout.axis, this.layout, this.value * this.factor);
    this.element.setPointerCapture(event.pointerId);
    this.focus();
    event.preventDefault();
    event.stopPropagation();
  }

  /** There may be many moves to a frame, of which the last one counts. @param {PointerEvent} event */
  drag(event) {
    if (!this.layout || !this.element.hasPointerCapture(event.pointerId)) return;
    const y = this.locate(event) - this.offset;
    if (this.wanted === null) requestAnimationFrame(() => this.tryWanted());
    this.wanted = widgetThreshold(valueAt(this.layout.axis, this.layout, y) / this.factor, stepOf(this.layout));
  }

  /** Try what the pointer asks for, if it still does. */
  tryWanted() {
    const { wanted } = this;
    this.wanted = null;
    if (wanted !== null && this.layout) this.tried(wanted);
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    if (!this.layout || event.ctrlKey || event.metaKey || event.altKey) return;
    const [low, high] = [this.layout.axis.low / this.factor, this.layout.axis.high / this.factor];
    const ends = new Map([["Home", low], ["End", high]]);
    if (!ends.has(event.key) && !Object.hasOwn(KEYS, event.key)) return;
    event.preventDefault();
    const step = stepOf(this.layout);
    const target = ends.get(event.key) ?? thresholdBeyond(this.value, KEYS[event.key], step);
    this.tried(widgetThreshold(Math.min(Math.max(target, low), high), step));
  }
}

/** @param {CurveLayout} layout @returns {number} the step of the widget that holds the threshold */
function stepOf({ curve }) {
  return STEPS[curve.knob];
}
