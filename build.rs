//! Compiles the public contract: messages, clients and the descriptor set. Needs no protoc.

use std::{env, error::Error, fs, path::Path};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true);
    for file in [
        "auth",
        "chat",
        "discovery",
        "entry",
        "error",
        "message",
        "presence",
        "room",
        "user",
    ] {
        compiler.open_file(format!("magpie/v1/{file}.proto"))?;
    }
    let descriptors = compiler.file_descriptor_set();
    let out = env::var("OUT_DIR")?;
    fs::write(
        Path::new(&out).join("magpie.v1.bin"),
        descriptors.encode_to_vec(),
    )?;
    tonic_prost_build::configure()
        .build_server(false)
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
