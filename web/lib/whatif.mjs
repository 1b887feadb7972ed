// @ts-check
/**
 * What other thresholds would have skipped, from what a report measured: fastcache_core/replay.py for the browser. Both
 * give the same answers (a test compares them); why they are estimates stands there.
 *
 * @typedef {import("./report.mjs").SkipReport} SkipReport
 * @typedef {object} WhatIf
 * @property {number[][]} computed [evaluations][blocks], fraction of tokens that would have been computed
 * @property {number} computedFraction of all work
 * @property {(number | null)[]} errors estimated error of each evaluation, relative to the blocks' work
 * @property {Uint8Array[] | null} masks tokens of each evaluation: sample, frame, row, column; 1 = computed
 * @property {number[]} left of each evaluation, relative change of tokens that would not have been computed
 * @typedef {{ [K in keyof SkipReport]: K extends "saliency" | "tokens" ? SkipReport[K]
 *   : NonNullable<SkipReport[K]> }} Measured a report that has what is needed
 * @typedef {{ computed: number[][], computedFraction: number, error: { mean: number, largest: number } | null,
 *   masks?: Uint8Array[], left?: number }} Outcome of the whole run: `error` of evaluations that skip, null where it
 *   cannot be told; `masks` and `left` with tokens
 * @typedef {object} Seen what is known of a site
 * @property {number | null} change
 * @property {number | null} error
 * @property {number} share
 * @property {number} skips evaluations predicted in a row just before
 * @property {number} longest the most that were in a row before those
 * @property {number | null} own its own threshold
 */

/** significance.py, thresholds.py, policies.py and replay.py have the same numbers; a test compares them. */
export const CONSTANTS = Object.freeze({
  exponent: 1.5, forgetting: 0.5, tiny: 1e-12, priorSpread: 0.6, priorWeight: 2, highest: 10, growth: 2, tie: 1e-6, nextToNothing: 1e-30,
});
const { exponent, forgetting, tiny, priorSpread, priorWeight, growth, tie, nextToNothing } = CONSTANTS;
/** Rules that can decide once more by what a report tells: TOLD in replay.py. */
const RULES = ["significance", "change", "first_block"];
const NEEDED = /** @type {const} */ ([
  "rule", "sites", "views", "restarts", "tokensSelected", "step", "forced", "size", "thresholds", "work",
  "imageShare", "evaluationWork", "blockThreshold", "tokenThreshold", "ownThresholds", "alphaQuantile", "maxConsecutiveSkips", "minActive", "maxActive", "refreshInterval", "tokenWarmup",
]);

/**
 * @param {SkipReport} report
 * @returns {string | null} why nothing can be told of other thresholds
 */
export function whyNot(report) {
  const work = report.evaluationWork?.reduce((sum, part) => sum + part, 0);
  if (report.evaluations === 0 || work === 0) return "The run skipped nothing and measured nothing.";
  if (NEEDED.some((key) => report[key] === null)) {
    return "This report lacks what is needed: the run did not end, or an older version made it.";
  }
  const { rule, views, tokensSelected, saliency } = /** @type {Measured} */ (report);
  if (views > 1) {
    return "Parts of the picture (areas, context windows) were decided about apart, which a report does not tell.";
  }
  if (!isTold(report)) {
    return `What other thresholds would have skipped can be told for the rules ${RULES.slice(0, -1).join(", ")} and ` +
      `${RULES.at(-1)}; this run's was ${rule}.`;
  }
  if (tokensSelected && !saliency) {
    return "The changes of tokens were not recorded, because there are too many of them.";
  }
  return null;
}

/** @param {SkipReport} report @returns {boolean} whether other thresholds can be told for the run's rule */
export function isTold({ rule }) {
  return rule !== null && RULES.includes(rule);
}

/**
 * @param {SkipReport} report
 * @param {number} threshold
 * @returns {Outcome | string} what this block_threshold would have skipped; a string says why it cannot be told
 */
export function blockWhatIf(report, threshold) {
  const problem = whyNot(report);
  if (problem !== null) return problem;
  const measured = /** @type {Measured} */ (report);
  return summary(replay(measured, scaled(measured, "block", threshold), scaled(measured, "token", null)));
}

/**
 * @param {SkipReport} report
 * @param {number} threshold
 * @returns {Outcome | string} the same for this token_threshold
 */
export function tokenWhatIf(report, threshold) {
  const problem = whyNot(report);
  if (problem !== null) return problem;
  const measured = /** @type {Measured} */ (report);
  if (!measured.saliency) return "No tokens were selected in this run, so that their changes were not recorded.";
  return summary(replay(measured, scaled(measured, "block", null), scaled(measured, "token", threshold)));
}

/**
 * @param {Measured} report
 * @param {"block" | "token"} kind
 * @param {number | null} threshold null: as it was
 * @returns {number[]} the thresholds of all evaluations; factors along the schedule stay what they were
 */
export function scaled(report, kind, threshold) {
  const [then, held] = [report[`${kind}Threshold`], report.thresholds[kind]];
  if (kind === "token" && !report.saliency) return held.map(() => 0); // they cannot be selected here
  if (threshold === null) return held.map((value) => value ?? 0);
  return held.map((value) => Math.min(threshold * (value && then ? value / then : Number(!then)), CONSTANTS.highest));
}

/**
 * @param {SkipReport} report
 * @param {"block" | "token"} kind
 * @param {number} evaluation
 * @returns {number} what the threshold was multiplied with there, along the schedule; 1 where that tells nothing
 */
export function factorAt(report, kind, evaluation) {
  const [then, held] = [report[`${kind}Threshold`], report.thresholds?.[kind][evaluation]];
  return then && held ? held / then : 1;
}

/** @param {WhatIf} answer @returns {Outcome} */
function summary({ computed, computedFraction, errors, masks, left }) {
  const told = errors.filter((error, i) => error !== 0 && computed[i].some((fraction) => fraction < 1));
  const known = /** @type {number[]} */ (told.filter((error) => error !== null));
  const error = told.length > known.length ? null : {
    mean: known.reduce((sum, value) => sum + value, 0) / Math.max(known.length, 1),
    largest: Math.max(0, ...known),
  };
  return { computed, computedFraction, error, ...(masks ? { masks, left: Math.max(0, ...left) } : {}) };
}

/**
 * @param {Measured} report
 * @param {number[]} blockThresholds [evaluations]
 * @param {number[]} tokenThresholds [evaluations]
 * @returns {WhatIf}
 */
export function replay(report, blockThresholds, tokenThresholds) {
  const sites = report.sites.map((site) => new Site(report, site));
  const tokens = tokenThresholds.some(Boolean) ? new Tokens(report, tokenThresholds) : null;
  let travelled = 0;
  let [wanted, kept] = [false, false]; // keys and values, from when some token is to rest on
  /** @type {WhatIf} */
  const answer = { computed: [], computedFraction: 0, errors: [], masks: tokens && [], left: [] };
  for (let evaluation = 0; evaluation < report.evaluations; evaluation++) {
    const step = report.step[evaluation];
    const forced = report.forced[evaluation] !== null;
    travelled += step ?? 0;
    const selected = tokens?.selected(evaluation, travelled) ?? null;
    if (report.restarts.includes(evaluation)) for (const site of sites) site.forget();
    const seen = seeSites(sites, step, travelled, report.alphaQuantile, report.weight?.[evaluation] ?? 1);
    const predicted = forced ? sites.map(() => false) : decide(report, seen, blockThresholds[evaluation]);
    const rested = predicted.every(Boolean);
    const mask = mayRest(report, evaluation) ? selected : null;
    wanted ||= selected?.includes(0) ?? false;
    const fraction = mask === null || !kept ? 1 : mostComputed(mask, tokens?.samples ?? 1);
    sites.forEach((site, i) => site.advance(predicted[i], travelled));
    if (tokens) {
      const moved = tokens.advance(evaluation, travelled, mask, rested);
      answer.masks?.push(moved);
      answer.left.push(rested || !kept ? 0 : tokens.left(moved));
    }
    kept ||= wanted && !rested;
    answer.computed.push(rowOf(report, predicted, fraction));
    answer.errors.push(estimate(sites, seen, predicted, evaluation));
    sites.forEach((site, i) => !predicted[i] && site.learn(evaluation, seen[i].change));
  }
  answer.computedFraction = workOf(report, answer.computed);
  return answer;
}

/** Whether tokens may rest, whatever their threshold. @param {Measured} report @param {number} evaluation */
function mayRest(report, evaluation) {
  return report.forced[evaluation] === null && evaluation >= report.tokenWarmup;
}

/** What is predicted at once, and what is known of it. */
class Site {
  /** @param {Measured} report @param {[number, number]} blocks first and last */
  constructor(report, [first, last]) {
    const own = report.ownThresholds.slice(first, last + 1).filter((value) => value !== null);
    this.own = own.length ? Math.min(.../** @type {number[]} */ (own)) : null;
    this.difficulty = difficultyOf(report, first);
    this.sizes = between(report.size.map((row) => row[first] ?? null));
    this.known = unknown();
  }

  forget() {
    this.known = unknown();
  }

  /** @param {boolean} predicted @param {number} travelled */
  advance(predicted, travelled) {
    const { known } = this;
    if (predicted) {
      known.skips += 1;
      return;
    }
    known.longest = Math.max(known.longest, known.skips);
    known.skips = 0;
    known.computedAt = travelled;
  }

  /** ErrorStatistics.update. @param {number} evaluation @param {number | null} change */
  learn(evaluation, change) {
    const value = this.difficulty[evaluation];
    if (!change || value === null) return;
    const { known } = this;
    known.size = this.sizes[evaluation] ?? 0;
    const weight = known.count ? forgetting : 1;
    const off = value - known.mean;
    known.mean += weight * off;
    known.variance = (1 - weight) * (known.variance + weight * off ** 2);
    known.weights = (1 - weight) ** 2 * known.weights + weight ** 2;
    known.count += 1;
  }

  /** ErrorStatistics.bound. @param {number} change @param {number} z quantile of the normal distribution */
  bound(change, z) {
    const { count, mean, variance, weights } = this.known;
    if (count === 0) return null;
    const n = 1 / weights;
    const degrees = priorWeight + n - 1;
    const spread = Math.sqrt(((priorWeight * priorSpread ** 2 + n * variance) / degrees) * (1 + weights));
    return Math.exp(mean + studentQuantile(z, degrees) * spread) * Math.max(change, tiny) ** exponent;
  }
}

/** What is known of a site at first: SiteRecord. `computedAt`: how far the state had come when it was computed. */
function unknown() {
  return { computedAt: NaN, skips: 0, longest: 0, size: 0, count: 0, mean: 0, variance: 0, weights: 0 };
}

/** @param {number} z of the normal distribution @param {number} degrees @returns {number} the same of Student's t */
function studentQuantile(z, degrees) {
  const terms = [
    z,
    (z ** 3 + z) / 4,
    (5 * z ** 5 + 16 * z ** 3 + 3 * z) / 96,
    (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / 384,
  ];
  return terms.reduce((sum, term, power) => sum + term / degrees ** power, 0);
}

/** @param {Site[]} sites @param {number | null} step @param {number} travelled @param {number} z
 * @param {number} weight how much an error counts at this evaluation @returns {Seen[]} */
function seeSites(sites, step, travelled, z, weight) {
  const total = sites.reduce((sum, { known }) => sum + known.size, 0) || 1;
  return sites.map((site) => {
    const { computedAt, size, skips, longest } = site.known;
    if (step === null || Number.isNaN(computedAt)) {
      return { change: null, error: null, share: 1, skips: 0, longest: 0, own: site.own };
    }
    const change = travelled - computedAt;
    const share = sites.length > 1 ? size / total : 1;
    const bound = site.bound(change, z);
    return { change, error: bound === null ? null : weight * bound, share, skips, longest, own: site.own };
  });
}

/** Whether each site is predicted: policies.py. @param {Measured} report @param {Seen[]} seen
 * @param {number} threshold @returns {boolean[]} */
function decide(report, seen, threshold) {
  const open = seen.map(({ change, skips, longest, own }) => {
    const most = report.rule === "significance" ? Math.max(1, growth * longest) : Infinity;
    return threshold > 0 && own !== 0 && change !== null && skips < Math.min(most, report.maxConsecutiveSkips);
  });
  if (report.rule !== "significance") {
    return seen.map(({ change, own }, i) => open[i] && /** @type {number} */ (change) <= (own ?? threshold));
  }
  const shared = seen.filter(({ own, error }, i) => open[i] && own === null && error !== null);
  const sum = shared.reduce((total, { share, error }) => total + share * /** @type {number} */ (error), 0);
  return seen.map(({ own, error }, i) =>
    open[i] && error !== null && (own === null ? sum <= threshold : error <= own));
}

/** Logarithm of error / change^p of every evaluation; null where it was computed and nothing could be measured.
 * @param {Measured} report @param {number} block @returns {(number | null)[]} */
function difficultyOf(report, block) {
  const known = report.errorRealised.map((row, evaluation) => {
    const [error, change] = [row[block] ?? null, report.change[evaluation][block] ?? null];
    return error !== null && change ? Math.log(Math.max(error, tiny)) - exponent * Math.log(change) : null;
  });
  const guesses = between(known);
  return known.map((value, i) => (value === null && report.computed[i][block] < 1 ? guesses[i] : value));
}

/**
 * Missing values on the line between their neighbours; beyond the ends as the nearest; all missing stay so.
 * @param {(number | null)[]} values
 * @returns {(number | null)[]}
 */
export function between(values) {
  const known = values.flatMap((value, i) => (value === null ? [] : [i]));
  return values.map((value, i) => {
    if (value !== null || known.length === 0) return value;
    const after = known.find((k) => k > i) ?? known[known.length - 1];
    const before = known.filter((k) => k < i).pop() ?? after;
    const [a, b] = [/** @type {number} */ (values[before]), /** @type {number} */ (values[after])];
    return before === after ? a : a + ((b - a) * (i - before)) / (after - before);
  });
}

/** @param {Measured} report @param {boolean[]} predicted @param {number} fraction @returns {number[]} */
function rowOf(report, predicted, fraction) {
  const row = report.blocks.map(() => 1);
  report.sites.forEach(([first, last], i) => row.fill(predicted[i] ? 0 : fraction, first, last + 1));
  return row;
}

/** @param {Measured} report @param {number[][]} computed @returns {number} part of all work that is done */
function workOf(report, computed) {
  const doneBy = (/** @type {number} */ fraction, /** @type {number} */ block) =>
    fraction > 0 ? report.work[block] * (1 - report.imageShare[block] * (1 - fraction)) : 0;
  const done = computed.map((row) => row.reduce((sum, fraction, block) => sum + doneBy(fraction, block), 0));
  return done.reduce((sum, part, evaluation) => sum + part * report.evaluationWork[evaluation], 0);
}

/** @param {Site[]} sites @param {Seen[]} seen @param {boolean[]} predicted @param {number} evaluation
 * @returns {number | null} error of what is predicted */
function estimate(sites, seen, predicted, evaluation) {
  let total = 0;
  for (const [i, { difficulty }] of sites.entries()) {
    if (!predicted[i]) continue;
    const [hard, change] = [difficulty[evaluation], /** @type {number} */ (seen[i].change)];
    if (hard === null) return null;
    total += seen[i].share * Math.exp(hard) * Math.max(change, tiny) ** exponent;
  }
  return total;
}

/**
 * When each token had been computed last before an evaluation of the run, as `Path.last`; and how far the state had come
 * after each evaluation, as `Path.travelled`.
 * @typedef {{ last: Uint16Array[], travelled: Float64Array }} History
 */

/** What was does not depend on what is tried. @type {WeakMap<object, History>} */
const histories = new WeakMap();

/** @param {Measured} report @returns {History} */
function historyOf(report) {
  const known = histories.get(report);
  if (known) return known;
  const tokens = new Tokens(report, scaled(report, "token", null));
  const history = tokens.walk();
  histories.set(report, history);
  return history;
}

/** The token selector once more: the run's own thresholds tell where the tokens' changes were counted from. */
class Tokens {
  /** @param {Measured} report @param {number[]} thresholds [evaluations] */
  constructor(report, thresholds) {
    const { saliency, tokens } = report;
    if (!saliency || !tokens) throw new Error("The report has no changes of tokens.");
    this.report = report;
    this.recorded = saliency;
    this.done = tokens.masks;
    this.samples = tokens.samples;
    this.count = tokens.samples * tokens.frames * tokens.height * tokens.width;
    this.levels = Float64Array.from({ length: 256 }, (_, byte) =>
      byte === 0 ? 0 : Math.exp((byte - 127.5) / saliency.scale)); // of the evaluation's threshold
    this.thresholds = thresholds;
    this.thresholdsThen = scaled(report, "token", null);
    this.path = new Path(this.count, report.evaluations);
    this.changed = new Float64Array(this.count);
  }

  /** @param {number} evaluation @param {number} travelled
   * @returns {Uint8Array | null} the tokens that would be computed if any block is; null where nothing was recorded */
  selected(evaluation, travelled) {
    const { changed, path: now, count } = this;
    const bytes = this.recorded.values[evaluation];
    if (!bytes || this.thresholds[evaluation] === 0) {
      changed.fill(0);
      return null;
    }
    const { last, travelled: travelledThen } = historyOf(this.report);
    const lastThen = last[evaluation];
    this.recall(evaluation, bytes);
    for (let i = 0; i < count; i++) {
      const way = travelled - now.travelled[now.last[i]];
      const wayThen = travelled - travelledThen[lastThen[i]];
      const ratio = wayThen > 0 ? way / wayThen : 1;
      changed[i] *= ratio * ratio;
    }
    return now.choose(evaluation, changed, this.thresholds[evaluation], this.report, this.samples);
  }

  /** Count on. @param {number} evaluation @param {number} travelled @param {Uint8Array | null} mask null for all
   * @param {boolean} rested none at all @returns {Uint8Array} what would have been computed */
  advance(evaluation, travelled, mask, rested) {
    const moved = rested || mask === null ? new Uint8Array(this.count).fill(rested ? 0 : 1) : mask;
    this.path.move(evaluation, travelled, moved);
    return moved;
  }

  /** The run itself, from beginning to end. @returns {History} */
  walk() {
    const { report, path, changed, thresholdsThen } = this;
    const last = report.computed.map((row, evaluation) => {
      const before = path.last.slice();
      const bytes = mayRest(report, evaluation) ? this.recorded.values[evaluation] : null;
      if (bytes) this.recall(evaluation, bytes);
      const mask = bytes && path.choose(evaluation, changed, thresholdsThen[evaluation], report, this.samples);
      const travelled = path.travelled[evaluation] + (report.step[evaluation] ?? 0);
      this.advance(evaluation, travelled, mask, row.every((fraction) => fraction === 0));
      return before;
    });
    return { last, travelled: path.travelled };
  }

  /** How much each token had changed; what became the same byte is told apart as the run did: told_apart in replay.py.
   * @param {number} evaluation @param {Uint8Array} bytes */
  recall(evaluation, bytes) {
    const [threshold, done] = [this.thresholdsThen[evaluation], this.done[evaluation]];
    for (let i = 0; i < this.count; i++) {
      const change = threshold * this.levels[bytes[i]];
      this.changed[i] = change > 0 ? change * (1 + tie * done[i]) : nextToNothing * done[i];
    }
  }

  /** @param {Uint8Array} moved @returns {number} relative change of the others, of the worst sample */
  left(moved) {
    const tokens = this.count / this.samples;
    const sums = new Float64Array(this.samples);
    for (let i = 0; i < moved.length; i++) if (!moved[i]) sums[Math.floor(i / tokens)] += this.changed[i];
    return Math.sqrt(Math.max(...sums) / tokens);
  }
}

/** When each token was computed last, under some thresholds. */
class Path {
  /** @param {number} count @param {number} evaluations */
  constructor(count, evaluations) {
    /** Of each token the evaluation that computed it last, counted from 1; 0 where there is none. */
    this.last = new Uint16Array(count);
    /** By the same numbers, how far the state had come. */
    this.travelled = new Float64Array(evaluations + 1);
  }

  /** choose_active in tokens.py. @param {number} evaluation @param {Float64Array} changed @param {number} threshold
   * @param {Measured} report @param {number} samples */
  choose(evaluation, changed, threshold, { refreshInterval, minActive, maxActive }, samples) {
    const { last } = this;
    const mask = new Uint8Array(changed.length);
    const tokens = changed.length / samples;
    const low = Math.max(1, roundEven(minActive * tokens));
    const high = Math.max(1, roundEven(maxActive * tokens));
    for (let start = 0; start < changed.length; start += tokens) {
      const end = start + tokens;
      let wanted = 0;
      for (let i = start; i < end; i++) {
        wanted += mask[i] = changed[i] > threshold || evaluation - last[i] >= refreshInterval ? 1 : 0;
      }
      const most = Math.max(Math.min(wanted, high), low);
      if (most === wanted) continue;
      const weights = changed.slice(start, end);
      for (let i = start; i < end; i++) if (evaluation - last[i] >= refreshInterval) weights[i - start] = Infinity;
      markLargest(weights, most, mask.subarray(start, end));
    }
    return mask;
  }

  /** @param {number} evaluation @param {number} travelled @param {Uint8Array} moved */
  move(evaluation, travelled, moved) {
    this.travelled[evaluation + 1] = travelled;
    for (let i = 0; i < moved.length; i++) if (moved[i]) this.last[i] = evaluation + 1;
  }
}

/** Mark the largest, of equal ones the first. @param {Float64Array} weights @param {number} count
 * @param {Uint8Array} mask */
function markLargest(weights, count, mask) {
  const cut = kthLargest(weights.slice(), count);
  let room = count;
  for (let i = 0; i < weights.length; i++) room -= mask[i] = weights[i] > cut ? 1 : 0;
  for (let i = 0; i < weights.length && room > 0; i++) if (weights[i] === cut) room -= mask[i] = 1;
}

/** Hoare's selection. @param {Float64Array} values are reordered @param {number} k from 1 @returns {number} */
function kthLargest(values, k) {
  const at = Math.max(values.length - k, 0);
  let [low, high] = [0, values.length - 1];
  while (low < high) {
    const pivot = values[at];
    let [i, j] = [low, high];
    while (i <= j) {
      while (values[i] < pivot) i++;
      while (values[j] > pivot) j--;
      if (i > j) break;
      const value = values[i];
      values[i++] = values[j];
      values[j--] = value;
    }
    if (j < at) low = i;
    if (i > at) high = j;
  }
  return values[at];
}

/** The largest part of a sample's tokens that is computed. @param {Uint8Array} mask @param {number} samples */
function mostComputed(mask, samples) {
  const tokens = mask.length / samples;
  const counts = new Uint32Array(samples);
  for (let i = 0; i < mask.length; i++) counts[Math.floor(i / tokens)] += mask[i];
  return Math.max(...counts) / tokens;
}

/** Halves to the even neighbour, as Python's round. @param {number} x @returns {number} */
function roundEven(x) {
  const floor = Math.floor(x);
  if (x - floor !== 0.5) return Math.round(x);
  return floor % 2 === 0 ? floor : floor + 1;
}
