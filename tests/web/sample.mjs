// @ts-check
/** A report small enough to know every answer: two doubles and one single, two evaluations, 2 x 3 tokens, 2 samples. */
export function sample() {
  return {
    ...olderSample(),
    run: {
      sigmas: [1, 0.41237], rule: "significance", level: "block", branches: ["cond", "uncond"],
      steps: 2, samples: 2, block_threshold: 0.05, token_threshold: 0.02, alpha: 0.5, alpha_quantile: 0,
      max_consecutive_skips: 3, min_active: 0, max_active: 1, refresh_interval: 6, token_warmup: 0,
      sites: [[0, 0], [1, 1], [2, 2]], own_thresholds: [null, null, null], views: 1, restarts: [], tokens_selected: true,
    },
    thresholds: { block: [0.05, 0.05], token: [0.02, 0.02] },
    step: [null, 0.04],
    held: [null, 0.0381],
    realised: [null, 0.0123],
    forced: [0, null],
    size: [[2, 1, 1], [null, 1, null]],
    work: [0.4, 0.4, 0.2],
    image_share: [0.9, 0.9, 0.9],
    evaluation_work: [0.5, 0.5],
    tokens: {
      ...olderSample().tokens,
      saliency: { scale: 16, values: [null, btoa("\x90ppp\x90p\x90pp\x90p\x90")] },
    },
  };
}

/** The same as reports were before they told what decisions rested on. */
export function olderSample() {
  return {
    schema: "fastcache.report/1",
    run: { sigmas: [1, 0.41237] },
    blocks: ["double 0", "double 1", "single 0"],
    computed: [[1, 1, 1], [0, 0.5, 0]],
    change: [[null, null, null], [0.0312, 0.07, 0.02]],
    error_expected: [[null, null, null], [0.0512, 0.03, 0.02]],
    error_realised: [[null, null, null], [null, 0.0123, null]],
    tokens: { grid: [1, 2, 3], samples: 2, computed: [btoa("\xff\xf0"), btoa("\x8a\x50")] },
    reasons: [[0, 0, 0], [1, 2, null]],
    reason_texts: [
      "computed: warm-up", "predicted: sum of expected errors within 0.05", "computed: some tokens changed",
    ],
    notes: [],
    seconds: { total: 3.41, overhead: 0.02 },
    cache_bytes_peak: 12_400_000,
    computed_fraction: 0.5211,
  };
}

/** @param {number} blocks @param {number} evaluations @param {number[]} grid @param {number} samples */
export function large(blocks, evaluations, grid, samples) {
  const count = grid.reduce((product, n) => product * n, samples);
  const each = (/** @type {any} */ value) => Array(evaluations).fill(value);
  const numbers = Array.from({ length: blocks }, (_, i) => i);
  const { run, ...rest } = sample();
  return {
    ...rest,
    run: { ...run, sites: numbers.map((i) => [i, i]), own_thresholds: numbers.map(() => null) },
    blocks: numbers.map((i) => `double ${i}`),
    computed: each(Array(blocks).fill(1)),
    error_expected: each(Array(blocks).fill(0.04)),
    error_realised: each(Array(blocks).fill(0.03)),
    size: each(Array(blocks).fill(1)),
    work: Array(blocks).fill(1 / blocks),
    image_share: Array(blocks).fill(1),
    evaluation_work: each(1 / evaluations),
    thresholds: { block: each(0.05), token: each(0.02) },
    held: each(0.04),
    realised: each(0.03),
    forced: each(null),
    step: each(0.04),
    tokens: {
      grid, samples, computed: each(btoa("\xaa".repeat(Math.ceil(count / 8)))),
      saliency: { scale: 16, values: each(btoa("\x80".repeat(count))) },
    },
  };
}
