// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { axisOf, axisTicks, curveOf, saliencyOf, valueAt, yOf } from "../../web/lib/curve.mjs";
import { heldAgainst } from "../../web/lib/held.mjs";
import { readReport } from "../../web/lib/report.mjs";
import { olderSample, sample } from "./sample.mjs";

/** @param {object} run settings other than the sample's @param {object} [rest] */
const withRun = (run, rest = {}) => readReport({ ...sample(), ...rest, run: { ...sample().run, ...run } });
/** @param {number | null} value @param {number} due */
const near = (value, due) => assert.ok(value !== null && Math.abs(value - due) < 1e-9, `${value} is not ${due}`);

test("blocks are decided about by the sum of their expected errors", () => {
  const report = readReport(sample());
  assert.deepEqual(heldAgainst(report, 1, 0), { name: "sum of expected errors", value: 0.0381, threshold: 0.05 });
  assert.equal(heldAgainst(report, 0, 0), null);
});

test("what has a threshold of its own is held to that alone", () => {
  const report = withRun({ own_thresholds: [0.2, null, null] });
  assert.deepEqual(heldAgainst(report, 1, 0), { name: "expected error", value: 0.0512, threshold: 0.2 });
  assert.equal(heldAgainst(report, 1, 2)?.value, 0.0381);
});

test("one site's error is its own", () => {
  const report = withRun({ sites: [[0, 2]] });
  assert.deepEqual(heldAgainst(report, 1, 2), { name: "expected error", value: 0.0381, threshold: 0.05 });
});

test("other rules hold the change against the threshold, or nothing", () => {
  assert.deepEqual(heldAgainst(withRun({ rule: "change" }), 1, 1), { name: "change", value: 0.07, threshold: 0.05 });
  assert.equal(heldAgainst(withRun({ rule: "interval" }), 1, 1), null);
  assert.equal(heldAgainst(readReport(olderSample()), 1, 1), null);
});

test("of other measures the largest is told, which is a block's own where there is one site", () => {
  const report = withRun({ rule: "distance", sites: [[0, 2]] });
  const held = { name: "distance from the anchor", value: 0.0381, threshold: 0.05 };
  assert.deepEqual(heldAgainst(report, 1, 2), held);
  assert.equal(heldAgainst(withRun({ rule: "distance" }), 1, 2), null);
  assert.equal(heldAgainst(withRun({ rule: "distance", own_thresholds: [0.2, null, 0.3] }), 1, 2), null);
  assert.deepEqual(heldAgainst(withRun({ rule: "distance", own_thresholds: [0.2, null, 0.3] }), 1, 1), held);
  assert.deepEqual(curveOf(withRun({ rule: "distance" }), "blocks")?.middle, [null, 0.0381]);
});

test("the curve of blocks is what was held against the threshold", () => {
  const curve = curveOf(readReport(sample()), "blocks");
  assert.ok(curve);
  assert.deepEqual(curve.low, curve.high);
  assert.deepEqual(curve.middle, [null, 0.0381]);
  assert.deepEqual([curve.threshold, curve.dots, curve.knob], [[0.05, 0.05], [null, 0.0123], "block_threshold"]);
});

test("the curve of tokens is the distribution of their changes", () => {
  const report = readReport(sample());
  const curve = curveOf(report, "tokens");
  assert.ok(curve);
  near(curve.low[1], saliencyOf(0x70, 0.02, 16));
  near(curve.high[1], saliencyOf(0x90, 0.02, 16));
  assert.equal(curve.middle[0], null);
  assert.ok(saliencyOf(127, 0.02, 16) < 0.02 && saliencyOf(128, 0.02, 16) > 0.02);
  assert.equal(saliencyOf(0, 0.02, 16), 0);
});

test("there is no curve without a threshold or without numbers", () => {
  assert.equal(curveOf(readReport(olderSample()), "blocks"), null);
  assert.equal(curveOf(readReport(olderSample()), "tokens"), null);
  assert.equal(curveOf(withRun({ rule: "interval" }), "blocks"), null);
  assert.equal(curveOf(withRun({}, { thresholds: { block: [0, 0], token: [0, 0] } }), "blocks"), null);
});

test("the axis leaves somewhere to drag the threshold to, and heights are values", () => {
  const curve = curveOf(readReport(sample()), "blocks");
  assert.ok(curve);
  const axis = axisOf(curve);
  assert.ok(axis.high >= 0.2 && axis.low <= 0.0123);
  const span = { y: 40, height: 60 };
  for (const value of [0.013, 0.05, 0.11]) near(valueAt(axis, span, yOf(axis, span, value)), value);
  assert.equal(yOf(axis, span, 99), 40);
  assert.equal(yOf(axis, span, 0), 100);
  near(valueAt(axis, span, 1000), axis.low);
});

test("ticks are round, lie on the axis and do not touch", () => {
  for (const [low, high] of [[0.011, 0.3], [1e-6, 2], [0.03, 0.05], [0.2, 7]]) {
    for (const height of [40, 90, 240]) {
      const ticks = axisTicks({ low, high }, { y: 0, height }, 14);
      assert.ok(ticks.length <= height / 14 + 1);
      assert.ok(ticks.every(({ value }) => /^[1235](e|0*$)|^0\.0*[1235]$/.test(String(value))));
      assert.ok(ticks.every(({ y }) => y >= 0 && y <= height));
      assert.ok(ticks.every(({ y }, i) => i === 0 || ticks[i - 1].y - y >= 14));
    }
  }
  const ticks = axisTicks({ low: 0.011, high: 0.3 }, { y: 0, height: 240 }, 14);
  assert.deepEqual(ticks.map(({ value }) => value), [0.02, 0.05, 0.1, 0.2]);
});
