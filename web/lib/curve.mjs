// @ts-check
/**
 * The curve under the grid: what was held against the threshold at every evaluation, on a logarithmic axis. No drawing.
 *
 * @typedef {import("./report.mjs").SkipReport} SkipReport
 * @typedef {"blocks" | "tokens"} Mode
 * @typedef {(number | null)[]} Row one entry an evaluation
 * @typedef {{ low: Row, middle: Row, high: Row, threshold: Row, dots: Row, name: string, knob: string }} Curve
 *   `low` and `high` bound a band of tokens; blocks have one number an evaluation; `dots`: errors that were measured;
 *   `knob`: the widget that holds the threshold
 * @typedef {{ low: number, high: number }} Axis
 * @typedef {{ y: number, height: number }} Span
 */
import { blockThreshold, measureOf } from "./held.mjs";

/** How far the axis reaches beyond the threshold, as a factor, so that there is somewhere to drag it to. */
const REACH = 4;
/** The axis shows no more than this, as a factor below what it ends with. */
const LONGEST = 1e5;
const BAND = [0.1, 0.5, 0.9];

/** They are asked for with every drawing. @type {Record<Mode, WeakMap<SkipReport, Curve | null>>} */
const curves = { blocks: new WeakMap(), tokens: new WeakMap() };

/**
 * @param {SkipReport} report
 * @param {Mode} mode
 * @returns {Curve | null} null where the report has nothing to draw
 */
export function curveOf(report, mode) {
  const known = curves[mode].get(report);
  if (known !== undefined) return known;
  const curve = findCurve(report, mode);
  curves[mode].set(report, curve);
  return curve;
}

/** @param {SkipReport} report @param {Mode} mode @returns {Curve | null} */
function findCurve(report, mode) {
  const curve = mode === "tokens" ? tokenCurve(report) : blockCurve(report);
  return curve?.threshold.some(isPositive) && curve.middle.some(isPositive) ? curve : null;
}

/** @param {SkipReport} report @returns {Curve | null} */
function blockCurve(report) {
  const [name, { held }] = [measureOf(report), report];
  if (name === null || !held) return null;
  const threshold = evaluations(report).map((e) => blockThreshold(report, e));
  const dots = report.realised ?? held.map(() => null);
  return { low: held, middle: held, high: held, threshold, dots, name, knob: "block_threshold" };
}

/** @param {SkipReport} report @returns {Curve | null} */
function tokenCurve(report) {
  const { saliency, thresholds } = report;
  if (!saliency || !thresholds) return null;
  const [low, middle, high] = transposed(saliency.values.map((bytes, e) => quantiles(bytes, saliency.thresholds[e] ?? 0, saliency.scale)));
  const dots = evaluations(report).map(() => null);
  const names = { name: "squared change of tokens", knob: "token_threshold" };
  return { low, middle, high, threshold: thresholds.token, dots, ...names };
}

/** @param {SkipReport} report @returns {number[]} */
function evaluations(report) {
  return Array.from({ length: report.evaluations }, (_, i) => i);
}

/** @param {Uint8Array | null} bytes @param {number} threshold @param {number} scale @returns {Row} */
function quantiles(bytes, threshold, scale) {
  if (!bytes) return [null, null, null];
  const counts = new Uint32Array(256);
  for (const byte of bytes) counts[byte] += 1;
  return BAND.map((part) => {
    let left = part * bytes.length;
    const level = counts.findIndex((count) => (left -= count) <= 0);
    return saliencyOf(level, threshold, scale);
  });
}

/**
 * @param {number} byte
 * @param {number} threshold of its evaluation
 * @param {number} scale levels by which it is told apart, a factor of e each
 * @returns {number} the squared change a byte stands for; the lowest byte stands for none
 */
export function saliencyOf(byte, threshold, scale) {
  return byte === 0 ? 0 : threshold * Math.exp((byte - 127.5) / scale);
}

/** @param {Row[]} rows of three @returns {[Row, Row, Row]} */
function transposed(rows) {
  return [rows.map((row) => row[0]), rows.map((row) => row[1]), rows.map((row) => row[2])];
}

/**
 * The ends of the axis; they do not depend on a threshold that is being tried.
 * @param {Curve} curve
 * @returns {Axis}
 */
export function axisOf(curve) {
  const values = [curve.low, curve.high, curve.dots].flat().filter(isPositive);
  const thresholds = curve.threshold.filter(isPositive);
  const high = Math.max(...values, ...thresholds.map((value) => value * REACH)) * 1.3;
  const low = Math.min(...values, ...thresholds.map((value) => value / REACH)) / 1.3;
  return { low: Math.max(low, high / LONGEST), high };
}

/** @param {number | null} value @returns {value is number} whether it has a place on a logarithmic axis */
export function isPositive(value) {
  return value !== null && value > 0;
}

/**
 * @param {Axis} axis
 * @param {Span} span
 * @param {number} value
 * @returns {number} y, kept inside the span
 */
export function yOf({ low, high }, { y, height }, value) {
  const part = Math.log(Math.min(Math.max(value, low), high) / low) / Math.log(high / low);
  return y + (1 - part) * height;
}

/**
 * @param {Axis} axis
 * @param {Span} span
 * @param {number} y
 * @returns {number} the value at that height, kept on the axis
 */
export function valueAt({ low, high }, span, y) {
  const part = Math.min(Math.max(1 - (y - span.y) / span.height, 0), 1);
  return low * (high / low) ** part;
}

/**
 * Round values to label: 1, 2 and 5 of every decade, or fewer where there is no room.
 * @param {Axis} axis
 * @param {Span} span
 * @param {number} room pixels that a label needs
 * @returns {{ value: number, y: number }[]}
 */
export function axisTicks(axis, span, room) {
  const first = Math.floor(Math.log10(axis.low));
  const decades = Array.from({ length: Math.ceil(Math.log10(axis.high)) - first + 1 }, (_, i) => first + i);
  const choices = [[1, 2, 5], [1, 3], [1]].map((digits) => decades
    .flatMap((decade) => digits.map((digit) => Number(`${digit}e${decade}`)))
    .filter((value) => value >= axis.low && value <= axis.high)
    .map((value) => ({ value, y: yOf(axis, span, value) })));
  const fits = (/** @type {{ y: number }[]} */ ticks) =>
    ticks.every((tick, i) => i === 0 || ticks[i - 1].y - tick.y >= room);
  const decadesApart = Math.ceil((choices[2].length * room) / span.height);
  return choices.find(fits) ?? choices[2].filter((_, i) => i % decadesApart === 0);
}
