//! The bounds of the core's queues, maps and buffers.
