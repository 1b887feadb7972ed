// @ts-check
/** What other thresholds would have skipped, on a report whose answer can be told by hand. */
import assert from "node:assert/strict";
import test from "node:test";
import { readReport } from "../../web/lib/report.mjs";
import { between, blockWhatIf, factorAt, scaled, tokenWhatIf } from "../../web/lib/whatif.mjs";

/** One block, six evaluations that each move the state by 0.1; the first and the last are computed in any case. */
function run(/** @type {object} */ changes = {}) {
  const rows = (/** @type {(number | null)[]} */ values) => values.map((value) => [value]);
  return {
    schema: "fastcache.report/1",
    run: {
      rule: "change", sites: [[0, 0]], own_thresholds: [null], alpha_quantile: 0,
      max_consecutive_skips: 9, min_active: 0, max_active: 1, refresh_interval: 6, token_warmup: 0, block_threshold: 0.15,
      token_threshold: 0, views: 1, restarts: [], tokens_selected: false, ...changes,
    },
    blocks: ["single 0"],
    computed: rows([1, 0, 1, 0, 1, 1]),
    change: rows([null, 0.1, 0.2, 0.1, 0.2, 0.1]),
    error_realised: rows([null, null, 0.2, null, 0.2, 0.0707]),
    size: rows([null, null, 3, null, 3, 3]),
    step: [null, 0.1, 0.1, 0.1, 0.1, 0.1],
    forced: [0, null, null, null, null, 1],
    thresholds: { block: new Array(6).fill(0.15), token: new Array(6).fill(0) },
    work: [1], image_share: [0.5], evaluation_work: new Array(6).fill(1 / 6),
    reasons: rows([0, 2, 3, 2, 3, 1]), reason_texts: ["first", "last", "within", "above"],
    notes: [], seconds: { total: 1, overhead: 0 }, cache_bytes_peak: 0, computed_fraction: 4 / 6,
  };
}

const outcome = (/** @type {number} */ threshold) => {
  const told = blockWhatIf(readReport(run()), threshold);
  assert.ok(typeof told !== "string", String(told));
  return told;
};

test("the threshold of the run gives the run", () => {
  assert.deepEqual(outcome(0.15).computed.flat(), [1, 0, 1, 0, 1, 1]);
});

test("changes add up until the threshold is passed", () => {
  assert.deepEqual(outcome(0.05).computed.flat(), [1, 1, 1, 1, 1, 1]);
  assert.deepEqual(outcome(0.25).computed.flat(), [1, 0, 0, 1, 0, 1]);
  assert.deepEqual(outcome(1).computed.flat(), [1, 0, 0, 0, 0, 1]);
  assert.equal(outcome(1).computedFraction, 2 / 6);
});

test("errors are estimated as those that were measured grow with the change", () => {
  const hard = 0.2 / 0.2 ** 1.5; // of the evaluations in the middle
  const { error } = outcome(0.15);
  assert.ok(error);
  assert.ok(Math.abs(error.largest - hard * 0.1 ** 1.5) < 1e-4);
  assert.ok((outcome(1).error?.largest ?? 0) > 2 * error.largest);
});

test("a threshold keeps its factors along the schedule", () => {
  const curve = { block: [0.3, 0.15, 0.075, 0, 0.15, 0.15], token: new Array(6).fill(0) };
  const report = /** @type {import("../../web/lib/whatif.mjs").Measured} */ (readReport({ ...run(), thresholds: curve }));
  assert.deepEqual(curve.block.map((_, e) => factorAt(report, "block", e)), [2, 1, 0.5, 1, 1, 1]);
  const base = 0.1 / factorAt(report, "block", 2); // a handle that is moved to a height of 0.1
  assert.deepEqual(scaled(report, "block", base), [0.4, 0.2, 0.1, 0, 0.2, 0.2]);
  assert.equal(factorAt(readReport({ ...run(), thresholds: undefined }), "block", 2), 1);
});

test("what cannot be told is a sentence", () => {
  assert.match(String(blockWhatIf(readReport(run({ rule: "interval" })), 0.1)), /^What other thresholds .* this run's was interval\.$/);
  assert.match(String(tokenWhatIf(readReport(run()), 0.1)), /^No tokens were selected/);
  assert.match(String(blockWhatIf(readReport({ ...run(), step: undefined }), 0.1)), /^This report lacks what is needed/);
  assert.match(String(blockWhatIf(readReport(run({ tokens_selected: true })), 0.1)), /^The changes of tokens were not/);
});

test("missing values lie between their neighbours", () => {
  assert.deepEqual(between([null, 1, null, 3, null]), [1, 1, 2, 3, 3]);
  assert.deepEqual(between([null, null]), [null, null]);
});
