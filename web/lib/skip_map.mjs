// @ts-check
/**
 * The preview's widget: notes, map, scrubber, hover line, what-if and totals of one report.
 *
 * `element.dataset` repeats what is drawn: `state` (empty, live, report or error), `evaluations`, `blocks`, `selected`
 * (from 1, as the slider has it), `frame` (from 1; empty without frames), `mode` (blocks or tokens), `playing`,
 * `palette`, `images` (URLs of pictures), `pictures` (how many of them can be drawn), `tokensComputed` (of the selected
 * evaluation), `computedFraction` (of the run), and while a threshold is tried `whatIfThreshold` and `whatIfFraction`.
 *
 * @typedef {import("./report.mjs").SkipReport} SkipReport
 * @typedef {import("./curve.mjs").Mode} Mode
 */
import { curveOf } from "./curve.mjs";
import { buildElements } from "./elements.mjs";
import { DEFAULT_PALETTE, PALETTES } from "./palette.mjs";
import { Pictures } from "./pictures.mjs";
import { Player } from "./player.mjs";
import { readReport } from "./report.mjs";
import { Stage } from "./stage.mjs";
import { ACCENT } from "./style.mjs";
import { BEGINS, EMPTY, evaluationText, liveText, stateOf, summaryText, totalsText } from "./texts.mjs";
import { WhatIfBar } from "./what_if_bar.mjs";
import { isTold } from "./whatif.mjs";

/** Keys that mean something to this widget's controls, and something else to the graph. */
const OWN_KEYS = new Set([" ", "Enter", "Home", "End", "PageUp", "PageDown",
  "ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Escape"]);

/** Shows one report at a time, final or growing; `dispose` may be called more than once. */
export class SkipMap {
  /**
   * @param {object} [options]
   * @param {import("./what_if_bar.mjs").Apply} [options.apply] writes a threshold to the graph, and says so
   */
  constructor({ apply } = {}) {
    /** @type {SkipReport | null} */
    this.report = null;
    this.selected = 0;
    this.frame = 0;
    /** The evaluation that the user chose, kept for the next run. @type {number | null} */
    this.choice = null;
    /** Whether a growing report is followed to its newest evaluation. */
    this.following = false;
    /** @type {Mode} */
    this.wanted = "blocks";
    this.palette = DEFAULT_PALETTE;
    this.parts = buildElements();
    this.element = this.parts.root;
    this.whatIf = new WhatIfBar(this.parts, apply ?? null, () => this.refresh());
    this.pictures = new Pictures(() => this.refresh());
    this.player = new Player(() => this.advance(), (playing) => this.showPlaying(playing));
    this.stage = new Stage(this.parts.stage, this.parts.canvas, (value) => this.tryThreshold(value));
    this.listen();
    this.setPalette(DEFAULT_PALETTE);
    this.showPlaying(false);
    this.show("empty", EMPTY);
  }

  /** Attach the listeners, all of them on the widget's own elements. */
  listen() {
    const { root, canvas, play, evaluations, frames, byBlocks, byTokens, apply, reset } = this.parts;
    evaluations.slider.addEventListener("input", () => this.select(Number(evaluations.slider.value) - 1));
    frames.slider.addEventListener("input", () => this.selectFrame(Number(frames.slider.value) - 1));
    play.addEventListener("click", () => this.togglePlay());
    byBlocks.addEventListener("click", () => this.setMode("blocks"));
    byTokens.addEventListener("click", () => this.setMode("tokens"));
    canvas.addEventListener("pointermove", (event) => this.describe(event));
    canvas.addEventListener("pointerleave", () => this.describe(null));
    canvas.addEventListener("click", (event) => this.selectColumn(event));
    for (const vanishing of [apply, reset]) vanishing.addEventListener("click", () => this.stage.handle.focus());
    root.addEventListener("keydown", (event) => this.keep(event));
    for (const pointer of ["pointerdown", "pointermove"]) root.addEventListener(pointer, () => this.readOut(false));
    root.addEventListener("pointerenter", () => this.stage.watchAgain());
    root.addEventListener("pointermove", () => this.stage.sharpen()); // also after the wheel zoomed under the pointer
    root.addEventListener("transitionend", ({ target }) => target === root && this.stage.draw(this.scene));
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
    this.element.dataset.images = urls.flat().join(" ");
    this.pictures.set(urls);
    this.refresh();
  }

  /** @param {string} name one of PALETTE_NAMES; another one means the default */
  setPalette(name) {
    this.palette = Object.hasOwn(PALETTES, name) ? name : DEFAULT_PALETTE;
    this.element.dataset.palette = this.palette;
    this.element.style.setProperty(ACCENT, PALETTES[this.palette].computed);
    this.stage.draw(this.scene);
  }

  /** Take over what can be read of a report, or show why it cannot be.
   * @param {unknown} value @returns {SkipReport | null} */
  read(value) {
    this.player.stop();
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
    this.readOut(false);
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
    this.resetTrial();
  }

  /** Frames of the token map. */
  get frames() {
    return this.report?.tokens?.frames ?? 1;
  }

  /** What the curve is about: blocks where the report has no curve of tokens. @returns {Mode} */
  get mode() {
    return this.parts.modes.hidden ? "blocks" : this.wanted;
  }

  /** The report as it is drawn: as it was, or as it would have been. @returns {SkipReport | null} */
  get drawn() {
    return this.report && this.whatIf.drawn(this.report);
  }

  /** What is to be drawn, if anything is. @returns {import("./stage.mjs").Scene | null} */
  get scene() {
    const { report, drawn, selected } = this;
    if (!report || !drawn?.evaluations) return null;
    const live = this.element.dataset.state === "live";
    return {
      report,
      drawn,
      selected,
      view: { frame: this.frame, mode: this.mode, columns: live ? columnsToCome(report) : 0 },
      tried: this.whatIf.value,
      draggable: !live && (this.mode === "tokens" || isTold(report)),
      picture: (sample, frame) => this.pictures.at(sample, frame, this.frames),
      palette: PALETTES[this.palette],
    };
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
    this.resetTrial();
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
    this.readOut(false);
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
    this.player.stop();
    this.whatIf.try(this.report, this.mode === "tokens" ? "token" : "block", value);
  }

  /** Draw what was again. */
  resetTrial() {
    this.whatIf.try(null, "block", 0);
  }

  /** Bring sliders, texts and canvas to what is selected. */
  refresh() {
    const { drawn, selected, parts } = this;
    const data = this.element.dataset;
    const filled = drawn !== null && drawn.evaluations > 0;
    const mask = filled ? drawn.tokens?.masks[selected] : null;
    const { trial, value: tried } = this.whatIf;
    this.frame = Math.min(this.frame, this.frames - 1);
    data.selected = filled ? String(selected + 1) : "";
    data.frame = this.frames > 1 ? String(this.frame + 1) : "";
    data.mode = this.mode;
    data.pictures = String(this.pictures.count);
    data.tokensComputed = mask ? String(mask.reduce((sum, bit) => sum + bit, 0)) : "";
    data.whatIfThreshold = tried ? String(tried) : "";
    data.whatIfFraction = tried && drawn ? String(drawn.computedFraction) : "";
    parts.evaluations.slider.value = String(selected + 1);
    parts.evaluations.position.textContent = filled ? `${selected + 1} / ${drawn.evaluations}` : "";
    parts.frames.slider.value = String(this.frame + 1);
    parts.frames.position.textContent = `${this.frame + 1} / ${this.frames}`;
    parts.byBlocks.setAttribute("aria-pressed", String(this.mode === "blocks"));
    parts.byTokens.setAttribute("aria-pressed", String(this.mode === "tokens"));
    parts.root.classList.toggle("trying", trial !== null);
    parts.totals.hidden = this.report === null || trial !== null;
    parts.canvas.setAttribute("aria-label", drawn ? summaryText(drawn, selected) : EMPTY);
    this.describe(null);
    this.stage.draw(this.scene);
  }

  /**
   * Write what is under the pointer, or the selected evaluation, on the line under the canvas.
   * @param {MouseEvent | null} event
   */
  describe(event) {
    const { drawn } = this;
    if (!drawn?.evaluations) return;
    this.parts.hover.textContent = (event && this.stage.textAt(event)) ?? evaluationText(drawn, this.selected);
  }

  /** @param {MouseEvent} event */
  selectColumn(event) {
    const evaluation = this.stage.columnAt(event);
    if (evaluation === null) return;
    this.select(evaluation);
    this.describe(event);
  }

  /** Keys that move the widget's controls must not move the graph. @param {KeyboardEvent} event */
  keep(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !OWN_KEYS.has(event.key)) return;
    if (event.key === "Escape" && !this.whatIf.trial) return;
    event.stopPropagation();
    this.readOut(event.target === this.parts.evaluations.slider);
    if (event.key === "Escape") this.resetTrial();
  }

  /** Whether screen readers read out what changes on the line under the canvas. They do where keys select an evaluation;
   * for every move of the pointer and every evaluation that is played or sampled it would be too much.
   * @param {boolean} changes */
  readOut(changes) {
    this.parts.hover.setAttribute("aria-live", changes ? "polite" : "off");
  }

  /** Stop watching the element; the node is gone. */
  dispose() {
    this.player.stop();
    this.stage.dispose();
  }
}

/**
 * @param {SkipReport} report of a run that goes on
 * @returns {number} columns to leave room for: one a step, and as many again when there are more evaluations than that
 */
export function columnsToCome({ steps, evaluations }) {
  return steps ? steps * Math.max(Math.ceil(evaluations / steps), 1) : 0;
}

/** The evaluation to begin with: the first that computed some tokens and not others, else the first that skipped.
 * @param {SkipReport} report @returns {number} */
function firstSkipping(report) {
  const mixed = report.tokens?.masks.findIndex((mask) => mask.includes(0) && mask.includes(1)) ?? -1;
  if (mixed >= 0) return mixed;
  return Math.max(report.computed.findIndex((row) => row.some((fraction) => stateOf(fraction) !== "computed")), 0);
}
