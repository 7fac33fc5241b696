//! Clients that keep their half of a stream open for ever after its session ended.

use magpie::v1::{Bye, GetProfileRequest, client_frame};
use magpie_tests::{guard::guarded, node::Setup};

use crate::{
    peer::{Peer, WINDOW_MAX, prefixed, status},
    scene::Scene,
};

#[tokio::test]
async fn a_stream_that_its_client_never_half_closes_ends_with_its_session() {
    guarded(async {
        let setup = Setup::new().limit("connection_streams_max", 1);
        let scene = Scene::on(setup).await;
        let mut peer = Peer::connect(&scene.node, WINDOW_MAX, WINDOW_MAX).await;
        let mut stream = peer.chat(&scene.mallory).await;
        stream.tell(0, client_frame::Frame::Bye(Bye {}));
        while let Ok(Some(_)) = stream.next().await {}
        // The one place for a call is free again, although the request was not ended.
        let call = magpie_tests::guard::event("a place for a call", async {
            peer.call(&scene.mallory, "UserService/GetProfile").await
        });
        let mut call = call.await.expect("the connection lives");
        let request = prefixed(&GetProfileRequest::default());
        call.request.send_data(request, true).expect("it goes out");
        let status = status(call.response).await.expect("an answer");
        assert_eq!(status.code(), tonic::Code::Ok, "{status:?}");
        assert!(peer.is_open());
    })
    .await;
}
