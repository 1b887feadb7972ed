// @ts-check
/**
 * Sentences about a run and its evaluations. People count evaluations, samples, frames, rows and columns from 1; blocks
 * keep the names the model gives them.
 *
 * @typedef {import("./report.mjs").SkipReport} SkipReport
 * @typedef {import("./hits.mjs").TokenHit} TokenHit
 */
import { megabytes, percent, significant } from "./numbers.mjs";

export const EMPTY = "Run the workflow to see what was skipped.";
export const EMPTY_COMPARISON = "Run the workflow to compare the images.";
export const EMPTY_PROFILE = "Run the workflow to save the profile.";
export const BEGINS = "Sampling begins.";

/** @param {number} fraction @returns {"computed" | "partial" | "predicted"} */
export function stateOf(fraction) {
  if (fraction >= 1) return "computed";
  return fraction <= 0 ? "predicted" : "partial";
}

/**
 * What was computed of a block, for each branch on its own where they were treated differently.
 * @param {SkipReport} report
 * @param {number} evaluation
 * @param {number} block
 * @returns {{ branch: string, fraction: number }[]} one part, with an empty name, where branches agree
 */
export function partsOf({ computed, computedByBranch }, evaluation, block) {
  const branches = Object.entries(computedByBranch ?? {});
  const parts = branches.map(([branch, rows]) => ({ branch, fraction: rows[evaluation][block] }));
  const differ = parts.some(({ fraction }) => fraction !== parts[0].fraction);
  return differ ? parts : [{ branch: "", fraction: computed[evaluation][block] }];
}

/**
 * The line about the whole run.
 * @param {SkipReport} report
 * @returns {string}
 */
export function totalsText(report) {
  const times = `${report.seconds.toFixed(2)} s (overhead ${report.overheadSeconds.toFixed(2)} s)`;
  const count = `${report.evaluations} ${report.evaluations === 1 ? "evaluation" : "evaluations"}`;
  const cache = `cache ${megabytes(report.cacheBytes)}`;
  return [workText(report), ...(report.evaluations ? [count] : []), times, cache].join(", ");
}

/**
 * The same line while the run goes on. Some samplers evaluate the model more than once a step; how often is not known.
 * @param {SkipReport} report
 * @returns {string}
 */
export function liveText(report) {
  const of = report.steps === null || report.evaluations > report.steps ? "" : ` of ${report.steps}`;
  return `sampling, evaluation ${report.evaluations}${of}, ${workText(report)} so far`;
}

/** @param {SkipReport} report @returns {string} */
function workText({ computedFraction }) {
  return `${percent(computedFraction)} of block work computed`;
}

/**
 * @param {SkipReport} report
 * @param {number} evaluation
 * @returns {string} for example "evaluation 7 of 20 (sigma 0.412)"
 */
export function evaluationName(report, evaluation) {
  const sigma = report.sigmas[evaluation] ?? null;
  const name = `evaluation ${evaluation + 1} of ${report.evaluations}`;
  return sigma === null ? name : `${name} (sigma ${significant(sigma, 3)})`;
}

/**
 * @param {SkipReport} report
 * @param {number} evaluation
 * @returns {string} how many blocks and tokens were computed at this evaluation
 */
export function evaluationText(report, evaluation) {
  const counts = { computed: 0, partial: 0, predicted: 0 };
  for (const fraction of report.computed[evaluation]) counts[stateOf(fraction)] += 1;
  const parts = Object.entries(counts).filter(([, count]) => count > 0).map(([state, count]) => `${count} ${state}`);
  return `${evaluationName(report, evaluation)}: ${parts.join(", ")} of ${report.blocks.length} blocks`;
}

/**
 * The heading of the token map, in several lengths, the longest first.
 * @param {SkipReport} report
 * @param {number} evaluation
 * @param {string} shown which maps are shown, empty for the only one
 * @returns {string[]}
 */
export function tokensTexts(report, evaluation, shown) {
  const fraction = tokenFraction(report, evaluation);
  if (fraction === null) return [];
  const share = `${percent(fraction)} computed`;
  const long = `tokens at evaluation ${evaluation + 1}: ${share}`;
  const short = `tokens: ${share}`;
  return shown ? [`${long} (${shown})`, `${short} (${shown})`, long, short] : [long, short];
}

/**
 * @param {SkipReport} report
 * @param {number} selected
 * @returns {string} for readers who do not see the canvas
 */
export function summaryText(report, selected) {
  if (report.evaluations === 0) return `Skip map without evaluations. ${report.notes.join(" ")}`.trim();
  const size = `Skip map of ${report.blocks.length} blocks by ${report.evaluations} evaluations`;
  return `${size}: ${totalsText(report)}. Selected: ${evaluationText(report, selected)}.`;
}

/** @param {SkipReport} report @param {TokenHit} hit @returns {number} of the token in a mask */
export function tokenIndex({ tokens }, { sample, frame, row, column }) {
  return tokens ? ((sample * tokens.frames + frame) * tokens.height + row) * tokens.width + column : 0;
}

/** @param {SkipReport} report @param {number} evaluation @param {TokenHit} hit @returns {boolean} */
export function isTokenComputed(report, evaluation, hit) {
  return report.tokens?.masks[evaluation][tokenIndex(report, hit)] === 1;
}

/** @param {SkipReport} report @param {number} evaluation @returns {number | null} */
export function tokenFraction({ tokens }, evaluation) {
  if (!tokens) return null;
  const mask = tokens.masks[evaluation];
  return mask.reduce((sum, bit) => sum + bit, 0) / mask.length;
}
