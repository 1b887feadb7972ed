// @ts-check
/**
 * A threshold that is being tried: what it would have done, in words, and the buttons to apply it or let it be.
 *
 * @typedef {import("./report.mjs").SkipReport} SkipReport
 * @typedef {import("./whatif.mjs").Outcome} Outcome
 * @typedef {"block" | "token"} Kind of threshold
 * @typedef {(kind: Kind, value: number) => string} Apply writes a threshold to the graph, and says so
 */
import { asIf } from "./as_if.mjs";
import { whatIfText } from "./cell_texts.mjs";
import { blockWhatIf, tokenWhatIf } from "./whatif.mjs";

export class WhatIfBar {
  /**
   * @param {{ whatIf: HTMLElement, verdict: HTMLElement, apply: HTMLElement, reset: HTMLElement }} parts
   * @param {Apply | null} apply
   * @param {() => void} changed told when another threshold is tried, or none
   */
  constructor(parts, apply, changed) {
    this.parts = parts;
    this.changed = changed;
    /** What is tried, and what it would have done, or a sentence why that cannot be told.
     * @type {{ kind: Kind, value: number, outcome: Outcome | string } | null} */
    this.trial = null;
    this.write = apply;
    parts.apply.addEventListener("click", () => this.apply());
    parts.reset.addEventListener("click", () => this.try(null, "block", 0));
  }

  /** @param {SkipReport | null} report null to try nothing @param {Kind} kind @param {number} value */
  try(report, kind, value) {
    this.trial = null;
    if (report) {
      const outcome = kind === "token" ? tokenWhatIf(report, value) : blockWhatIf(report, value);
      const told = typeof outcome !== "string";
      this.trial = { kind, value, outcome };
      this.parts.verdict.textContent = told ? whatIfText(report, `${kind}_threshold`, value, outcome) : outcome;
      this.parts.apply.hidden = !told || !this.write;
    }
    this.parts.whatIf.hidden = this.trial === null;
    this.changed();
  }

  /** Write the threshold to the graph, and show what came of it. */
  apply() {
    if (!this.trial || !this.write) return;
    this.parts.verdict.textContent = this.write(this.trial.kind, this.trial.value);
    this.parts.apply.hidden = true;
  }

  /** The threshold that is tried, where it can be told what it would have done. */
  get value() {
    return this.trial && typeof this.trial.outcome !== "string" ? this.trial.value : null;
  }

  /** @param {SkipReport} report @returns {SkipReport} as it would have been, or as it was where nothing is tried */
  drawn(report) {
    return this.trial && typeof this.trial.outcome !== "string" ? asIf(report, this.trial.outcome) : report;
  }
}
