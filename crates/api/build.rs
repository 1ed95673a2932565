//! Compiles the `.proto` files with protox: no `protoc` on the machine is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files =
        ["trust", "join", "certificates", "resources", "bots", "inventory", "audit", "cluster", "dial"]
            .map(|name| format!("proto/postern/v1/{name}.proto"));
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(&files, ["proto"])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
