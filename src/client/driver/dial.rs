//! Opens a stream: finds the address, brings the token, says Hello and waits for the answer.

use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming, metadata::MetadataValue, transport::Channel};

use crate::{
    client::{
        api::Api,
        credentials::Held,
        error::Error,
        limits::{CONNECT_TIMEOUT, FRAMES_QUEUED_MAX},
    },
    v1::{
        ClientFrame, Hello, LocateRequest, Reason, ServerFrame,
        chat_service_client::ChatServiceClient, client_frame::Frame,
    },
};

/// An open stream. Dropping both halves together ends it at the server.
pub(super) struct Stream {
    pub(super) number: u64,
    pub(super) frames: mpsc::Sender<ClientFrame>,
    pub(super) answers: Streaming<ServerFrame>,
    /// The version of the credentials it goes on.
    pub(super) version: u64,
}

/// Where to open it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// Over the connection that the unary calls use.
    Same,
    /// At the usual address, over a new connection.
    Anew,
    /// At another node.
    At(String),
    /// Where the server says.
    Locate,
}

/// Opens the stream `number`; returns it with its first frame.
pub(super) async fn dial(
    api: Api,
    number: u64,
    route: Route,
    hello: Hello,
) -> Result<(Stream, ServerFrame), Error> {
    let work = async {
        let channel = channel(&api, route).await?;
        let tokens = api.tokens()?;
        let held = tokens.fresh(api.channel()).await?;
        match start(channel.clone(), number, &held, hello.clone()).await {
            Err(error) if wants_token(&error) => {
                let held = tokens.renew(api.channel(), held.version).await?;
                start(channel, number, &held, hello).await
            }
            other => other,
        }
    };
    let late = |_| Err(Error::Transport("no answer in time".to_owned()));
    timeout(CONNECT_TIMEOUT, work).await.unwrap_or_else(late)
}

/// A token that was good for another key, or another clock, may be mended by a new one.
fn wants_token(error: &Error) -> bool {
    let reason = error.reason();
    matches!(reason, Some(Reason::TokenExpired | Reason::Unauthenticated))
}

async fn channel(api: &Api, route: Route) -> Result<Channel, Error> {
    let address = match route {
        Route::Same => return Ok(api.channel()),
        Route::Anew => return api.reconnect(),
        Route::At(address) => address,
        Route::Locate => {
            api.reconnect()?;
            let answer = api.discovery().locate(LocateRequest {}).await?;
            answer.into_inner().address
        }
    };
    // An access token never goes out in the clear because an answer said so.
    let downgrade = api.address().starts_with("https://") && !address.starts_with("https://");
    if address.is_empty() || address == api.address() || downgrade {
        return Ok(api.channel());
    }
    api.target().at(&address).channel()
}

async fn start(
    channel: Channel,
    number: u64,
    held: &Held,
    hello: Hello,
) -> Result<(Stream, ServerFrame), Error> {
    let (frames, receiver) = mpsc::channel(FRAMES_QUEUED_MAX);
    let hello = ClientFrame {
        request_id: 0,
        frame: Some(Frame::Hello(hello)),
    };
    // The server answers only to Hello, so it goes in before the call is made.
    frames
        .try_send(hello)
        .expect("an empty queue takes a frame");
    let mut request = Request::new(ReceiverStream::new(receiver));
    let bearer = format!("Bearer {}", held.credentials.access_token);
    let mut bearer = MetadataValue::try_from(bearer)
        .map_err(|_| Error::Protocol("an access token that is no header value"))?;
    bearer.set_sensitive(true);
    request.metadata_mut().insert("authorization", bearer);
    let mut answers = ChatServiceClient::new(channel)
        .chat(request)
        .await?
        .into_inner();
    let first = answers.message().await?;
    let first =
        first.ok_or_else(|| Error::Transport("the stream ended before it began".to_owned()))?;
    let stream = Stream {
        number,
        frames,
        answers,
        version: held.version,
    };
    Ok((stream, first))
}
