import assert from "node:assert/strict";
import { test } from "node:test";

import { clamp, remember, shorten, showCount, showNumber, showProse, showShare, showSigned, showToken, unique } from "./model.mjs";

test("tokens show every character", () => {
  assert.deepEqual(["", " a", "\n\t", "\u200b", "\ud800", "\u0301e"].map(showToken), ["∅", "·a", "⏎⇥", "\\u200b", "\\ud800", "◌\u0301e"]);
  assert.equal(showProse("a b\u202ec"), "a b\\u202ec");
});

test("numbers are short, and their signs seen", () => {
  assert.deepEqual([0, 1.23456, -0.5, 0.0001, NaN].map(showNumber), ["0", "1.235", "−0.500", "1.0e−4", "undefined"]);
  assert.deepEqual([2, 0, -2].map(showSigned), ["+2.000", "0", "−2.000"]);
});

test("shares make sense of any whole", () => {
  const shares = [[1, 3], [-1, 1], [1, 0], [1e-6, 1], [0, 5], [-200, 1], [-200, -1]];
  assert.deepEqual(shares.map(([part, whole]) => showShare(part, whole)), [
    "33.3%", "−100%", "–", "≈ 0%", "0.0%", "< −9999%", "> 9999%",
  ]);
});

test("counts and cuts", () => {
  assert.deepEqual([showCount(1, "node"), showCount(12345, "node")], ["1 node", "12,345 nodes"]);
  assert.deepEqual([shorten("abc", 3), shorten("abcd", 3), shorten("😀😀😀", 3)], ["abc", "ab…", "😀😀😀"]);
});

test("small tools", () => {
  assert.deepEqual([clamp(5, 0, 1), clamp(-5, 0, 1), clamp(0.5, 0, 1)], [1, 0, 0.5]);
  assert.deepEqual(unique([2, 1, 2]), [2, 1]);
  let computed = 0;
  const sum = remember((a, b) => { computed += 1; return a + b; });
  assert.deepEqual([sum(1, 2), sum(1, 2), sum(2, 2), computed], [3, 3, 4, 2]);
});
