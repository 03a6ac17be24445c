import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { pathToFileURL } from "node:url";
import { native } from "../../dist/native/index.js";
import { currentTarget, loadModule, packageName, targetName } from "../../dist/native/load.js";

const scratch = mkdtempSync(join(tmpdir(), "aster-load-"));
after(() => rmSync(scratch, { recursive: true }));
const directory = pathToFileURL(`${scratch}/`);

test("a platform without a module is told by name, with what to do", () => {
  const target = { platform: "linux", arch: "riscv64", libc: "musl" };
  assert.throws(() => loadModule(target, directory), {
    message:
      /linux riscv64 with musl can't be loaded\.\n {2}@aster-rpc\/aster-linux-riscv64-musl: it is not installed\n.*--omit=optional.*npm install @aster-rpc\/aster-linux-riscv64-musl@\d/s,
  });
  assert.equal(packageName({ platform: "darwin", arch: "arm64", libc: null }), "@aster-rpc/aster-darwin-arm64");
});

test("a module that is there and can't be loaded is named with the reason", () => {
  const target = { platform: "linux", arch: "broken", libc: "gnu" };
  writeFileSync(join(scratch, `aster.${targetName(target)}.node`), "no library");
  assert.throws(
    () => loadModule(target, directory),
    (error) => {
      assert.match(error.message, /aster\.linux-broken-gnu\.node: .*(file too short|invalid ELF)/);
      assert.match(error.message, /@aster-rpc\/aster-linux-broken-gnu: it is not installed/);
      return true;
    },
  );
});

test("the module that is loaded is of this version and this target", async () => {
  const { default: description } = await import("../../package.json", { with: { type: "json" } });
  assert.equal(native().version, description.version);
  assert.equal(loadModule(currentTarget()).version(), description.version);
  assert.equal(native().codes.UNAVAILABLE, 14);
  assert.equal(native().defaults.MAX_MESSAGE, 16 * 1024 * 1024);
});
