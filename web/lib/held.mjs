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
  const value = together ? expectedTogether(report, evaluation) : seen(report)[evaluation]?.[block] ?? null;
  if (value === null) return null;
  return { name: together && sharing(report).length > 1 ? `sum of ${measure}s` : measure, value, threshold };
}

/**
 * The rule `significance` adds up the expected errors of all sites without a threshold of their own, each weighted by
 * the norm of its work when that was last measured.
 * @param {SkipReport} report
 * @param {number} evaluation
 * @returns {number | null} null where nothing was expected yet, or the report does not tell
 */
export function expectedTogether(report, evaluation) {
  const sites = sharing(report);
  const errors = sites.map(([first]) => report.errorExpected[evaluation]?.[first] ?? null);
  if (errors.every((error) => error === null)) return null;
  if (report.sites?.length === 1) return errors[0];
  const shares = sharesBefore(report, evaluation);
  if (shares === null) return null;
  const parts = errors.map((error, i) => (error ?? 0) * (shares.get(sites[i][0]) ?? 0));
  return parts.reduce((sum, part) => sum + part, 0);
}

/**
 * What blocks were found to be off by at an evaluation that computed them, weighted by the norm of their work.
 * @param {SkipReport} report
 * @param {number} evaluation
 * @returns {number | null}
 */
export function realisedTogether(report, evaluation) {
  const errors = report.errorRealised[evaluation] ?? [];
  const firsts = (report.sites ?? []).map(([first]) => first).filter((first) => (errors[first] ?? null) !== null);
  const sizes = firsts.map((first) => report.size?.[evaluation][first] ?? 0);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  if (total === 0) return firsts.length === 1 ? errors[firsts[0]] : null;
  return firsts.reduce((sum, first, i) => sum + /** @type {number} */ (errors[first]) * sizes[i], 0) / total;
}

/**
 * What a rule without sums saw, [evaluations][blocks].
 * @param {SkipReport} report
 */
export function seen(report) {
  return report.rule === "significance" ? report.errorExpected : report.change;
}

/** Sites that the general threshold holds for. @param {SkipReport} report @returns {Site[]} */
function sharing(report) {
  return (report.sites ?? []).filter((site) => ownThreshold(report, site) === null);
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

/** Every site's part in the work before an evaluation, by its first block.
 * @param {SkipReport} report @param {number} evaluation @returns {Map<number, number> | null} */
function sharesBefore({ sites, size }, evaluation) {
  if (!sites || !size) return null;
  const before = size.slice(0, evaluation).reverse();
  const known = sites.map(([first]) => before.find((row) => row[first] !== null)?.[first] ?? 0);
  const total = known.reduce((sum, one) => sum + one, 0);
  return total === 0 ? null : new Map(sites.map(([first], i) => [first, known[i] / total]));
}
