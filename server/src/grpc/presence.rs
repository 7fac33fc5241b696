//! `PresenceService` and `DiscoveryService`.

use magpie::v1;
use magpie_core::edge::Ask;
use tonic::{Request, Response, Status};

use super::{
    api, convert, requests,
    services::{Services, caller, refused, unfitting},
};

#[tonic::async_trait]
impl api::PresenceService for Services {
    async fn set_status(
        &self,
        request: Request<v1::SetStatusRequest>,
    ) -> Result<Response<v1::SetStatusResponse>, Status> {
        let caller = caller(&request)?;
        let ask = requests::set_status(request.into_inner()).map_err(refused)?;
        let Ask::SetStatus { busy, text } = ask else {
            return Err(unfitting());
        };
        self.counted_sign(caller.user).map_err(refused)?;
        let presence = self
            .presences
            .set_status(caller.user, busy, text)
            .await
            .map_err(refused)?;
        let presence = Some(convert::presence(&presence));
        Ok(Response::new(v1::SetStatusResponse { presence }))
    }

    async fn get_presence(
        &self,
        request: Request<v1::GetPresenceRequest>,
    ) -> Result<Response<v1::GetPresenceResponse>, Status> {
        let caller = caller(&request)?;
        let users = requests::users(&request.get_ref().user_ids).map_err(refused)?;
        let presences = self
            .presences
            .get(caller.user, users)
            .await
            .map_err(refused)?;
        let presences = presences.iter().map(convert::presence).collect();
        Ok(Response::new(v1::GetPresenceResponse { presences }))
    }
}

#[tonic::async_trait]
impl api::DiscoveryService for Services {
    async fn locate(
        &self,
        request: Request<v1::LocateRequest>,
    ) -> Result<Response<v1::LocateResponse>, Status> {
        caller(&request)?;
        let location = self.discovery.locate();
        let text = |address: &magpie_discovery::Address| address.to_string();
        Ok(Response::new(v1::LocateResponse {
            address: location.best.as_ref().map(text).unwrap_or_default(),
            alternative_addresses: location.alternatives.iter().map(text).collect(),
        }))
    }
}
