// @ts-check
/** Numbers as people read them. */

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

/** @param {number} value @param {number} digits @returns {string} without needless zeros */
export function significant(value, digits) {
  return String(Number(value.toPrecision(digits)));
}

/** What thresholds are rounded to by the widgets that hold them; a test compares them.
 * @type {Readonly<Record<string, number>>} */
export const STEPS = Object.freeze({ block_threshold: 0.001, token_threshold: 0.0001 });

/**
 * @param {number} value
 * @param {number} step of the widget, and the least that it is given here: 0 means that nothing is skipped
 * @returns {number} the nearest threshold that the widget holds, with three digits at most
 */
export function widgetThreshold(value, step) {
  const places = Math.round(-Math.log10(step));
  return Math.max(Number(Number(value.toPrecision(3)).toFixed(places)), step);
}

/** @param {number} value @param {number} factor @param {number} step of the widget
 * @returns {number} the next threshold that the widget holds, by at least a step */
export function thresholdBeyond(value, factor, step) {
  const least = value + Math.sign(factor - 1) * step;
  return widgetThreshold(factor > 1 ? Math.max(value * factor, least) : Math.min(value * factor, least), step);
}

/**
 * A number and the threshold it was held against, with as many decimals as it takes to see which way it went.
 * @param {number} value
 * @param {number} threshold
 * @returns {string} for example "0.031 < 0.050"
 */
export function compared(value, threshold) {
  const sign = value < threshold ? "<" : value > threshold ? ">" : "=";
  const least = Math.max(decimals(value), decimals(threshold));
  for (let digits = least; digits <= 6; digits++) {
    const [left, right] = [value.toFixed(digits), threshold.toFixed(digits)];
    if (left !== right || sign === "=") return `${left} ${sign} ${right}`;
  }
  return `${significant(value, 3)} ${sign} ${significant(threshold, 3)}`;
}

/** Decimals that two significant digits need. @param {number} value @returns {number} */
function decimals(value) {
  return value === 0 ? 0 : Math.max(1 - Math.floor(Math.log10(Math.abs(value))), 0);
}
