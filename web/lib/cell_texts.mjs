// @ts-check
/**
 * Sentences about what lies under the pointer: a cell, a token, a point of the curve, a threshold that is being tried.
 *
 * @typedef {import("./report.mjs").SkipReport} SkipReport
 * @typedef {import("./hits.mjs").TokenHit} TokenHit
 */
import { saliencyOf } from "./curve.mjs";
import { heldAgainst } from "./held.mjs";
import { compared, percent, significant } from "./numbers.mjs";
import { isTokenComputed, partsOf, stateOf, tokenIndex } from "./texts.mjs";

/** A reason that says no more than the comparison with a threshold does. */
const COMPARISON = /(above|within) [\d.e+-]+$/;

/**
 * @param {SkipReport} report
 * @param {number} evaluation
 * @param {number} block
 * @returns {string} what happened to one block at one evaluation, and why
 */
export function cellText(report, evaluation, block) {
  const held = heldAgainst(report, evaluation, block);
  const facts = held ? [`${held.name} ${compared(held.value, held.threshold)}`] : bareFacts(report, evaluation, block);
  const what = `${cellName(report, evaluation, block)}: ${[cellState(report, evaluation, block), ...facts].join(", ")}`;
  const error = report.errorRealised[evaluation][block] ?? null;
  const rest = [
    ...reasonFor(report.reasons[evaluation][block] ?? null, held !== null),
    ...(error === null ? [] : [`a prediction would have been off by ${significant(error, 2)}`]),
  ];
  return [what, ...rest].join("; ");
}

/**
 * @param {SkipReport} report what was
 * @param {SkipReport} tried what would have been
 * @param {number} evaluation
 * @param {number} block
 * @returns {string}
 */
export function triedCellText(report, tried, evaluation, block) {
  const [was, would] = [report, tried].map((one) => cellState(one, evaluation, block));
  const change = was === would ? `${would}, as it was` : `${would} (was ${was})`;
  return `what if: ${cellName(report, evaluation, block)}: ${change}`;
}

/** @param {SkipReport} report @param {number} evaluation @param {number} block @returns {string} */
function cellName(report, evaluation, block) {
  return `evaluation ${evaluation + 1}, ${blockName(report.blocks[block])}`;
}

/** @param {string} name @returns {string} "double block 12" for "double 12"; other names as they are */
function blockName(name) {
  const [, kind, number] = /^(.*\D)\s+(\d+)$/.exec(name) ?? [];
  return kind === undefined || /block/i.test(kind) ? name : `${kind} block ${number}`;
}

/** @param {SkipReport} report @param {number} evaluation @param {number} block @returns {string} */
function cellState(report, evaluation, block) {
  return partsOf(report, evaluation, block).map(({ branch, fraction }) => {
    const state = stateOf(fraction);
    const told = state === "partial" ? `partial (${percent(fraction)} of tokens computed)` : state;
    return branch ? `${branch} ${told}` : told;
  }).join(", ");
}

/** Numbers of a report that does not tell the threshold they were held against.
 * @param {SkipReport} report @param {number} evaluation @param {number} block @returns {string[]} */
function bareFacts(report, evaluation, block) {
  const change = report.change[evaluation][block] ?? null;
  const expected = report.errorExpected[evaluation][block] ?? null;
  return [
    ...(change === null ? [] : [`change ${significant(change, 2)}`]),
    ...(expected === null ? [] : [`expected error ${significant(expected, 2)}`]),
  ];
}

/** The reason, where it adds something; what it begins with is said already.
 * @param {string | null} reason @param {boolean} held whether a comparison is told @returns {string[]} */
function reasonFor(reason, held) {
  if (reason === null || (held && COMPARISON.test(reason))) return [];
  return [reason.replace(/^(computed|predicted): /, "")];
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
  const state = isTokenComputed(report, evaluation, hit) ? "computed" : "predicted";
  return `${where.join(", ")}: ${[state, ...tokenChange(report, evaluation, hit)].join(", ")}`;
}

/** @param {SkipReport} report @param {number} evaluation @param {TokenHit} hit @returns {string[]} */
function tokenChange(report, evaluation, hit) {
  const { saliency } = report;
  const byte = saliency?.values[evaluation]?.[tokenIndex(report, hit)];
  if (!saliency || byte === undefined) return [];
  const threshold = saliency.thresholds[evaluation] ?? 0;
  return [`squared change ${compared(saliencyOf(byte, threshold, saliency.scale), threshold)}`];
}

/**
 * @param {SkipReport} report
 * @param {import("./curve.mjs").Curve} curve
 * @param {number} evaluation
 * @returns {string} what the curve says at an evaluation
 */
export function curveText(report, curve, evaluation) {
  const [low, middle, high] = [curve.low, curve.middle, curve.high].map((row) => row[evaluation] ?? null);
  const [dot, threshold] = [curve.dots[evaluation] ?? null, curve.threshold[evaluation] ?? null];
  const why = report.forced?.[evaluation] ?? null;
  const range = low === high || low === null || high === null ? ""
    : ` (${significant(low, 2)} to ${significant(high, 2)})`;
  const facts = [
    ...(middle === null ? [`no ${curve.name} known`] : [`${curve.name} ${significant(middle, 2)}${range}`]),
    ...(threshold === null ? [] : [`${curve.knob} ${significant(threshold, 3)}`]),
    ...(dot === null ? [] : [`measured ${significant(dot, 2)}`]),
  ];
  return [`evaluation ${evaluation + 1}: ${facts.join(", ")}`, ...reasonFor(why, false)].join("; ");
}

/**
 * The heading of the curve, in several lengths, the longest first.
 * @param {import("./curve.mjs").Curve} curve
 * @returns {string[]}
 */
export function curveCaptions({ name, knob, dots, low, high }) {
  const band = low.some((value, e) => value !== high[e]);
  const spread = knob === "token_threshold" ? `${name}: median, 10 to 90 %` : `${name}: median and range`;
  const long = band ? spread : name;
  const measured = dots.some((dot) => dot !== null) ? ", rings: measured" : "";
  return [`${long}${measured}, against ${knob}`, `${long}, against ${knob}`, `${name}, ${knob}`, name];
}

/**
 * What a threshold that is being tried would have done.
 * @param {SkipReport} report
 * @param {string} knob
 * @param {number} value
 * @param {import("./whatif.mjs").Outcome} outcome
 * @returns {string}
 */
export function whatIfText(report, knob, value, { computedFraction, error, left }) {
  const work = `${percent(computedFraction)} of block work (now ${percent(report.computedFraction)})`;
  const tokens = knob === "token_threshold";
  const price = tokens && left !== undefined ? `estimated change left ${significant(left, 2)}`
    : !tokens && error ? `estimated error ${significant(error.largest, 2)} (largest)` : "an estimate";
  return `${knob} ${significant(value, 3)}: ${work}, ${price}`;
}
