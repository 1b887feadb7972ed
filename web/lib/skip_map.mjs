// @ts-check
/**
 * The preview's element: notes, canvas, slider, hover line and totals of one report.
 *
 * `element.dataset` repeats what is drawn: `state` (empty, report or error), `evaluations`, `blocks`, `selected`
 * (counted from 1, as the slider does), `computedFraction` and `tokensComputed` (of the selected evaluation).
 */
import { drawMap } from "./draw.mjs";
import { columnHit, gridHit, layoutMap, tokenHit } from "./layout.mjs";
import { readReport } from "./report.mjs";
import { CLASS, CSS, EXPANDS, FONT } from "./style.mjs";
import { cellText, EMPTY, evaluationText, stateOf, summaryText, tokenText, totalsText } from "./texts.mjs";

/** @typedef {import("./report.mjs").SkipReport} SkipReport */

/** Shows one report at a time; `setReport` replaces it, `dispose` may be called more than once. */
export class SkipMap {
  /** @param {{ apply: (kind: "block" | "token", value: number) => string }} options */
  constructor({ apply }) {
    this.apply = apply;
    /** @type {SkipReport | null} */
    this.report = null;
    this.selected = 0;
    /** Whether the user chose the evaluation; a choice is kept for the next run. */
    this.chosen = false;
    this.element = create("div", `${CLASS} ${EXPANDS}`);
    this.element.append(create("style", "", CSS));
    this.notes = this.element.appendChild(create("div", "notes"));
    this.stage = this.element.appendChild(create("div", "stage"));
    this.canvas = this.stage.appendChild(create("canvas", ""));
    this.message = this.stage.appendChild(create("div", "message"));
    this.controls = this.element.appendChild(create("label", "controls", "evaluation"));
    this.slider = this.controls.appendChild(create("input", ""));
    this.position = this.controls.appendChild(create("span", "position"));
    this.hover = this.element.appendChild(create("div", "hover"));
    this.totals = this.element.appendChild(create("div", "totals"));
    this.canvas.setAttribute("role", "img");
    this.hover.setAttribute("aria-live", "polite");
    this.notes.setAttribute("role", "status");
    Object.assign(this.slider, { type: "range", min: "1", step: "1" });
    this.resizes = new ResizeObserver(() => this.draw());
    this.listen();
    this.show("empty", EMPTY);
  }

  /** Attach the listeners, all of them on the widget's own elements. */
  listen() {
    this.slider.addEventListener("input", () => this.select(Number(this.slider.value) - 1));
    this.canvas.addEventListener("pointermove", (event) => this.describe(event));
    this.canvas.addEventListener("pointerleave", () => this.describe(null));
    this.canvas.addEventListener("click", (event) => this.selectColumn(event));
    this.resizes.observe(this.stage);
  }

  /**
   * Show a report; one that cannot be read is explained in the widget and never throws.
   * @param {unknown} value a report as parsed JSON
   */
  setReport(value) {
    try {
      this.report = readReport(value);
    } catch (error) {
      this.report = null;
      const sentence = error instanceof Error ? error.message : String(error);
      console.warn(`FastCache preview: ${sentence}`);
      this.show("error", sentence);
      return;
    }
    const last = Math.max(this.report.evaluations - 1, 0);
    this.selected = this.chosen ? Math.min(this.selected, last) : firstSkipping(this.report);
    const why = this.report.notes.join(" ") || "The run recorded no evaluation.";
    this.show("report", this.report.evaluations ? "" : why);
  }

  /** @param {unknown} value a report that grows */
  setLive(value) {
    this.report = readReport(value);
    if (!this.chosen) this.selected = this.report.evaluations - 1;
    this.show("live", "");
  }

  /** @param {string[][]} urls */
  setImages(urls) {
    this.element.dataset.images = urls.flat().join(" ");
  }

  /** @param {string} name */
  setPalette(name) {
    this.element.dataset.palette = name;
  }

  /**
   * Put the element into one of its states and draw it.
   * @param {"empty" | "report" | "error" | "live"} state
   * @param {string} message in place of the map; empty to draw the map
   */
  show(state, message) {
    const { report, element } = this;
    element.dataset.state = state;
    element.dataset.evaluations = String(report?.evaluations ?? 0);
    element.dataset.blocks = String(report?.blocks.length ?? 0);
    element.dataset.computedFraction = report ? String(report.computedFraction) : "";
    this.message.textContent = message;
    this.notes.textContent = message === "" ? (report?.notes.join(" ") ?? "") : "";
    this.totals.textContent = report ? totalsText(report) : "";
    this.slider.max = String(report?.evaluations ?? 1);
    this.message.hidden = message === "";
    this.notes.hidden = this.notes.textContent === "";
    this.totals.hidden = report === null;
    for (const part of [this.canvas, this.controls, this.hover]) part.hidden = message !== "";
    this.refresh();
  }

  /**
   * Select an evaluation on behalf of the user.
   * @param {number} evaluation counted from 0
   */
  select(evaluation) {
    this.selected = evaluation;
    this.chosen = true;
    this.refresh();
  }

  /** Bring slider, texts and canvas to the selected evaluation. */
  refresh() {
    const { report, selected } = this;
    const drawn = report !== null && report.evaluations > 0;
    const mask = drawn ? report.tokens?.masks[selected] : null;
    this.element.dataset.selected = drawn ? String(selected + 1) : "";
    this.element.dataset.tokensComputed = mask ? String(mask.reduce((sum, bit) => sum + bit, 0)) : "";
    this.slider.value = String(selected + 1);
    this.position.textContent = drawn ? `${selected + 1} / ${report.evaluations}` : "";
    this.canvas.setAttribute("aria-label", report ? summaryText(report, selected) : EMPTY);
    this.describe(null);
    this.draw();
  }

  /** Redraw the canvas at its present size; nothing happens while it has none. */
  draw() {
    const { clientWidth: width, clientHeight: height } = this.stage;
    const ctx = this.canvas.getContext("2d");
    if (!ctx || !this.report?.evaluations || width < 1 || height < 1) return;
    // The graph is zoomed by a CSS transform that no observer reports, so there is always some detail in reserve.
    const scale = Math.max(2, Math.ceil(window.devicePixelRatio));
    this.canvas.width = width * scale;
    this.canvas.height = height * scale;
    ctx.scale(scale, scale);
    const style = getComputedStyle(this.element);
    const theme = { text: style.color, line: style.borderTopColor, font: FONT };
    drawMap(ctx, this.report, layoutMap(this.report, width, height), this.selected, theme);
  }

  /**
   * Write what is under the pointer, or the selected evaluation, on the line under the canvas.
   * @param {MouseEvent | null} event
   */
  describe(event) {
    if (!this.report?.evaluations) return;
    this.hover.textContent = (event && this.textAt(event)) ?? evaluationText(this.report, this.selected);
  }

  /** @param {MouseEvent} event @returns {string | null} */
  textAt(event) {
    const report = /** @type {SkipReport} */ (this.report);
    const { x, y, layout } = this.locate(event);
    const cell = gridHit(layout, x, y);
    if (cell) return cellText(report, cell.evaluation, cell.block);
    const token = tokenHit(layout, report.tokens, x, y);
    return token && tokenText(report, this.selected, token);
  }

  /** @param {MouseEvent} event */
  selectColumn(event) {
    if (!this.report?.evaluations) return;
    const { x, y, layout } = this.locate(event);
    const evaluation = columnHit(layout, x, y);
    if (evaluation === null) return;
    this.select(evaluation);
    this.describe(event);
  }

  /** Where an event lies on the canvas: the graph's zoom is a CSS transform, so screen and CSS pixels differ.
   * @param {MouseEvent} event */
  locate(event) {
    const { clientWidth: width, clientHeight: height } = this.stage;
    const rect = this.canvas.getBoundingClientRect();
    const x = ((event.clientX - rect.left) * width) / rect.width;
    const y = ((event.clientY - rect.top) * height) / rect.height;
    return { x, y, layout: layoutMap(/** @type {SkipReport} */ (this.report), width, height) };
  }

  /** Stop watching the element; the node is gone. */
  dispose() {
    this.resizes.disconnect();
  }
}

/** The evaluation to begin with: the first that computed some tokens and not others, else the first that skipped.
 * @param {SkipReport} report @returns {number} */
function firstSkipping(report) {
  const mixed = report.tokens?.masks.findIndex((mask) => mask.includes(0) && mask.includes(1)) ?? -1;
  if (mixed >= 0) return mixed;
  return Math.max(report.computed.findIndex((row) => row.some((fraction) => stateOf(fraction) !== "computed")), 0);
}

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {string} className
 * @param {string} [text]
 * @returns {HTMLElementTagNameMap[K]}
 */
function create(tag, className, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.append(text);
  return element;
}
