// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { LastOutputs } from "../../web/lib/outputs.mjs";

test("the last output of every node is kept, workflow by workflow", () => {
  const last = new LastOutputs();
  last.keep("one", "7", "first");
  last.keep("one", "7", "second");
  last.keep("one", "3:7", "inner");
  last.keep("other", "7", "another");
  assert.deepEqual([...last.of("one")], [["7", "second"], ["3:7", "inner"]]);
  assert.deepEqual([...last.of("other")], [["7", "another"]]);
  assert.deepEqual([...last.of("unknown")], []);
});

test("earlier outputs do not replace what came since", () => {
  const last = new LastOutputs();
  last.keep("one", "7", "new");
  last.add("one", new Map([["7", "old"], ["8", "old"]]));
  assert.deepEqual([...last.of("one")], [["7", "new"], ["8", "old"]]);
});

test("only the workflows that were changed last are kept", () => {
  const last = new LastOutputs();
  for (let i = 0; i < 9; i++) {
    last.keep(`workflow ${i}`, "7", i);
    last.keep("often", "7", i);
  }
  assert.equal(last.workflows.size, 8);
  assert.deepEqual([...last.of("often")], [["7", 8]]);
  assert.deepEqual([...last.of("workflow 1")], []);
});
