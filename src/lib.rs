//! Magpie's public contract, for programs that talk to a node.
//!
//! [`v1`] holds the messages and the gRPC clients that are generated from `proto/magpie/v1`;
//! [`client`] is the Rust client on top of them.

#![deny(missing_docs)]

pub mod client;
mod entry;

/// The messages and clients of package `magpie.v1`.
pub mod v1 {
    #![expect(
        unused_qualifications,
        clippy::allow_attributes_without_reason,
        reason = "generated code"
    )]
    tonic::include_proto!("magpie.v1");

    /// The encoded `google.protobuf.FileDescriptorSet` of the package and its imports, with
    /// comments; for reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/magpie.v1.bin"));
}
