// @ts-check
import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { LiveMaps, LiveReport, readStep } from "../../web/lib/live.mjs";
import { readReport } from "../../web/lib/report.mjs";

/** A message about evaluation 2 of a run of two doubles and one single, on 2 x 3 tokens. @param {object} changes */
function message(changes = {}) {
  return {
    v: 1, nodes: ["12:7"], prompt_id: "prompt", workflow: "here", run: "run", evaluation: 1, steps: 20,
    rule: "significance", threshold: { block: 0.1, token: 0.05 }, blocks: [["double", 2], "single 0"], sigma: 0.41,
    computed: btoa("\x00\x80\xff"), change: 0.03, held: 0.05, reason: "predicted: expected error within 0.1",
    tokens: { grid: [1, 2, 3], samples: 1, bits: btoa("\xa4") }, computed_fraction: 0.5, seconds: 3.4, overhead: 0.02,
    cache_bytes: 1000, ...changes,
  };
}

/** @param {object} changes @returns {any} */
const step = (changes = {}) => readStep(message(changes));

/** Everything that is warned of meanwhile. @param {() => void} then */
function warnings(then) {
  const warn = mock.method(console, "warn", () => {});
  then();
  warn.mock.restore();
  return warn.mock.calls.map((call) => call.arguments.join(" "));
}

test("a message becomes a report that can be read", () => {
  const report = readReport(new LiveReport(step({ evaluation: 0 })).toReport());
  assert.deepEqual(report.blocks, ["double 0", "double 1", "single 0"]);
  assert.deepEqual(report.computed, [[0, 128 / 255, 1]]);
  assert.deepEqual(report.change, [[0.03, null, null]]);
  assert.deepEqual(report.held, [0.05]);
  assert.deepEqual(report.reasons, [["predicted: expected error within 0.1", null, null]]);
  assert.deepEqual(report.sigmas, [0.41]);
  assert.deepEqual([...(report.tokens?.masks[0] ?? [])], [1, 0, 1, 0, 0, 1]);
  assert.equal(report.computedFraction, 0.5);
});

test("evaluations that were left out count as computed", () => {
  const growing = new LiveReport(step({ evaluation: 0 }));
  growing.add(step({ evaluation: 3 }));
  const report = readReport(growing.toReport());
  assert.equal(report.evaluations, 4);
  assert.deepEqual(report.computed[1], [1, 1, 1]);
  assert.deepEqual(report.held, [0.05, null, null, 0.05]);
  assert.deepEqual(report.sigmas, [0.41, null, null, 0.41]);
  assert.deepEqual(report.tokens?.masks[2], new Uint8Array(6).fill(1));
});

test("without tokens, and with tokens that only come later, reports can be read too", () => {
  const growing = new LiveReport(step({ evaluation: 0, tokens: null }));
  assert.equal(readReport(growing.toReport()).tokens, null);
  growing.add(step());
  assert.deepEqual(readReport(growing.toReport()).tokens?.masks.map((mask) => mask.join("")), ["111111", "101001"]);
});

test("what is not a message of this version is ignored, with one warning of each kind", () => {
  const wrong = [
    [{ v: 2 }, null, "updates"],
    [message({ reason: "x".repeat(70_000) })],
    [message({ computed: btoa("\xff") }), message({ computed: "?" }), message({ evaluation: -1 }),
      message({ evaluation: 1e9 }), message({ blocks: [["double", 1e9]] }), message({ nodes: "12" }),
      message({ run: null }), message({ tokens: { grid: [1, 2], samples: 1, bits: "" } }),
      message({ tokens: { grid: [1, 2, 300], samples: 1, bits: btoa("\xa4") } }), message({ tokens: undefined })],
  ];
  const said = warnings(() => wrong.flat().forEach((detail) => assert.equal(readStep(detail), null)));
  assert.equal(said.length, wrong.length);
  for (const sentence of said) assert.match(sentence, /^FastCache preview: an update from the server was ignored: ./);
  assert.deepEqual(warnings(() => wrong.flat().forEach(readStep)), []);
});

/** A page with maps that keep what they are given, of which the newest one is in the graph. */
function mapped() {
  /** @type {(() => void)[]} */
  const due = [];
  /** @type {any} */
  let map;
  let workflow = "here";
  const live = new LiveMaps((then) => due.push(then), (id, of) => (of === null || of === workflow ? map : undefined));
  const add = () => {
    /** @type {any[]} */
    const shown = [];
    map = {
      setLive: (/** @type {any} */ report) => shown.push(["live", report.computed.length]),
      setReport: (/** @type {any} */ report) => shown.push(["report", report.computed.length, ...report.notes]),
      setImages: (/** @type {any} */ urls) => shown.push(["images", urls.length]),
    };
    return shown;
  };
  const draw = () => due.splice(0).forEach((then) => then());
  return { live, shown: add(), add, draw, goTo: (/** @type {string} */ id) => (workflow = id) };
}

const NOT_ENDED = "The run did not end; this is what it did until then.";
const NOT_EXECUTED = "The preview was not executed; this is what came of its run while it sampled.";

test("a map grows once for all messages that came before it is drawn", () => {
  const { live, shown, draw } = mapped();
  [0, 1, 2].forEach((evaluation) => live.show(step({ evaluation })));
  draw();
  live.show(step({ evaluation: 3 }));
  draw();
  assert.deepEqual(shown, [["images", 0], ["live", 3], ["live", 4]]);
});

test("what comes after the report is left out, and another run begins anew", () => {
  const { live, shown, draw } = mapped();
  live.show(step({ evaluation: 0 }));
  live.end("prompt", "12:7");
  draw();
  live.show(step({ evaluation: 1 }));
  live.show(step({ evaluation: 0, run: "before this one" }));
  draw();
  live.over("prompt", null);
  assert.deepEqual(shown, []);
  live.show(step({ evaluation: 0, run: "another", prompt_id: "another" }));
  draw();
  assert.deepEqual(shown, [["images", 0], ["live", 1]]);
});

test("a late message of an earlier run does not take the place of the run that goes on", () => {
  const { live, shown, draw } = mapped();
  live.show(step({ evaluation: 18, run: "first" }));
  [0, 1].forEach((evaluation) => live.show(step({ evaluation, run: "second" })));
  live.show(step({ evaluation: 19, run: "first" }));
  draw();
  live.show(step({ evaluation: 2, run: "second" }));
  draw();
  assert.deepEqual(shown, [["images", 0], ["live", 2], ["live", 3]]);
});

test("a map that is made anew goes on with all columns", () => {
  const { live, shown, add, draw } = mapped();
  [0, 1].forEach((evaluation) => live.show(step({ evaluation })));
  draw();
  const anew = add();
  live.resume("here");
  draw();
  live.show(step({ evaluation: 2 }));
  draw();
  assert.deepEqual([shown, anew], [[["images", 0], ["live", 2]], [["images", 0], ["live", 2], ["live", 3]]]);
});

test("what came while another workflow was looked at is shown afterwards", () => {
  const { live, shown, draw, goTo } = mapped();
  goTo("elsewhere");
  live.show(step({ evaluation: 0 }));
  draw();
  live.over("prompt", null);
  assert.deepEqual(shown, []);
  goTo("here");
  live.resume("here");
  draw();
  assert.deepEqual(shown, [["images", 0], ["report", 1, NOT_EXECUTED]]);
});

test("the same id in another workflow is another preview", () => {
  const { live, shown, draw } = mapped();
  live.show(step({ evaluation: 0 }));
  live.over("prompt", "4");
  live.show(step({ evaluation: 0, prompt_id: "another", workflow: "elsewhere" }));
  draw();
  live.resume("here");
  draw();
  assert.deepEqual(shown.at(-1), ["report", 1, NOT_ENDED]);
  assert.equal(shown.length, 4); // when it was over, what was still due, and again
});

test("a run that did not end is not brought back after a later one's report", () => {
  const { live, add, draw } = mapped();
  live.show(step({ evaluation: 0 }));
  live.over("prompt", "4");
  draw();
  live.end("later", "12:7");
  const anew = add();
  live.resume("here");
  draw();
  assert.deepEqual(anew, []);
});

test("what is known of a run that did not end stays", () => {
  const { live, shown, draw } = mapped();
  live.executing = "4";
  [0, 1].forEach((evaluation) => live.show(step({ evaluation })));
  live.over("another prompt", "4");
  live.over("prompt", "4");
  live.over("prompt", "4");
  assert.deepEqual(shown, [["images", 0], ["report", 2, NOT_ENDED]]);
  draw();
  assert.deepEqual(shown.at(-1), ["report", 2, NOT_ENDED]);
});

test("a preview that was not executed keeps what is known, and the run is not said to have stopped", () => {
  for (const stoppedAt of [null, "5"]) {
    const { live, shown } = mapped();
    live.executing = "4";
    live.show(step({ evaluation: 0 }));
    live.executing = "5";
    live.over("prompt", stoppedAt);
    assert.deepEqual(shown, [["images", 0], ["report", 1, NOT_EXECUTED]]);
  }
});

test("only the last prompts are remembered", () => {
  const { live } = mapped();
  for (let i = 0; i < 50; i++) live.show(step({ evaluation: 0, prompt_id: `prompt ${i}` }));
  assert.equal(live.prompts.size, 8);
  assert.ok(live.prompts.has("prompt 49"));
});
