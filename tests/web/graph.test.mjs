// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { allNodes, applyThreshold, nodeByExecutionId, nodeByLocator } from "../../web/lib/graph.mjs";

/**
 * A graph as the frontend has it, from nodes and links [origin, slot, target, slot]; "in" and "out" are a subgraph's.
 * @param {any[]} nodes @param {any[][]} links @param {any} [rest]
 */
function graph(nodes, links, rest = {}) {
  const all = links.map(([origin_id, origin_slot, target_id, target_slot]) => ({
    origin_id, origin_slot, target_id, target_slot,
    originIsIoNode: origin_id === "in", targetIsIoNode: target_id === "out",
  }));
  /** @type {any} */
  const made = {
    nodes,
    links: new Map(all.map((link, i) => [i, link])),
    getNodeById: (/** @type {any} */ id) => nodes.find((node) => String(node.id) === String(id)),
    beforeChange() {},
    afterChange() {},
    ...rest,
  };
  for (const node of nodes) {
    node.graph = made;
    node.getInputLink = (/** @type {number} */ slot) =>
      all.find((link) => link.target_id === node.id && link.target_slot === slot);
  }
  return made;
}

/**
 * @param {number | string} id @param {string} comfyClass @param {string[]} inputs as "name TYPE"
 * @param {any} [rest]
 */
function node(id, comfyClass, inputs, rest = {}) {
  const slots = inputs.map((input) => ({ name: input.split(" ")[0], type: input.split(" ")[1] }));
  return { id, comfyClass, title: comfyClass, inputs: slots, outputs: [{ type: "MODEL" }], mode: 0, ...rest };
}

/** @param {string} name */
const widget = (name) => ({ name, value: 0.1, options: { min: 0, max: 10 } });

/** @param {number | string} id @param {any} [rest] */
function fastCache(id, rest = {}) {
  const inputs = ["model MODEL", "block_cache FASTCACHE_BLOCK_CACHE", "token_selector FASTCACHE_TOKEN_SELECTOR",
    "block_threshold FLOAT"];
  return node(id, "FastCache", inputs, { widgets: [widget("block_threshold"), widget("token_threshold")], ...rest });
}

/** @param {number | string} id */
const preview = (id) => node(id, "FastCachePreview", ["model MODEL", "after_sample LATENT"]);

/** Notes when changes begin and end. */
function canvas() {
  /** @type {string[]} */
  const told = [];
  return { told, emitBeforeChange: () => told.push("before"), emitAfterChange: () => told.push("after"), setDirty() {} };
}

/** @param {any} root @param {any} shown @param {"block" | "token"} kind */
const apply = (root, shown, kind = "block", value = 0.14) => applyThreshold(root, shown, kind, value, canvas());

test("a threshold goes to the FastCache node before the preview, and can be undone", () => {
  const [source, shown] = [fastCache(4), preview(7)];
  const root = graph([source, shown], [[4, 0, 7, 0]]);
  const heard = canvas();
  /** @type {any[]} */
  const called = [];
  source.widgets[0].callback = (/** @type {any[]} */ ...values) => called.push([values[0], [...heard.told]]);
  assert.equal(applyThreshold(root, shown, "block", 0.14, heard),
    "block_threshold of FastCache (#4) is now 0.14; run again to use it.");
  assert.deepEqual(source.widgets.map((/** @type {any} */ held) => held.value), [0.14, 0.1]);
  assert.deepEqual(called, [[0.14, ["before"]]]);
  assert.deepEqual(heard.told, ["before", "after"]);
  assert.equal(apply(root, shown, "token", 99), "token_threshold of FastCache (#4) is now 10; run again to use it.");
});

test("reroutes, other patches and nodes that are bypassed lie in between", () => {
  const nodes = [
    fastCache("4"),
    node("5", "Reroute", [" *"], { isVirtualNode: true }),
    node("6", "ModelSamplingSD3", ["shift FLOAT", "model MODEL"]),
    node("8", "LoraLoader", ["clip CLIP", "model MODEL"], { mode: 4 }),
    preview("7"),
  ];
  const root = graph(nodes, [["4", 0, "5", 0], ["5", 0, "6", 1], ["6", 0, "8", 1], ["8", 0, "7", 0]]);
  assert.match(apply(root, nodes[4]), /^block_threshold of FastCache \(#4\) is now 0.14;/);
});

test("a node that is bypassed or muted is not the one", () => {
  for (const mode of [2, 4]) {
    const [source, shown] = [fastCache(4, { mode }), preview(7)];
    const root = graph([source, shown], [[4, 0, 7, 0]]);
    assert.equal(apply(root, shown), "Nothing was changed: no FastCache node leads to this preview's model input.");
    assert.equal(source.widgets[0].value, 0.1);
  }
});

test("a node on the socket holds the threshold", () => {
  const rules = node(5, "FastCacheBlockCache", [], { widgets: [widget("threshold")] });
  const [source, shown] = [fastCache(4), preview(7)];
  const root = graph([source, rules, shown], [[4, 0, 7, 0], [5, 0, 4, 1]]);
  assert.equal(apply(root, shown), "threshold of FastCacheBlockCache (#5) is now 0.14; run again to use it.");
  assert.equal(apply(root, shown, "token"), "token_threshold of FastCache (#4) is now 0.14; run again to use it.");
  rules.mode = 4; // then FastCache's own widget counts
  assert.match(apply(root, shown), /^block_threshold of FastCache \(#4\)/);
});

test("a preset holds the threshold as its strength, where its method has that knob", () => {
  const method = { name: "method", value: "DiCache" };
  const inputs = ["method COMBO", "strength FLOAT"];
  const preset = node(5, "FastCachePreset", inputs, { title: "Preset", widgets: [method, widget("strength")] });
  const [source, shown, chooser] = [fastCache(4), preview(7), node(8, "Chooser", [])];
  const both = [[4, 0, 7, 0], [5, 0, 4, 1], [5, 1, 4, 2]];
  const root = graph([source, preset, shown, chooser], both);
  assert.equal(apply(root, shown), "strength of Preset (#5) is now 0.14; run again to use it.");
  assert.deepEqual([preset.widgets[1].value, source.widgets[0].value], [0.14, 0.1]);
  const refused = "Nothing was changed: the method of Preset (#5) decides. Set its strength.";
  assert.equal(apply(root, shown, "token"), refused);
  method.value = "FORA";
  assert.equal(apply(root, shown), refused);
  method.value = "DiCache";
  graph(root.nodes, [...both, [8, 0, 5, 0]]); // then the widget does not tell the method
  assert.equal(apply(source.graph, shown), refused);
  assert.equal(preset.widgets[1].value, 0.14);
});

test("a widget whose value comes from another node is left alone", () => {
  const [source, number, shown] = [fastCache(4), node(5, "PrimitiveFloat", []), preview(7)];
  const root = graph([source, number, shown], [[4, 0, 7, 0], [5, 0, 4, 3]]);
  assert.equal(apply(root, shown),
    "Nothing was changed: block_threshold of FastCache (#4) comes from PrimitiveFloat (#5). Set it there.");
  assert.equal(source.widgets[0].value, 0.1);
});

test("a primitive, which is not in the prompt, gives a value all the same", () => {
  const [source, shown] = [fastCache(4), preview(7)];
  const primitive = node(5, "PrimitiveNode", [], { isVirtualNode: true, title: "Primitive" });
  const reroute = node(6, "Reroute", [" *"], { isVirtualNode: true });
  const root = graph([source, primitive, reroute, shown], [[4, 0, 7, 0], [5, 0, 6, 0], [6, 0, 4, 3]]);
  assert.equal(apply(root, shown),
    "Nothing was changed: block_threshold of FastCache (#4) comes from Primitive (#5). Set it there.");
  assert.equal(source.widgets[0].value, 0.1);
  graph(root.nodes, [[4, 0, 7, 0], [6, 0, 4, 3]]); // a reroute that nothing comes to gives nothing
  assert.match(apply(source.graph, shown), /^block_threshold of FastCache \(#4\) is now 0.14;/);
});

test("links that go round in a circle lead to no FastCache", () => {
  const shown = preview(7);
  const [one, other] = [5, 6].map((id) => node(id, "LoraLoader", ["model MODEL"]));
  const root = graph([one, other, shown], [[5, 0, 6, 0], [6, 0, 5, 0], [6, 0, 7, 0]]);
  assert.equal(apply(root, shown), "Nothing was changed: no FastCache node leads to this preview's model input.");
});

test("a preview in a subgraph finds a FastCache outside, however deep", () => {
  const shown = preview(7);
  const inner = graph([shown], [["in", 0, 7, 0]]);
  const middle = graph([node(3, "Subgraph", ["model MODEL"], { subgraph: inner })], [["in", 1, 3, 0]]);
  const host = node(2, "Subgraph", ["clip CLIP", "model MODEL"], { subgraph: middle });
  const source = fastCache(4);
  const root = graph([source, host], [[4, 0, 2, 1]]);
  assert.match(apply(root, shown), /^block_threshold of FastCache \(#4\) is now/);
  assert.equal(nodeByExecutionId(root, "2:3:7"), shown);
  assert.equal(nodeByExecutionId(root, "2:9:7"), undefined);
});

test("a preview finds a FastCache in a subgraph, and names it by its path", () => {
  const source = fastCache(4);
  const inner = graph([source], [["in", 0, 4, 0], [4, 0, "out", 1]]);
  const host = node(2, "Subgraph", ["model MODEL"], { subgraph: inner, outputs: ["CLIP", "MODEL"] });
  const shown = preview(7);
  const root = graph([host, shown], [[2, 1, 7, 0]], { subgraphs: new Map([["uuid", inner]]) });
  assert.equal(apply(root, shown), "block_threshold of FastCache (#2:4) is now 0.14; run again to use it.");
  assert.equal(nodeByLocator(root, "uuid:4"), source);
  assert.equal(nodeByLocator(root, "7"), shown);
  assert.equal(nodeByLocator(root, "other:7"), undefined);
  assert.deepEqual(allNodes(root), [host, shown, source]);
});

test("a widget that was promoted to its subgraph's node is set there", () => {
  const source = fastCache(4);
  const inner = graph([source], [["in", 0, 4, 0], ["in", 1, 4, 3], [4, 0, "out", 0]]);
  const inputs = ["model MODEL", "strength FLOAT"];
  const host = node(2, "Subgraph", inputs, { subgraph: inner, widgets: [widget("strength")] });
  const [number, shown] = [node(5, "PrimitiveFloat", []), preview(7)];
  const root = graph([host, number, shown], [[2, 0, 7, 0]]);
  assert.equal(apply(root, shown),
    "block_threshold of FastCache (#2:4) is now 0.14, on Subgraph (#2); run again to use it.");
  assert.deepEqual([host.widgets[0].value, source.widgets[0].value], [0.14, 0.1]);
  graph(root.nodes, [[2, 0, 7, 0], [5, 0, 2, 1]]);
  assert.equal(apply(host.graph, shown),
    "Nothing was changed: block_threshold of FastCache (#2:4) comes from PrimitiveFloat (#5). Set it there.");
});

test("a subgraph that is used behind two FastCache nodes changes neither", () => {
  const shown = preview(7);
  const inner = graph([shown], [["in", 0, 7, 0]]);
  const [one, other] = [2, 3].map((id) => node(id, "Subgraph", ["model MODEL"], { subgraph: inner }));
  const root = graph([fastCache(4), fastCache(5), one, other], [[4, 0, 2, 0], [5, 0, 3, 0]]);
  assert.equal(apply(root, shown),
    "Nothing was changed: this preview shows FastCache (#4) and FastCache (#5). Set the threshold there.");
});
