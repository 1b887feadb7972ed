// @ts-check
/**
 * The report of a run as it would have been under another threshold.
 *
 * @typedef {import("./report.mjs").SkipReport} SkipReport
 * @typedef {import("./whatif.mjs").Outcome} Outcome
 */

/**
 * @param {SkipReport} report
 * @param {Outcome} outcome
 * @returns {SkipReport} for drawing; branches are not told apart
 */
export function asIf(report, outcome) {
  const { tokens } = report;
  const { computed, computedFraction } = outcome;
  const masks = outcome.masks ?? tokens?.masks.map((mask, e) => maskAsIf(mask, report.computed[e], computed[e]));
  return {
    ...report,
    computed,
    computedFraction,
    computedByBranch: null,
    tokens: tokens && masks ? { ...tokens, masks } : null,
  };
}

/** Without blocks no token is computed; which ones a selector would have chosen where it had no part is not known: all.
 * @param {Uint8Array} mask @param {number[]} was @param {number[]} would @returns {Uint8Array} */
function maskAsIf(mask, was, would) {
  if (would.every((fraction) => fraction <= 0)) return new Uint8Array(mask.length);
  return was.some((fraction) => fraction > 0) ? mask : new Uint8Array(mask.length).fill(1);
}
