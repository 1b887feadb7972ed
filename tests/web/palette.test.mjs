// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { channels, PALETTE_NAMES, PALETTES, shade } from "../../web/lib/palette.mjs";

/** Relative luminance (WCAG). @param {string} hex */
function luminance(hex) {
  const linear = (/** @type {number} */ c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const [r, g, b] = channels(hex).map((value) => linear(value / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

test("shades run from predicted to computed", () => {
  assert.equal(shade(0), "rgb(39, 82, 127)");
  assert.equal(shade(1), "rgb(242, 177, 52)");
  assert.equal(shade(1, PALETTES.greyscale), "rgb(210, 210, 210)");
});

test("every pair can be told by luminance alone, and none of it vanishes on the default themes", () => {
  assert.ok(PALETTE_NAMES.length >= 3);
  for (const name of PALETTE_NAMES) {
    const [light, dark, mark] = ["computed", "predicted", "mark"].map((of) =>
      luminance(PALETTES[name][/** @type {"mark"} */ (of)]));
    assert.ok((light + 0.05) / (dark + 0.05) > 3.5, name);
    assert.ok((mark + 0.05) / (dark + 0.05) > 1.9, `${name}: the stroke on predicted cells`);
    assert.ok((dark + 0.05) / (luminance("#222222") + 0.05) > 1.3, `${name} on the dark theme`);
    assert.ok((luminance("#ffffff") + 0.05) / (light + 0.05) > 1.4, `${name} on the light theme`);
  }
});
