// @ts-check
/**
 * Colours of the data. The default pair is also the picture's (nodes/drawing/rendering.py), and a test compares them.
 *
 * In every pair the luminance of `computed` and `predicted` differs by a factor of about four or more, so that each
 * can be told by eyes that see no colour at all, and in a greyscale print. `mark` is the stroke on predicted cells.
 *
 * @typedef {{ computed: string, predicted: string, mark: string }} Palette
 */

export const DEFAULT_PALETTE = "amber and blue";

/** @type {Readonly<Record<string, Readonly<Palette>>>} */
export const PALETTES = Object.freeze({
  [DEFAULT_PALETTE]: Object.freeze({ computed: "#f2b134", predicted: "#27527f", mark: "#7fa8d1" }),
  "mint and plum": Object.freeze({ computed: "#86dbb4", predicted: "#6b3a82", mark: "#b48cc8" }),
  greyscale: Object.freeze({ computed: "#d2d2d2", predicted: "#5c5c5c", mark: "#a0a0a0" }),
});

/** For a setting; each is understood by `SkipMap.setPalette`. */
export const PALETTE_NAMES = Object.freeze(Object.keys(PALETTES));

export const PALETTE = PALETTES[DEFAULT_PALETTE];

/**
 * Colour of a cell of which a fraction was computed.
 * @param {number} fraction 0 (predicted) to 1 (computed)
 * @param {Palette} [palette]
 * @returns {string} CSS colour
 */
export function shade(fraction, palette = PALETTE) {
  const from = channels(palette.predicted);
  const to = channels(palette.computed);
  return `rgb(${from.map((value, i) => Math.floor(value + (to[i] - value) * fraction + 0.5)).join(", ")})`;
}

/** @param {string} hex @returns {number[]} red, green and blue, 0 to 255 */
export function channels(hex) {
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
}
