// @ts-check
/**
 * The canvas of the map with the handle on it: keeps both at the size of their box, and knows what lies under the
 * pointer.
 *
 * @typedef {import("./report.mjs").SkipReport} SkipReport
 * @typedef {object} Scene
 * @property {SkipReport} report
 * @property {SkipReport} drawn the same, or as it would have been under the threshold that is tried
 * @property {number} selected evaluation
 * @property {import("./layout.mjs").View} view
 * @property {number | null} tried threshold, as the widget holds it: without what it is multiplied with along the schedule
 * @property {boolean} draggable whether thresholds can be tried
 * @property {(sample: number, frame: number) => CanvasImageSource | null} picture
 * @property {import("./palette.mjs").Palette} palette
 */
import { cellText, curveText, tokenText, triedCellText } from "./cell_texts.mjs";
import { drawMap } from "./draw.mjs";
import { columnHit, curveHit, gridHit, tokenHit } from "./hits.mjs";
import { layoutMap } from "./layout.mjs";
import { CLASS, FONT } from "./style.mjs";
import { ThresholdHandle } from "./threshold_handle.mjs";
import { factorAt, scaled } from "./whatif.mjs";

/** Pixels that are drawn for one of the page's. There is always some detail in reserve, and never too much to hold. */
const DETAIL = { least: 2, most: 4 };

export class Stage {
  /**
   * @param {HTMLElement} box
   * @param {HTMLCanvasElement} canvas that fills the box
   * @param {(value: number) => void} tried told a threshold, rounded, whenever the user moves the handle
   */
  constructor(box, canvas, tried) {
    this.box = box;
    this.canvas = canvas;
    /** @type {Scene | null} */
    this.scene = null;
    /** @type {import("./layout.mjs").MapLayout | null} */
    this.layout = null;
    this.handle = new ThresholdHandle(tried, (event) => this.locate(event).y);
    box.append(this.handle.element);
    this.resizes = new ResizeObserver(() => this.draw(this.scene));
    this.resizes.observe(box);
    this.watching = true;
  }

  /** A node that was removed may come back with the same box. */
  watchAgain() {
    if (this.watching || !this.box.isConnected) return;
    this.resizes.observe(this.box);
    this.watching = true;
  }

  /** Redraw the canvas at its present size. @param {Scene | null} scene null where there is nothing to draw */
  draw(scene) {
    const { clientWidth: width, clientHeight: height } = this.box;
    const ctx = this.canvas.getContext("2d");
    this.scene = scene;
    this.layout = null;
    this.watchAgain();
    if (ctx && scene && width >= 1 && height >= 1) {
      // The curve stays what it was: only its threshold is tried.
      this.layout = layoutMap(scene.report, width, height, scene.view);
      paint(ctx, scene, this.layout, width, height, this.detail);
    }
    this.placeHandle();
  }

  /** How finely to draw: the graph's zoom is a CSS transform, which the canvas's box on the screen has in it. */
  get detail() {
    const zoom = this.canvas.getBoundingClientRect().width / this.box.clientWidth;
    const { least, most } = DETAIL;
    const wanted = Math.ceil(window.devicePixelRatio * zoom - 0.1); // sizes of boxes are rounded
    return Math.min(Math.max(wanted, least), most);
  }

  /** Draw again where the graph was zoomed since, which no observer reports. */
  sharpen() {
    if (this.layout && this.canvas.width !== this.box.clientWidth * this.detail) this.draw(this.scene);
  }

  /** Put the handle on the threshold line. */
  placeHandle() {
    const { scene } = this;
    const curve = this.layout?.curve ?? null;
    if (!scene?.draggable || !curve) return this.handle.place(null, 0, 1);
    const { report, selected, tried } = scene;
    const factor = factorAt(report, kindOf(scene), selected);
    const thresholds = curve.curve.threshold;
    const recorded = thresholds[selected] || thresholds.find((value) => value) || 0;
    this.handle.place(curve, tried ?? recorded / factor, factor);
  }

  /** @param {MouseEvent} event @returns {string | null} what lies there, in words */
  textAt(event) {
    if (!this.scene || !this.layout) return null;
    const { scene: { report, drawn, selected }, layout } = this;
    const { x, y } = this.locate(event);
    const cell = gridHit(layout, x, y);
    if (cell && drawn !== report) return triedCellText(report, drawn, cell.evaluation, cell.block);
    if (cell) return cellText(report, cell.evaluation, cell.block);
    const evaluation = curveHit(layout, x, y);
    if (evaluation !== null && layout.curve) return curveText(report, layout.curve.curve, evaluation);
    const token = tokenHit(layout, report.tokens, x, y);
    return token && tokenText(drawn, selected, token);
  }

  /** @param {MouseEvent} event @returns {number | null} the evaluation whose column lies there */
  columnAt(event) {
    const { x, y } = this.locate(event);
    return this.layout && columnHit(this.layout, x, y);
  }

  /** Where an event lies on the canvas: the graph's zoom is a CSS transform, so screen and CSS pixels differ.
   * @param {MouseEvent} event @returns {{ x: number, y: number }} */
  locate(event) {
    const { clientWidth: width, clientHeight: height } = this.box;
    const rect = this.canvas.getBoundingClientRect();
    return {
      x: ((event.clientX - rect.left) * width) / rect.width,
      y: ((event.clientY - rect.top) * height) / rect.height,
    };
  }

  /** Stop watching the box. */
  dispose() {
    this.resizes.disconnect();
    this.watching = false;
  }
}

/** The threshold that the curve is about. @param {Scene} scene @returns {"block" | "token"} */
function kindOf({ view }) {
  return view.mode === "tokens" ? "token" : "block";
}

/** @param {CanvasRenderingContext2D} ctx @param {Scene} scene @param {import("./layout.mjs").MapLayout} layout
 * @param {number} width @param {number} height @param {number} scale pixels of the canvas for one of these */
function paint(ctx, scene, layout, width, height, scale) {
  const { report, drawn, selected, picture, palette } = scene;
  ctx.canvas.width = width * scale;
  ctx.canvas.height = height * scale;
  ctx.scale(scale, scale);
  const themed = /** @type {HTMLElement} */ (ctx.canvas.closest(`.${CLASS}`));
  const { color: text, borderTopColor: line, backgroundColor: ground } = getComputedStyle(themed);
  // Only what has been measured can be tried.
  const measured = /** @type {import("./whatif.mjs").Measured} */ (report);
  const tried = scene.tried === null ? null : scaled(measured, kindOf(scene), scene.tried);
  drawMap(ctx, drawn, layout, { selected, tried, picture }, { text, line, ground, font: FONT, palette });
}
