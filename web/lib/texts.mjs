// @ts-check
/**
 * Every sentence of the preview. People count evaluations, samples, rows and columns from 1; blocks keep the names the
 * model gives them.
 *
 * @typedef {import("./report.mjs").SkipReport} SkipReport
 * @typedef {import("./layout.mjs").TokenHit} TokenHit
 */

export const EMPTY = "Run the workflow to see what was skipped.";
export const EMPTY_COMPARISON = "Run the workflow to compare the images.";

/** @param {number} fraction @returns {"computed" | "partial" | "predicted"} */
export function stateOf(fraction) {
  if (fraction >= 1) return "computed";
  return fraction <= 0 ? "predicted" : "partial";
}

/**
 * Whole percent, but never 0 or 100 for something in between.
 * @param {number} fraction
 * @returns {string}
 */
export function percent(fraction) {
  const value = 100 * fraction;
  if (value > 0 && value < 1) return "< 1 %";
  if (value > 99 && value < 100) return "> 99 %";
  return `${Math.floor(value + 0.5)} %`;
}

/** @param {number} bytes @returns {string} */
export function megabytes(bytes) {
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
}

/**
 * The line about the whole run.
 * @param {SkipReport} report
 * @returns {string}
 */
export function totalsText(report) {
  const times = `${report.seconds.toFixed(2)} s (overhead ${report.overheadSeconds.toFixed(2)} s)`;
  const work = `${percent(report.computedFraction)} of block work computed`;
  const count = `${report.evaluations} ${report.evaluations === 1 ? "evaluation" : "evaluations"}`;
  return [work, ...(report.evaluations ? [count] : []), times, `cache ${megabytes(report.cacheBytes)}`].join(", ");
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
 * @param {SkipReport} report
 * @param {number} evaluation
 * @param {number} block
 * @returns {string} what happened to one block at one evaluation, and why
 */
export function cellText(report, evaluation, block) {
  const fraction = report.computed[evaluation][block];
  const state = stateOf(fraction);
  const change = report.change[evaluation][block] ?? null;
  const expected = report.errorExpected[evaluation][block] ?? null;
  const error = report.errorRealised[evaluation][block] ?? null;
  const facts = [
    state === "partial" ? `partial, ${percent(fraction)} of tokens computed` : state,
    ...(change === null ? [] : [`change ${significant(change, 2)}`]),
    ...(expected === null ? [] : [`expected error ${significant(expected, 2)}`]),
    ...(error === null ? [] : [`a prediction would have been off by ${significant(error, 2)}`]),
  ];
  const reason = report.reasons[evaluation][block] ?? null;
  const what = `${evaluationName(report, evaluation)}, ${report.blocks[block]}: ${facts.join(", ")}`;
  return reason === null ? what : `${what}; ${reason}`;
}

/**
 * @param {SkipReport} report
 * @param {number} evaluation
 * @param {TokenHit} hit
 * @returns {string}
 */
export function tokenText(report, evaluation, hit) {
  const { samples = 1, frames = 1 } = report.tokens ?? {};
  const where = [
    ...(samples > 1 ? [`sample ${hit.sample + 1}`] : []),
    ...(frames > 1 ? [`frame ${hit.frame + 1}`] : []),
    `token row ${hit.row + 1}`,
    `column ${hit.column + 1}`,
  ];
  return `${where.join(", ")}: ${isTokenComputed(report, evaluation, hit) ? "computed" : "predicted"}`;
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
  return [...(shown ? [`${long} (${shown})`] : []), long, `tokens: ${share}`];
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

/** @param {SkipReport} report @param {number} evaluation @param {TokenHit} hit @returns {boolean} */
export function isTokenComputed({ tokens }, evaluation, { sample, frame, row, column }) {
  if (!tokens) return false;
  const index = ((sample * tokens.frames + frame) * tokens.height + row) * tokens.width + column;
  return tokens.masks[evaluation][index] === 1;
}

/** @param {SkipReport} report @param {number} evaluation @returns {number | null} */
export function tokenFraction({ tokens }, evaluation) {
  if (!tokens) return null;
  const mask = tokens.masks[evaluation];
  return mask.reduce((sum, bit) => sum + bit, 0) / mask.length;
}

/** @param {number} value @param {number} digits @returns {string} */
function significant(value, digits) {
  return String(Number(value.toPrecision(digits)));
}
