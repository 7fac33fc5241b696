//! The frames of a Chat stream as they come in. A large one takes its bytes from the connection's
//! budget before it is read, and waits until they are free; and it is put together here, as the
//! decoder's buffer would keep that size for as long as the stream lasts.

use std::{
    collections::VecDeque,
    mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{FutureExt, future::BoxFuture};
use http_body::Frame;
use magpie::v1;
use tonic::{Status, Streaming};

use super::super::{
    codec,
    intake::{PREFIX, too_large},
};
use crate::{
    limits::MESSAGE_FREE_BYTES,
    listen::{Budget, FrameCharge},
};

/// Large frames on their way past the decoder.
#[derive(Clone, Debug, Default)]
pub(in crate::grpc) struct Large(Arc<Mutex<VecDeque<Complete>>>);

#[derive(Debug)]
struct Complete {
    /// Its number among all frames of the stream.
    number: u64,
    bytes: Vec<u8>,
    charge: FrameCharge,
}

/// The body of a Chat call. What it passes on holds an empty frame in place of each large one.
pub(in crate::grpc) struct Frames {
    body: Body,
    budget: Arc<Budget>,
    frame_max: usize,
    large: Large,
    /// Frames begun so far.
    begun: u64,
    prefix: BytesMut,
    at: At,
    /// What came and is not looked at yet.
    unseen: Bytes,
}

/// Within which part of a frame the body is.
enum At {
    Prefix,
    Small {
        missing: usize,
    },
    /// The budget has no room for it yet.
    Waiting {
        length: usize,
        charge: BoxFuture<'static, FrameCharge>,
    },
    Large {
        length: usize,
        bytes: Vec<u8>,
        charge: FrameCharge,
    },
}

/// The frames as a session reads them.
pub(super) struct Incoming {
    frames: Streaming<v1::ClientFrame>,
    large: Large,
    read: u64,
}

impl Large {
    fn queue(&self) -> MutexGuard<'_, VecDeque<Complete>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, number: u64) -> Option<Complete> {
        self.queue()
            .pop_front_if(|complete| complete.number == number)
    }
}

impl Incoming {
    pub(super) fn new(frames: Streaming<v1::ClientFrame>, large: Large) -> Self {
        Self {
            frames,
            large,
            read: 0,
        }
    }

    /// The next frame, with what it holds of its connection's budget.
    pub(super) async fn next(
        &mut self,
    ) -> Result<Option<(v1::ClientFrame, Option<FrameCharge>)>, Status> {
        let Some(frame) = self.frames.message().await? else {
            return Ok(None);
        };
        let number = self.read;
        self.read += 1;
        match self.large.take(number) {
            None => Ok(Some((frame, None))),
            Some(large) => Ok(Some((codec::decode(&large.bytes[..])?, Some(large.charge)))),
        }
    }
}

impl Frames {
    pub(in crate::grpc) fn new(
        body: Body,
        budget: Arc<Budget>,
        frame_max: usize,
        large: Large,
    ) -> Self {
        Self {
            body,
            budget,
            frame_max,
            large,
            begun: 0,
            prefix: BytesMut::new(),
            at: At::Prefix,
            unseen: Bytes::new(),
        }
    }

    /// Goes through what came, until all is seen or the budget has no room.
    fn pass_on(&mut self) -> Result<BytesMut, Status> {
        let mut passed = BytesMut::new();
        while !self.unseen.is_empty() {
            match &mut self.at {
                At::Prefix => {
                    let part = self.unseen.len().min(PREFIX - self.prefix.len());
                    self.prefix.extend_from_slice(&self.unseen.split_to(part));
                    if self.prefix.len() == PREFIX {
                        self.begin(&mut passed)?;
                    }
                }
                At::Small { missing } => {
                    let part = self.unseen.len().min(*missing);
                    *missing -= part;
                    passed.extend_from_slice(&self.unseen.split_to(part));
                    if *missing == 0 {
                        self.at = At::Prefix;
                    }
                }
                At::Large { length, bytes, .. } => {
                    let part = self.unseen.len().min(*length - bytes.len());
                    bytes.extend_from_slice(&self.unseen.split_to(part));
                    if bytes.len() == *length {
                        self.complete(&mut passed);
                    }
                }
                At::Waiting { .. } => break,
            }
        }
        Ok(passed)
    }

    fn begin(&mut self, passed: &mut BytesMut) -> Result<(), Status> {
        let length = (&self.prefix[1..]).get_u32() as usize;
        if length > self.frame_max {
            return Err(too_large(length, self.frame_max));
        }
        self.begun += 1;
        if length <= MESSAGE_FREE_BYTES {
            passed.extend_from_slice(&self.prefix);
            self.prefix.clear();
            self.at = match length {
                0 => At::Prefix,
                missing => At::Small { missing },
            };
            return Ok(());
        }
        let budget = Arc::clone(&self.budget);
        let charge = async move { budget.take_for_frame(length).await }.boxed();
        self.at = At::Waiting { length, charge };
        Ok(())
    }

    fn complete(&mut self, passed: &mut BytesMut) {
        let At::Large { bytes, charge, .. } = mem::replace(&mut self.at, At::Prefix) else {
            return;
        };
        let number = self.begun - 1;
        let complete = Complete {
            number,
            bytes,
            charge,
        };
        self.large.queue().push_back(complete);
        // The flag stays, as it is the decoder's to judge.
        passed.extend_from_slice(&[self.prefix[0], 0, 0, 0, 0]);
        self.prefix.clear();
    }

    /// Waits for room, where a frame waits for it.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let At::Waiting { length, charge } = &mut self.at {
            let length = *length;
            let charge = ready!(charge.poll_unpin(cx));
            let bytes = Vec::with_capacity(length);
            self.at = At::Large {
                length,
                bytes,
                charge,
            };
        }
        Poll::Ready(())
    }
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = tonic::codegen::StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        loop {
            ready!(self.poll_room(cx));
            let passed = match self.pass_on() {
                Ok(passed) => passed,
                Err(refused) => return Poll::Ready(Some(Err(refused.into()))),
            };
            if !passed.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(passed.freeze()))));
            }
            if matches!(self.at, At::Waiting { .. }) {
                continue;
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.unseen = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => return Poll::Ready(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use magpie::v1::client_frame::Frame as Said;
    use prost::Message;

    use super::*;

    const KIB: usize = 1024;

    fn frame(request_id: u64, bytes: usize) -> Vec<u8> {
        let message = v1::SendMessageRequest {
            text: "x".repeat(bytes),
            ..v1::SendMessageRequest::default()
        };
        let frame = v1::ClientFrame {
            request_id,
            frame: Some(Said::SendMessage(message)),
        };
        let encoded = frame.encode_to_vec();
        let length = u32::try_from(encoded.len()).expect("short");
        [&[0][..], &length.to_be_bytes(), &encoded].concat()
    }

    fn incoming(sent: Vec<Vec<u8>>, budget: &Arc<Budget>) -> Incoming {
        let pieces = sent
            .into_iter()
            .map(|piece| Ok::<_, Status>(Bytes::from(piece)));
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        let large = Large::default();
        let frames = Frames::new(body, Arc::clone(budget), 512 * KIB, large.clone());
        let decoder = tonic::codec::Codec::decoder(&mut codec::Codec::<
            v1::ServerFrame,
            v1::ClientFrame,
        >::default());
        Incoming::new(Streaming::new_request(decoder, frames, None, None), large)
    }

    #[tokio::test]
    async fn frames_of_all_sizes_come_in_their_order_however_they_are_cut() {
        let sizes = [0, 10, 5_000, 300_000, 1, 4_000, 100_000, 2];
        let sent: Vec<u8> = (0..)
            .zip(sizes)
            .flat_map(|(id, size)| frame(id, size))
            .collect();
        for cut in [1, 7, 16 * KIB, sent.len()] {
            let budget = Arc::new(Budget::new(960 * KIB));
            let pieces = sent.chunks(cut).map(<[u8]>::to_vec).collect();
            let mut incoming = incoming(pieces, &budget);
            for (id, size) in (0..).zip(sizes) {
                let next = incoming.next().await.expect("sound").expect("one more");
                assert_eq!(next.0.request_id, id);
                let Some(Said::SendMessage(send)) = next.0.frame else {
                    panic!("a message")
                };
                assert_eq!(send.text.len(), size);
                assert_eq!(next.1.is_some(), size > MESSAGE_FREE_BYTES);
            }
            assert!(incoming.next().await.expect("sound").is_none());
            assert_eq!(budget.free(), 960 * KIB);
        }
    }

    #[tokio::test]
    async fn a_large_frame_waits_until_those_before_it_are_done() {
        let budget = Arc::new(Budget::new(960 * KIB));
        let sent = (0..2).map(|id| frame(id, 400 * KIB)).collect();
        let mut incoming = incoming(sent, &budget);
        let first = incoming.next().await.expect("sound").expect("fits");
        assert!(incoming.next().now_or_never().is_none());
        drop(first);
        incoming.next().await.expect("sound").expect("fits now");
    }

    #[tokio::test]
    async fn a_frame_over_the_limit_is_refused_by_its_length() {
        let budget = Arc::new(Budget::new(960 * KIB));
        let large = Large::default();
        let body = Body::from(frame(1, 600 * KIB));
        let body = Frames::new(body, budget, 512 * KIB, large);
        Body::new(body).collect().await.expect_err("refused");
    }
}
