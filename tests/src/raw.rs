//! gRPC calls whose messages are any bytes at all, for what no generated client would send.

use bytes::{Buf, BufMut, Bytes};
use futures_util::Stream;
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};

/// Makes a unary call of `path`, such as `/magpie.v1.MessageService/SendMessage`.
///
/// # Errors
/// The node's refusal.
///
/// # Panics
/// When the connection cannot be made.
pub async fn unary(channel: Channel, path: &str, request: Request<Bytes>) -> Result<Bytes, Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.expect("the node can be reached");
    let path = path.parse().expect("a method has a path");
    Ok(grpc.unary(request, path, BytesCodec).await?.into_inner())
}

/// Opens a stream of `path` both ways.
///
/// # Errors
/// The node's refusal.
///
/// # Panics
/// When the connection cannot be made.
pub async fn stream(
    channel: Channel,
    path: &str,
    request: Request<impl Stream<Item = Bytes> + Send + 'static>,
) -> Result<Streaming<Bytes>, Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.expect("the node can be reached");
    let path = path.parse().expect("a method has a path");
    Ok(grpc
        .streaming(request, path, BytesCodec)
        .await?
        .into_inner())
}

/// Leaves messages as they are.
#[derive(Clone, Copy, Debug, Default)]
struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
