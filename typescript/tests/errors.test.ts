/** The error classes by themselves. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as aster from "@aster-rpc/aster";
import {
  AccessDenied,
  AsterError,
  NotFound,
  PermissionDenied,
  RpcError,
  StatusCode,
  UnknownMethod,
  UsageError,
} from "@aster-rpc/aster";

describe("errors", () => {
  test("C6 one root, and a class per code", () => {
    for (const [name, code] of Object.entries(StatusCode)) {
      if (code === StatusCode.OK) continue;
      const cls = Object.values(aster).find((each) => {
        if (typeof each !== "function" || each === RpcError || each === UnknownMethod) return false;
        if (!(each.prototype instanceof RpcError)) return false;
        return new (each as new (message: string) => RpcError)("x").code === code;
      }) as (new (message: string) => RpcError) | undefined;
      assert.ok(cls !== undefined, name);
      const error = new cls("what happened");
      assert.equal(error.codeName, name);
      assert.equal(error.message, "what happened");
      assert.ok(error instanceof RpcError && error instanceof AsterError && error instanceof Error);
      assert.equal(error.name, cls.name);
    }
    assert.equal(AccessDenied, PermissionDenied);
  });

  test("C6 instanceof tells classes apart, also derived ones", () => {
    class NoAgent extends NotFound {}
    const error = new NoAgent("no agent", { details: { id: 1 }, cause: "because" });
    assert.ok(error instanceof NoAgent && error instanceof NotFound && error instanceof RpcError);
    assert.ok(!(error instanceof PermissionDenied) && !(error instanceof UsageError));
    assert.ok(!(new NotFound("x") instanceof NoAgent));
    assert.ok(new UnknownMethod("m") instanceof aster.Unimplemented);
    assert.equal(error.cause, "because");
    assert.deepEqual(error.details, { id: 1 });
    for (const other of [null, undefined, 5, "text", {}, new Error("x")])
      assert.ok(!((other as unknown) instanceof AsterError));
  });

  test("C6 a success is no error", () => {
    for (const code of [0, -1, 1.5]) assert.throws(() => new RpcError(code, "x"), UsageError);
  });
});
