// @ts-check
/**
 * The preview's widget: notes, map, scrubber, hover line, what-if and totals of one report.
 *
 * `element.dataset` repeats what is drawn: `state` (empty, live, report or error), `evaluations`, `blocks`, `selected`
 * (from 1, as the slider has it), `frame` (from 1; empty without frames), `mode` (blocks or tokens), `playing`,
 * `palette`, `pictures` (how many can be drawn), `tokensComputed` (of the selected evaluation), `computedFraction` (of
 * the run), and while a threshold is tried `whatIfThreshold` and `whatIfFraction`.
 *
 * @typedef {import("./report.mjs").SkipReport} SkipReport
 * @typedef {import("./curve.mjs").Mode} Mode
 * @typedef {import("./whatif.mjs").Outcome} Outcome
 * @typedef {"block" | "token"} Kind of threshold
 * @typedef {{ value: number, outcome: Outcome | string }} Trial a threshold that is being tried
 */
import { asIf } from "./as_if.mjs";
import { cellText, curveText, tokenText, triedCellText, whatIfText } from "./cell_texts.mjs";
import { curveOf } from "./curve.mjs";
import { drawMap } from "./draw.mjs";
import { buildElements } from "./elements.mjs";
import { columnHit, curveHit, gridHit, tokenHit } from "./hits.mjs";
import { layoutMap } from "./layout.mjs";
import { DEFAULT_PALETTE, PALETTES } from "./palette.mjs";
import { Pictures } from "./pictures.mjs";
import { Player } from "./player.mjs";
import { readReport } from "./report.mjs";
import { ACCENT, FONT } from "./style.mjs";
import { BEGINS, EMPTY, evaluationText, liveText, stateOf, summaryText, totalsText } from "./texts.mjs";
import { ThresholdHandle } from "./threshold_handle.mjs";
import { blockWhatIf, tokenWhatIf } from "./whatif.mjs";

/** Keys that mean something to this widget's controls, and something else to the graph. */
const OWN_KEYS = new Set([" ", "Enter", "Home", "End", "PageUp", "PageDown",
  "ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Escape"]);

/** Shows one report at a time, final or growing; `dispose` may be called more than once. */
export class SkipMap {
  /**
   * @param {object} [options]
   * @param {(kind: Kind, value: number) => string} [options.apply] writes a threshold to the graph, and says so
   */
  constructor({ apply } = {}) {
    this.apply = apply ?? null;
    /** @type {SkipReport | null} */
    this.report = null;
    /** @type {Trial | null} */
    this.trial = null;
    this.selected = 0;
    this.frame = 0;
    /** The evaluation that the user chose, kept for the next run. @type {number | null} */
    this.choice = null;
    /** Whether a growing report is followed to its newest evaluation. */
    this.following = false;
    /** @type {Mode} */
    this.wanted = "blocks";
    this.palette = DEFAULT_PALETTE;
    /** @type {import("./layout.mjs").MapLayout | null} */
    this.layout = null;
    this.parts = buildElements();
    this.element = this.parts.root;
    this.pictures = new Pictures(() => this.refresh());
    this.player = new Player(() => this.advance(), (playing) => this.showPlaying(playing));
    this.handle = new ThresholdHandle((value) => this.tryThreshold(value), (event) => this.locate(event).y);
    this.parts.stage.append(this.handle.element);
    this.resizes = new ResizeObserver(() => this.draw());
    this.listen();
    this.setPalette(DEFAULT_PALETTE);
    this.showPlaying(false);
    this.show("empty", EMPTY);
  }

  /** Attach the listeners, all of them on the widget's own elements. */
  listen() {
    const { root, stage, canvas, play, evaluations, frames, byBlocks, byTokens, apply, reset } = this.parts;
    evaluations.slider.addEventListener("input", () => this.select(Number(evaluations.slider.value) - 1));
    frames.slider.addEventListener("input", () => this.selectFrame(Number(frames.slider.value) - 1));
    play.addEventListener("click", () => this.togglePlay());
    byBlocks.addEventListener("click", () => this.setMode("blocks"));
    byTokens.addEventListener("click", () => this.setMode("tokens"));
    apply.addEventListener("click", () => this.applyTrial());
    reset.addEventListener("click", () => this.resetTrial());
    canvas.addEventListener("pointermove", (event) => this.describe(event));
    canvas.addEventListener("pointerleave", () => this.describe(null));
    canvas.addEventListener("click", (event) => this.selectColumn(event));
    root.addEventListener("keydown", (event) => this.keep(event));
    this.resizes.observe(stage);
  }

  /**
   * Show the report of a run that is over; one that cannot be read is explained in the widget and never throws.
   * @param {unknown} value a report as parsed JSON
   */
  setReport(value) {
    const report = this.read(value);
    if (!report) return;
    const last = Math.max(report.evaluations - 1, 0);
    this.selected = this.choice === null ? firstSkipping(report) : Math.min(this.choice, last);
    const why = report.notes.join(" ") || "The run recorded no evaluation.";
    this.show("report", report.evaluations ? "" : why);
  }

  /**
   * Show the report of a run that goes on; its newest evaluation is followed until the user chooses one.
   * @param {unknown} value a report as parsed JSON, as far as it has come
   */
  setLive(value) {
    const report = this.read(value);
    if (!report) return;
    if (this.element.dataset.state !== "live") this.following = true;
    const last = Math.max(report.evaluations - 1, 0);
    this.selected = this.following ? last : Math.min(this.selected, last);
    this.show("live", report.evaluations ? "" : BEGINS);
  }

  /**
   * Pictures to lie under the token map.
   * @param {string[][]} urls per sample, per frame; [] for none
   */
  setImages(urls) {
    this.pictures.set(urls);
    this.refresh();
  }

  /** @param {string} name one of PALETTE_NAMES; another one means the default */
  setPalette(name) {
    this.palette = name in PALETTES ? name : DEFAULT_PALETTE;
    this.element.dataset.palette = this.palette;
    this.element.style.setProperty(ACCENT, PALETTES[this.palette].computed);
    this.draw();
  }

  /** Take over what can be read of a report, or show why it cannot be.
   * @param {unknown} value @returns {SkipReport | null} */
  read(value) {
    this.player.stop();
    this.trial = null;
    try {
      this.report = readReport(value);
    } catch (error) {
      this.report = null;
      const sentence = error instanceof Error ? error.message : String(error);
      console.warn(`FastCache preview: ${sentence}`);
      this.show("error", sentence);
    }
    return this.report;
  }

  /**
   * Put the element into one of its states and draw it.
   * @param {"empty" | "live" | "report" | "error"} state
   * @param {string} message in place of the map; empty to draw the map
   */
  show(state, message) {
    const { report, element, parts } = this;
    element.dataset.state = state;
    element.dataset.evaluations = String(report?.evaluations ?? 0);
    element.dataset.blocks = String(report?.blocks.length ?? 0);
    element.dataset.computedFraction = report ? String(report.computedFraction) : "";
    parts.message.textContent = message;
    parts.message.hidden = message === "";
    parts.notes.textContent = message === "" ? (report?.notes.join(" ") ?? "") : "";
    parts.notes.hidden = parts.notes.textContent === "";
    parts.totals.textContent = report ? (state === "live" ? liveText(report) : totalsText(report)) : "";
    parts.evaluations.slider.max = String(report?.evaluations ?? 1);
    parts.frames.slider.max = String(this.frames);
    parts.play.disabled = state === "live" || (report?.evaluations ?? 0) < 2;
    for (const part of [parts.canvas, parts.controls, parts.hover]) part.hidden = message !== "";
    parts.frames.label.hidden = message !== "" || this.frames < 2;
    parts.modes.hidden = !report || curveOf(report, "tokens") === null;
    this.refresh();
  }

  /** Frames of the token map. */
  get frames() {
    return this.report?.tokens?.frames ?? 1;
  }

  /** What the curve is about: blocks where the report has no curve of tokens. @returns {Mode} */
  get mode() {
    return this.parts.modes.hidden ? "blocks" : this.wanted;
  }

  /** @returns {import("./layout.mjs").View} */
  get view() {
    const columns = this.element.dataset.state === "live" ? (this.report?.steps ?? 0) : 0;
    return { frame: this.frame, mode: this.mode, columns };
  }

  /** The report as it is drawn: as it was, or as it would have been. @returns {SkipReport | null} */
  get drawn() {
    const outcome = this.trial?.outcome ?? "";
    return this.report && typeof outcome !== "string" ? asIf(this.report, outcome) : this.report;
  }

  /**
   * Select an evaluation on behalf of the user.
   * @param {number} evaluation counted from 0
   */
  select(evaluation) {
    this.player.stop();
    this.selected = evaluation;
    this.choice = evaluation;
    this.following = false;
    this.refresh();
  }

  /** @param {number} frame counted from 0 */
  selectFrame(frame) {
    this.player.stop();
    this.frame = frame;
    this.refresh();
  }

  /** @param {Mode} mode */
  setMode(mode) {
    this.player.stop();
    this.wanted = mode;
    this.trial = null;
    this.refresh();
  }

  /** Start at the selected evaluation, or at the first one if there is none left to come. */
  togglePlay() {
    if (this.player.playing) {
      this.player.stop();
      return;
    }
    if (this.selected >= (this.report?.evaluations ?? 0) - 1) this.selected = -1;
    this.advance();
    this.player.start();
  }

  /** @returns {boolean} whether there are more evaluations to come */
  advance() {
    const last = (this.report?.evaluations ?? 0) - 1;
    this.selected = Math.min(this.selected + 1, last);
    this.refresh();
    return this.selected < last;
  }

  /** @param {boolean} playing */
  showPlaying(playing) {
    this.element.dataset.playing = String(playing);
    this.parts.play.setAttribute("aria-pressed", String(playing));
    this.parts.play.setAttribute("aria-label", playing ? "pause" : "play");
    this.parts.play.title = playing ? "Pause" : "Play the evaluations";
  }

  /** See what another threshold would have done. @param {number} value */
  tryThreshold(value) {
    if (!this.report) return;
    this.player.stop();
    const outcome = this.kind === "token" ? tokenWhatIf(this.report, value) : blockWhatIf(this.report, value);
    this.trial = { value, outcome };
    this.parts.verdict.textContent =
      typeof outcome === "string" ? outcome : whatIfText(this.report, `${this.kind}_threshold`, value, outcome);
    this.parts.apply.hidden = typeof outcome === "string" || !this.apply;
    this.refresh();
  }

  /** The threshold that the curve is about. @returns {Kind} */
  get kind() {
    return this.mode === "tokens" ? "token" : "block";
  }

  /** Write the threshold that is tried to the graph, and say what came of it. */
  applyTrial() {
    if (!this.trial || !this.apply) return;
    this.parts.verdict.textContent = this.apply(this.kind, this.trial.value);
    this.parts.apply.hidden = true;
  }

  resetTrial() {
    this.trial = null;
    this.refresh();
  }

  /** Bring sliders, texts and canvas to what is selected. */
  refresh() {
    const { drawn, selected, parts, trial } = this;
    const data = this.element.dataset;
    const filled = drawn !== null && drawn.evaluations > 0;
    const mask = filled ? drawn.tokens?.masks[selected] : null;
    const tried = trial !== null && typeof trial.outcome !== "string" ? trial : null;
    this.frame = Math.min(this.frame, this.frames - 1);
    data.selected = filled ? String(selected + 1) : "";
    data.frame = this.frames > 1 ? String(this.frame + 1) : "";
    data.mode = this.mode;
    data.pictures = String(this.pictures.count);
    data.tokensComputed = mask ? String(mask.reduce((sum, bit) => sum + bit, 0)) : "";
    data.whatIfThreshold = tried ? String(tried.value) : "";
    data.whatIfFraction = tried && drawn ? String(drawn.computedFraction) : "";
    parts.evaluations.slider.value = String(selected + 1);
    parts.evaluations.position.textContent = filled ? `${selected + 1} / ${drawn.evaluations}` : "";
    parts.frames.slider.value = String(this.frame + 1);
    parts.frames.position.textContent = `${this.frame + 1} / ${this.frames}`;
    parts.byBlocks.setAttribute("aria-pressed", String(this.mode === "blocks"));
    parts.byTokens.setAttribute("aria-pressed", String(this.mode === "tokens"));
    parts.root.classList.toggle("trying", trial !== null);
    parts.whatIf.hidden = trial === null;
    parts.totals.hidden = this.report === null || trial !== null;
    parts.canvas.setAttribute("aria-label", drawn ? summaryText(drawn, selected) : EMPTY);
    this.describe(null);
    this.draw();
  }

  /** Redraw the canvas at its present size; nothing happens while it has none. */
  draw() {
    const { drawn, parts } = this;
    const { clientWidth: width, clientHeight: height } = parts.stage;
    const ctx = parts.canvas.getContext("2d");
    this.layout = null;
    if (ctx && drawn?.evaluations && width >= 1 && height >= 1) {
      // The curve stays what it was: only its threshold is tried.
      this.layout = layoutMap(/** @type {SkipReport} */ (this.report), width, height, this.view);
      this.paint(ctx, drawn, this.layout, width, height);
    }
    this.placeHandle();
  }

  /** @param {CanvasRenderingContext2D} ctx @param {SkipReport} drawn @param {import("./layout.mjs").MapLayout} layout
   * @param {number} width @param {number} height */
  paint(ctx, drawn, layout, width, height) {
    // The graph is zoomed by a CSS transform that no observer reports, so there is always some detail in reserve.
    const scale = Math.max(2, Math.ceil(window.devicePixelRatio));
    ctx.canvas.width = width * scale;
    ctx.canvas.height = height * scale;
    ctx.scale(scale, scale);
    const { color: text, borderTopColor: line, backgroundColor: ground } = getComputedStyle(this.element);
    const tried = this.trial && typeof this.trial.outcome !== "string" ? this.trial.value : null;
    const picture = (/** @type {number} */ sample, /** @type {number} */ frame) =>
      this.pictures.at(sample, frame, this.frames);
    const theme = { text, line, ground, font: FONT, palette: PALETTES[this.palette] };
    drawMap(ctx, drawn, layout, { selected: this.selected, tried, picture }, theme);
  }

  /** Put the handle on the threshold line, where it can be tried. */
  placeHandle() {
    const curve = this.layout?.curve ?? null;
    const free = curve && this.element.dataset.state === "report" ? curve : null;
    const recorded = curve?.curve.threshold[this.selected] ?? curve?.curve.threshold.find((value) => value) ?? 0;
    const tried = typeof this.trial?.outcome === "object" ? this.trial.value : recorded;
    this.handle.place(free, tried);
  }

  /**
   * Write what is under the pointer, or the selected evaluation, on the line under the canvas.
   * @param {MouseEvent | null} event
   */
  describe(event) {
    const { drawn } = this;
    if (!drawn?.evaluations) return;
    this.parts.hover.textContent = (event && this.textAt(event)) ?? evaluationText(drawn, this.selected);
  }

  /** @param {MouseEvent} event @returns {string | null} */
  textAt(event) {
    const { report, drawn, layout } = this;
    if (!report || !drawn || !layout) return null;
    const { x, y } = this.locate(event);
    const cell = gridHit(layout, x, y);
    if (cell && drawn !== report) return triedCellText(report, drawn, cell.evaluation, cell.block);
    if (cell) return cellText(report, cell.evaluation, cell.block);
    const evaluation = curveHit(layout, x, y);
    if (evaluation !== null && layout.curve) return curveText(report, layout.curve.curve, evaluation);
    const token = tokenHit(layout, report.tokens, x, y);
    return token && tokenText(drawn, this.selected, token);
  }

  /** @param {MouseEvent} event */
  selectColumn(event) {
    if (!this.layout) return;
    const { x, y } = this.locate(event);
    const evaluation = columnHit(this.layout, x, y);
    if (evaluation === null) return;
    this.select(evaluation);
    this.describe(event);
  }

  /** Where an event lies on the canvas: the graph's zoom is a CSS transform, so screen and CSS pixels differ.
   * @param {MouseEvent} event @returns {{ x: number, y: number }} */
  locate(event) {
    const { clientWidth: width, clientHeight: height } = this.parts.stage;
    const rect = this.parts.canvas.getBoundingClientRect();
    return {
      x: ((event.clientX - rect.left) * width) / rect.width,
      y: ((event.clientY - rect.top) * height) / rect.height,
    };
  }

  /** Keys that move the widget's controls must not move the graph. @param {KeyboardEvent} event */
  keep(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !OWN_KEYS.has(event.key)) return;
    event.stopPropagation();
    if (event.key === "Escape" && this.trial) this.resetTrial();
  }

  /** Stop watching the element; the node is gone. */
  dispose() {
    this.player.stop();
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
