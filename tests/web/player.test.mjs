// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { Player } from "../../web/lib/player.mjs";

test("it advances until there is no more, and tells when it starts and stops", async () => {
  /** @type {boolean[]} */
  const told = [];
  let left = 2;
  await new Promise((done) => {
    const player = new Player(() => --left > 0, (playing) => { told.push(playing); if (!playing) done(null); });
    player.stop();
    player.start();
    player.start();
    assert.equal(player.playing, true);
  });
  assert.equal(left, 0);
  assert.deepEqual(told, [true, false]);
});
