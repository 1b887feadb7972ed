// @ts-check
/**
 * What was held against which threshold: the rules of fastcache_core/policies.py, as far as a report tells.
 *
 * @typedef {import("./report.mjs").SkipReport} SkipReport
 * @typedef {[number, number]} Site first and last block
 * @typedef {{ name: string, value: number, threshold: number }} Held
 */

/** Rules with a threshold, and what they hold against it; a test compares them with the engine's.
 * @type {Readonly<Record<string, string>>} */
const MEASURES = Object.freeze({
  significance: "expected error",
  change: "change",
  distance: "distance from the anchor",
  first_block: "change of the first block's work",
  first_block_distance: "distance of the first block's work from the anchor",
  fitted_change: "fitted change of the output",
  magnitude: "change of the work's size",
  sensitivity: "change that the sensitivities expect",
  rate: "change of the output at its last rate",
});

/**
 * @param {SkipReport} report
 * @returns {string | null} what the run's rule looked at; null for a rule without a threshold
 */
export function measureOf({ rule }) {
  return (rule !== null && MEASURES[rule]) || null;
}

/**
 * @param {SkipReport} report
 * @param {number} evaluation
 * @returns {number | null} the general block threshold that held
 */
export function blockThreshold({ thresholds, blockThreshold: constant }, evaluation) {
  return thresholds ? thresholds.block[evaluation] : constant;
}

/**
 * What decided about a block, if the report tells: of some rules it has no more than the largest number of all sites.
 * @param {SkipReport} report
 * @param {number} evaluation
 * @param {number} block
 * @returns {Held | null}
 */
export function heldAgainst(report, evaluation, block) {
  const measure = measureOf(report);
  const own = ownThreshold(report, siteOf(report, block));
  const threshold = own ?? blockThreshold(report, evaluation);
  if (measure === null || threshold === null) return null;
  const shared = (report.sites ?? []).filter((site) => ownThreshold(report, site) === null).length;
  const [each, adds] = [eachOf(report), report.rule === "significance"];
  const together = own === null && (adds || (each === null && shared === 1));
  const value = (together ? report.held?.[evaluation] : each?.[evaluation]?.[block]) ?? null;
  if (value === null) return null;
  return { name: adds && together && shared > 1 ? `sum of ${measure}s` : measure, value, threshold };
}

/** What the rule looked at, of every block; null where the report does not have it.
 * @param {SkipReport} report @returns {(number | null)[][] | null} */
function eachOf({ rule, errorExpected, change }) {
  if (rule === "significance") return errorExpected;
  return rule === "change" || rule === "first_block" ? change : null;
}

/** The lowest one of a site's blocks. @param {SkipReport} report @param {Site} site @returns {number | null} */
function ownThreshold({ ownThresholds }, [first, last]) {
  const own = (ownThresholds ?? []).slice(first, last + 1).filter((threshold) => threshold !== null);
  return own.length ? Math.min(...own) : null;
}

/** @param {SkipReport} report @param {number} block @returns {Site} */
function siteOf({ sites }, block) {
  return sites?.find(([first, last]) => first <= block && block <= last) ?? [block, block];
}
