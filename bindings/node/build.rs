//! Sets what the linker needs on the systems where a native module finds Node.js only when it is loaded.

fn main() {
    napi_build::setup();
}
