//! The limits of the shell around the services: connections, buffers and waits.

/// What a call's read and write buffers take at once, each. Bytes.
pub const CODEC_BUFFER_BYTES: usize = 512;
/// How much of a stream's ready frames is joined into one write. Bytes.
pub const CODEC_YIELD_BYTES: usize = 16 * 1024;
