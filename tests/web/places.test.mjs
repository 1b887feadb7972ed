// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { Places } from "../../web/lib/places.mjs";

/** An element that is shown or not. @param {boolean} isConnected @returns {any} */
function element(isConnected) {
  return {
    isConnected,
    replaceWith(/** @type {any} */ other) {
      this.isConnected = false;
      other.isConnected = true;
    },
  };
}

/** What is shown after these elements had the same place, one after the other. @param {any[]} elements */
function shown(elements) {
  /** @type {(() => void)[]} */
  const due = [];
  const places = new Places((then) => due.push(then));
  for (const each of elements) places.put(":7", each);
  due.forEach((then) => then());
  return elements.map((each) => each.isConnected);
}

test("an element that is still shown gives way to the one that came after it", () => {
  assert.deepEqual(shown([element(true), element(false)]), [false, true]);
  assert.deepEqual(shown([element(true), element(false), element(false)]), [false, false, true]);
});

test("nothing moves where the frontend shows the right one, or none", () => {
  assert.deepEqual(shown([element(false), element(true)]), [false, true]);
  assert.deepEqual(shown([element(false), element(false)]), [false, false]);
  assert.deepEqual(shown([element(true), element(true)]), [true, true]);
});

test("a node that is taken out and put back keeps its element", () => {
  const same = element(true);
  assert.deepEqual(shown([same, same]), [true, true]);
});
