//! How messages become bytes and back: small buffers, typed refusals for bytes that do not decode,
//! and frames that were encoded once for all their receivers.

use std::{fmt, marker::PhantomData};

use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use tonic::{
    Status,
    codec::{BufferSettings, DecodeBuf, EncodeBuf},
};

use magpie::v1;
use magpie_core::refusal::{Reason, Refusal};

use super::status;
use crate::limits::{CODEC_BUFFER_BYTES, CODEC_YIELD_BYTES};

/// A frame of the stream in its encoded form: cheap to clone, the same bytes for every receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded(pub Bytes);

impl From<&v1::ServerFrame> for Encoded {
    fn from(frame: &v1::ServerFrame) -> Self {
        Self(frame.encode_to_vec().into())
    }
}

/// What may be sent: an ordinary message, or a frame that is encoded already.
pub trait Outgoing: Send + 'static {
    /// Appends the encoded form.
    fn write(self, buf: &mut impl BufMut);
}

impl<M: Message + 'static> Outgoing for M {
    fn write(self, buf: &mut impl BufMut) {
        self.encode_raw(buf);
    }
}

impl Outgoing for Encoded {
    fn write(self, buf: &mut impl BufMut) {
        buf.put(self.0);
    }
}

/// The codec of every service.
pub struct Codec<T, U>(PhantomData<fn(T) -> U>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> fmt::Debug for Codec<T, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Codec")
    }
}

impl<T: Outgoing, U: Message + Default + 'static> tonic::codec::Codec for Codec<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = Encoder<T>;
    type Decoder = Decoder<U>;

    fn encoder(&mut self) -> Encoder<T> {
        Encoder(PhantomData)
    }

    fn decoder(&mut self) -> Decoder<U> {
        Decoder(PhantomData)
    }
}

/// Writes messages into the buffer of a call.
pub struct Encoder<T>(PhantomData<fn(T)>);

impl<T> fmt::Debug for Encoder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encoder")
    }
}

impl<T: Outgoing> tonic::codec::Encoder for Encoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.write(buf);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}

/// Reads one message, which is all that there is.
pub(super) fn decode<U: Message + Default>(bytes: impl Buf) -> Result<U, Status> {
    U::decode(bytes).map_err(|error| {
        let text = format!("the bytes are not a message of the expected type: {error}");
        let refusal = Refusal::new(Reason::Undecodable, text);
        status::to_status(&refusal)
    })
}

/// Reads messages from the buffer of a call.
pub struct Decoder<U>(PhantomData<fn() -> U>);

impl<U> fmt::Debug for Decoder<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decoder")
    }
}

impl<U: Message + Default> tonic::codec::Decoder for Decoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        decode(buf).map(Some)
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}

/// Both directions allocate this much at once for each call, so an idle stream pays for it.
fn buffers() -> BufferSettings {
    BufferSettings::new(CODEC_BUFFER_BYTES, CODEC_YIELD_BYTES)
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};
    use tokio_stream::StreamExt;
    use tonic::{
        Code,
        codec::{Codec as _, EncodeBody, Streaming},
    };

    use super::*;

    async fn encode<T: Outgoing + Sync>(item: T) -> Bytes {
        let encoder = Codec::<T, v1::ClientFrame>::default().encoder();
        let items = tokio_stream::once(Ok(item));
        let body = EncodeBody::new_server(encoder, items, None, Default::default(), None);
        body.collect().await.expect("encodes").to_bytes()
    }

    fn decode(bytes: &[u8]) -> Streaming<v1::ServerFrame> {
        let mut framed = vec![0];
        framed.extend(u32::try_from(bytes.len()).expect("short").to_be_bytes());
        framed.extend(bytes);
        let decoder = Codec::<v1::ClientFrame, v1::ServerFrame>::default().decoder();
        Streaming::new_request(decoder, Full::new(Bytes::from(framed)), None, None)
    }

    #[tokio::test]
    async fn encoded_frame_reads_as_the_frame_itself() {
        let frame = v1::ServerFrame {
            request_id: 7,
            frame: Some(v1::server_frame::Frame::Done(v1::Done {})),
        };
        let shared = encode(Encoded::from(&frame)).await;
        assert_eq!(shared, encode(frame.clone()).await);
        let read = decode(&shared[5..]).next().await.expect("one item");
        assert_eq!(read.expect("decodes"), frame);
    }

    #[tokio::test]
    async fn bytes_that_do_not_decode_are_refused_as_undecodable() {
        let invalid_utf8 = [0x6a, 0x03, 0x12, 0x01, 0xff];
        for bytes in [&[0xff_u8; 8][..], &invalid_utf8] {
            let status = decode(bytes).next().await.expect("one item");
            let status = status.expect_err("refused");
            assert_eq!(status.code(), Code::InvalidArgument);
            let error = status::error_of(&status).expect("a typed detail");
            assert_eq!(error.reason(), v1::Reason::Undecodable);
            assert!(error.violations.is_empty());
        }
    }
}
