//! Generates the services' traits from `proto/`. Messages come from the root crate; only the item
//! of the server's stream is replaced, so that one encoded frame is shared by all its receivers.

use std::error::Error;

const PROTOS: [&str; 7] = [
    "auth",
    "chat",
    "discovery",
    "message",
    "presence",
    "room",
    "user",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=../proto");
    let mut compiler = protox::Compiler::new(["../proto"])?;
    compiler.include_imports(true).include_source_info(true);
    for file in PROTOS {
        compiler.open_file(format!("magpie/v1/{file}.proto"))?;
    }
    tonic_prost_build::configure()
        .build_client(false)
        .build_transport(false)
        .extern_path(".magpie.v1", "::magpie::v1")
        // The longer path wins. SyncResponse holds frames too, but as a message of the root crate
        // it keeps the ordinary type.
        .extern_path(".magpie.v1.ServerFrame", "crate::grpc::codec::Encoded")
        .codec_path("crate::grpc::codec::Codec")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
