import { expect, test } from "vitest";

import { LeaseCheck, OVERDUE_MS } from "./lease-check.ts";

test("LeaseCheck accepts leases that end in their time", () => {
  const leases = new LeaseCheck(0);
  leases.granted(1n, 5, 1000);
  leases.renewed(1n, 5, 3000);
  leases.gone(1n, 8000);
  leases.granted(2n, 5, 1000);
  leases.revoking(2n);
  leases.gone(2n, 1500);
  leases.gone(3n, 1500);
  expect(leases.expiries).toBe(1);
});

test("LeaseCheck tells of a lease that ends before its time", () => {
  const leases = new LeaseCheck(0);
  leases.granted(1n, 5, 1000);
  expect(() => leases.gone(1n, 5999)).toThrow("promised until 6000 ms");
});

test("LeaseCheck tells of a renewal that was forgotten", () => {
  const leases = new LeaseCheck(0);
  leases.granted(1n, 5, 1000);
  leases.renewed(1n, 5, 4000);
  expect(() => leases.gone(1n, 6500)).toThrow("promised until 9000 ms");
});

test("LeaseCheck tells of a lease that never ends", () => {
  const leases = new LeaseCheck(0);
  leases.granted(1n, 5, 1000);
  leases.left(1n, "key", 7000);
  expect(() => leases.left(1n, "key", 6000 + OVERDUE_MS)).toThrow("still holds key");
});
