//! What hostile clients, storms and want of resources do to a real node: nothing to the others, and
//! a bounded amount to the node. An honest client goes on sending throughout each test.

mod bursts;
mod calls;
mod descriptors;
mod disk;
mod ends;
mod half_open;
mod honest;
mod http2;
mod log_ins;
mod peer;
mod scene;
mod slow_readers;
mod storm;
mod unanswered;
mod wire;
