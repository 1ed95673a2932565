//! Compiles the `.proto` files with protox: no `protoc` on the machine is needed.

use std::path::PathBuf;

const FILES: [&str; 11] = [
    "trust",
    "problem",
    "join",
    "certificates",
    "resources",
    "bots",
    "inventory",
    "audit",
    "cluster",
    "dial",
    "workload",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = FILES.map(|name| format!("proto/postern/v1/{name}.proto"));
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).open_files(files)?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;
    let documented = compiler.include_source_info(true).file_descriptor_set();
    tonic_prost_build::configure().compile_fds(documented)?;
    // Apart from our own services: it is served by agents, to whoever is on their machine.
    let mut compiler = protox::Compiler::new(["proto/spiffe"])?;
    compiler.include_imports(true).include_source_info(true).open_files(["workload.proto"])?;
    tonic_prost_build::configure().compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
