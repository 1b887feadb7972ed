// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import * as cells from "../../web/lib/cell_texts.mjs";
import { curveOf } from "../../web/lib/curve.mjs";
import { asIf } from "../../web/lib/as_if.mjs";
import { compared, megabytes, percent, significant, STEPS, thresholdBeyond, widgetThreshold } from "../../web/lib/numbers.mjs";
import { readReport } from "../../web/lib/report.mjs";
import * as texts from "../../web/lib/texts.mjs";
import { olderSample, sample } from "./sample.mjs";

const report = readReport(sample());

test("a cell is told with what was held against which threshold, and which way it went", () => {
  assert.equal(cells.cellText(report, 1, 0),
    "evaluation 2, double block 0: predicted, sum of expected errors 0.038 < 0.050");
  const change = readReport({ ...sample(), run: { ...sample().run, rule: "change" } });
  assert.equal(cells.cellText(change, 1, 1),
    "evaluation 2, double block 1: partial (50 % of tokens computed), change 0.070 > 0.050; some tokens changed; " +
    "a prediction would have been off by 0.012");
  assert.equal(cells.cellText(report, 0, 2), "evaluation 1, single block 0: computed; warm-up");
});

test("an older report's cell is told with its numbers and its reason", () => {
  assert.equal(cells.cellText(readReport(olderSample()), 1, 0),
    "evaluation 2, double block 0: predicted, change 0.031, expected error 0.051; sum of expected errors within 0.05");
});

test("branches that were treated differently are told apart", () => {
  const branches = { cond: [[1, 1, 1], [1, 1, 0]], uncond: [[1, 1, 1], [0, 1, 0]] };
  const both = readReport({ ...sample(), computed_by_branch: branches });
  assert.match(cells.cellText(both, 1, 0), /double block 0: cond computed, uncond predicted, sum of expected/);
  assert.match(cells.cellText(both, 1, 2), /single block 0: predicted, /);
  assert.deepEqual(texts.partsOf(both, 1, 0), [{ branch: "cond", fraction: 1 }, { branch: "uncond", fraction: 0 }]);
});

test("names that are no kind with a number stay as they are", () => {
  const named = readReport({ ...sample(), blocks: ["model", "final", "block 3"] });
  const told = [0, 1, 2].map((block) => cells.cellText(named, 0, block).split(":")[0]);
  assert.deepEqual(told, ["evaluation 1, model", "evaluation 1, final", "evaluation 1, block 3"]);
});

test("a comparison shows which way it went", () => {
  assert.equal(compared(0.031, 0.05), "0.031 < 0.050");
  assert.equal(compared(0.0501, 0.05), "0.0501 > 0.0500");
  assert.equal(compared(0.05, 0.05), "0.050 = 0.050");
  assert.equal(compared(1.26, 0.1), "1.26 > 0.10");
  assert.equal(compared(2e-9, 1e-8), "2e-9 < 1e-8");
});

test("a token is told with row and column from 1, its sample where there are several, and its change", () => {
  assert.equal(cells.tokenText(report, 1, { sample: 0, frame: 0, row: 0, column: 0 }),
    "sample 1, token row 1, column 1: computed, squared change 0.056 > 0.020");
  assert.equal(cells.tokenText(report, 0, { sample: 1, frame: 0, row: 1, column: 1 }),
    "sample 2, token row 2, column 2: computed");
});

test("the curve is told in numbers", () => {
  const curve = curveOf(report, "blocks");
  assert.ok(curve);
  assert.equal(cells.curveText(report, curve, 1),
    "evaluation 2: expected error 0.038, block_threshold 0.05, measured 0.012");
  assert.equal(cells.curveText(report, curve, 0),
    "evaluation 1: no expected error known, block_threshold 0.05; warm-up");
  assert.equal(cells.curveCaptions(curve)[0], "expected error, rings: measured, against block_threshold");
});

test("a threshold that is tried is told against what was", () => {
  const outcome = { computed: [[1, 1, 1], [0, 0, 0]], computedFraction: 0.48, error: { mean: 0.03, largest: 0.0912 } };
  assert.equal(cells.whatIfText(report, "block_threshold", 0.14, outcome),
    "block_threshold 0.14: 48 % of block work (now 52 %), estimated error 0.091 (largest)");
  const tried = asIf(report, outcome);
  assert.equal(cells.triedCellText(report, tried, 1, 1),
    "what if: evaluation 2, double block 1: predicted (was partial (50 % of tokens computed))");
  assert.equal(cells.triedCellText(report, tried, 1, 2), "what if: evaluation 2, single block 0: predicted, as it was");
  assert.equal(texts.tokenFraction(tried, 1), 0);
  assert.equal(texts.tokenFraction(tried, 0), 1);
});

test("the totals are one line, and another one while sampling", () => {
  assert.equal(texts.totalsText(report),
    "52 % of block work computed, 2 evaluations, 3.41 s (overhead 0.02 s), cache 12.4 MB");
  assert.equal(texts.liveText({ ...report, evaluations: 7, steps: 20 }),
    "sampling, evaluation 7 of 20, 52 % of block work computed so far");
  assert.match(texts.liveText({ ...report, evaluations: 7, steps: null }), /^sampling, evaluation 7, 52 %/);
  assert.match(texts.liveText({ ...report, evaluations: 24, steps: 20 }), /^sampling, evaluation 24, 52 %/);
  assert.equal(megabytes(2_345_000_000), "2.35 GB");
});

test("an evaluation is summed up in blocks and in tokens", () => {
  assert.equal(texts.evaluationText(report, 1), "evaluation 2 of 2 (sigma 0.412): 1 partial, 2 predicted of 3 blocks");
  assert.deepEqual(texts.tokensTexts(report, 1, "2 samples"), [
    "tokens at evaluation 2: 42 % computed (2 samples)",
    "tokens: 42 % computed (2 samples)",
    "tokens at evaluation 2: 42 % computed",
    "tokens: 42 % computed",
  ]);
  assert.match(texts.summaryText(report, 1), /^Skip map of 3 blocks by 2 evaluations: 52 % .* Selected: evaluation 2/);
});

test("percentages never round something to nothing or to everything", () => {
  assert.deepEqual([0, 0.001, 0.125, 0.999, 1].map(percent), ["0 %", "< 1 %", "13 %", "> 99 %", "100 %"]);
});

test("a threshold is rounded as the widget would", () => {
  const held = (/** @type {number} */ step) => (/** @type {number} */ value) => widgetThreshold(value, step);
  const values = [0.123456, 1.23456, 0.00163456, 0.0002, 0.00002, 0.02];
  assert.deepEqual(values.map(held(STEPS.block_threshold)), [0.123, 1.23, 0.002, 0.001, 0.001, 0.02]);
  assert.deepEqual(values.map(held(STEPS.token_threshold)), [0.123, 1.23, 0.0016, 0.0002, 0.0001, 0.02]);
});

test("the next threshold differs from the one before, unless it would mean off", () => {
  const next = (/** @type {number} */ step, /** @type {number} */ factor) => (/** @type {number} */ value) =>
    thresholdBeyond(value, factor, step);
  const { block_threshold: block, token_threshold: token } = STEPS;
  assert.deepEqual([0.1, 0.005].map(next(block, 1.05)), [0.105, 0.006]);
  assert.deepEqual([0.1, 0.005, 0.001].map(next(block, 1 / 1.05)), [0.095, 0.004, 0.001]);
  assert.deepEqual([0.05, 0.0001].map(next(token, 1.05)), [0.0525, 0.0002]);
  assert.deepEqual([0.05, 0.0003, 0.0001].map(next(token, 1 / 1.05)), [0.0476, 0.0002, 0.0001]);
});

test("the least token threshold is told with all of its digits", () => {
  assert.equal(significant(0.0001, 3), "0.0001");
  assert.equal(compared(0.00023, 0.0001), "0.00023 > 0.00010");
  const outcome = { computed: [[1, 1, 1], [0, 0, 0]], computedFraction: 0.48, error: null, left: 0.004 };
  assert.equal(cells.whatIfText(report, "token_threshold", 0.0001, outcome),
    "token_threshold 0.0001: 48 % of block work (now 52 %), estimated change left 0.004");
});
