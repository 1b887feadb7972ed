// @ts-check
/**
 * Colours of the data; nodes/rendering.py has the same ones, and a test compares them.
 *
 * Amber and blue stay apart in the common kinds of colour blindness, and their luminance differs by a factor of five,
 * so the map survives a greyscale print. `mark` is the stroke on predicted cells and the dot on partial ones.
 */
export const PALETTE = Object.freeze({
  computed: "#f2b134",
  predicted: "#27527f",
  mark: "#7fa8d1",
});

export const DEFAULT_PALETTE = "amber and blue";
export const PALETTE_NAMES = Object.freeze([DEFAULT_PALETTE, "mint and plum", "greyscale"]);

/**
 * Colour of a cell of which a fraction was computed.
 * @param {number} fraction 0 (predicted) to 1 (computed)
 * @returns {string} CSS colour
 */
export function shade(fraction) {
  const from = channels(PALETTE.predicted);
  const to = channels(PALETTE.computed);
  return `rgb(${from.map((value, i) => Math.floor(value + (to[i] - value) * fraction + 0.5)).join(", ")})`;
}

/** @param {string} hex @returns {number[]} */
function channels(hex) {
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
}
