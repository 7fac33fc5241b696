//! How HTTP is spoken: everything that a client could use to make the node hold memory is pinned.

use hyper_util::{
    rt::{TokioExecutor, TokioTimer},
    server::conn::auto::Builder,
};

use crate::limits::{Limits, count, millis, number};

/// Settings for both versions of HTTP; the first bytes of a connection choose.
pub(super) fn builder(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(millis(limits.ping_interval_millis))
        .keep_alive_timeout(millis(limits.ping_timeout_millis))
        .max_concurrent_streams(number(limits.connection_streams_max))
        .initial_stream_window_size(number(limits.stream_window_bytes))
        .initial_connection_window_size(number(limits.connection_window_bytes))
        .max_send_buf_size(count(limits.stream_send_buffer_bytes))
        .max_header_list_size(number(limits.header_list_bytes_max))
        .max_local_error_reset_streams(count(limits.connection_faults_max))
        .max_pending_accept_reset_streams(count(limits.connection_pending_resets_max));
    // HTTP/1.1 is for gRPC-Web without TLS and for health checks: one call at a time.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(millis(limits.handshake_millis))
        .max_buf_size(count(limits.header_list_bytes_max).max(8 << 10));
    builder
}
