// @ts-check
import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { LiveMaps, LiveReport, readStep } from "../../web/lib/live.mjs";
import { readReport } from "../../web/lib/report.mjs";

/** A message about evaluation 2 of a run of two doubles and one single, on 2 x 3 tokens. @param {object} changes */
function message(changes = {}) {
  return {
    v: 1, nodes: ["12:7"], prompt_id: "prompt", workflow: null, run: "run", evaluation: 1, steps: 20,
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

/** A map that keeps what it is given, and when it is drawn. */
function mapped() {
  /** @type {any[]} */
  const shown = [];
  /** @type {(() => void)[]} */
  const due = [];
  const map = {
    setLive: (/** @type {any} */ report) => shown.push(["live", report.computed.length]),
    setReport: (/** @type {any} */ report) => shown.push(["report", report.computed.length, ...report.notes]),
    setImages: (/** @type {any} */ urls) => shown.push(["images", urls.length]),
  };
  const live = new LiveMaps((then) => due.push(then));
  return { map, live, shown, draw: () => due.splice(0).forEach((then) => then()) };
}

test("a map grows once for all messages that came before it is drawn", () => {
  const { map, live, shown, draw } = mapped();
  [0, 1, 2].forEach((evaluation) => live.show(map, step({ evaluation })));
  draw();
  live.show(map, step({ evaluation: 3 }));
  draw();
  assert.deepEqual(shown, [["images", 0], ["live", 3], ["live", 4]]);
});

test("what comes after the report is left out, and another run begins anew", () => {
  const { map, live, shown, draw } = mapped();
  live.show(map, step({ evaluation: 0 }));
  live.end(map, "prompt");
  draw();
  live.show(map, step({ evaluation: 1 }));
  live.show(map, step({ evaluation: 0, run: "before this one" }));
  draw();
  assert.deepEqual(shown, [["images", 0]]);
  live.show(map, step({ evaluation: 0, run: "another", prompt_id: "another" }));
  draw();
  assert.deepEqual(shown.at(-1), ["live", 1]);
});

test("what is known of a run that did not end stays", () => {
  const { map, live, shown, draw } = mapped();
  [0, 1].forEach((evaluation) => live.show(map, step({ evaluation })));
  live.interrupt(map, "another prompt");
  live.interrupt(map, "prompt");
  live.interrupt(map, "prompt");
  draw();
  assert.deepEqual(shown, [["images", 0], ["report", 2, "The run did not end; this is what it did until then."]]);
});
