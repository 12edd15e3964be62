//! Compiles the .proto files by a library, so that no build needs protoc.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "kv.proto",
        "lease.proto",
        "auth.proto",
        "rpc.proto",
        "lock.proto",
        "election.proto",
    ];
    for file in files {
        println!("cargo:rerun-if-changed={}", Path::new("proto").join(file).display());
    }
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure()
        .bytes(".")
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}
