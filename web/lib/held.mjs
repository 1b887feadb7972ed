// @ts-check
/**
 * What was held against which threshold: the rules of fastcache_core/policies.py, as far as a report tells.
 *
 * @typedef {import("./report.mjs").SkipReport} SkipReport
 * @typedef {[number, number]} Site first and last block
 * @typedef {{ name: string, value: number, threshold: number }} Held
 */

/** Rules with a threshold, and what they hold against it. @type {Readonly<Record<string, string>>} */
const MEASURES = Object.freeze({ significance: "expected error", change: "change", first_block: "change" });

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
 * What decided about a block, if the report tells.
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
  const together = report.rule === "significance" && own === null;
  const each = report.rule === "significance" ? report.errorExpected : report.change;
  const value = (together ? report.held?.[evaluation] : each[evaluation]?.[block]) ?? null;
  if (value === null) return null;
  const several = together && (report.sites ?? []).filter((site) => ownThreshold(report, site) === null).length > 1;
  return { name: several ? `sum of ${measure}s` : measure, value, threshold };
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
