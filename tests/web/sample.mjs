// @ts-check
/** A report small enough to know every answer: two doubles and one single, two evaluations, 2 x 3 tokens, 2 samples. */
export function sample() {
  return {
    schema: "fastcache.report/1",
    run: { sigmas: [1, 0.41237] },
    blocks: ["double 0", "double 1", "single 0"],
    computed: [[1, 1, 1], [0, 0.5, 0]],
    change: [[null, null, null], [0.0312, 0.07, 0.02]],
    error_expected: [[null, null, null], [0.0512, null, null]],
    error_realised: [[null, null, null], [null, 0.0123, null]],
    tokens: { grid: [1, 2, 3], samples: 2, computed: [btoa("\xff\xf0"), btoa("\x8a\x50")] },
    reasons: [[0, 0, 0], [1, 2, null]],
    reason_texts: ["Warm-up.", "Below the threshold.", "Some tokens changed."],
    notes: [],
    seconds: { total: 3.41, overhead: 0.02 },
    cache_bytes_peak: 12_400_000,
    computed_fraction: 0.5211,
  };
}
