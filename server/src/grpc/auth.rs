//! AuthService on the wire: requests into wishes, answers into messages. Decides nothing.

use std::net::SocketAddr;

use magpie::v1;
use magpie_core::{ids::DeviceId, refusal::Refusal, time::Timestamp};
use secrecy::{ExposeSecret, SecretString};
use tonic::{Request, Response, Status};

use super::{api::AuthService, authn::caller, status::to_status};
use crate::{
    auth::{Accounts, Credentials, LogIn, SignUp},
    listen::ConnInfo,
};

/// Serves AuthService.
#[derive(Clone, Debug)]
pub struct Auth {
    accounts: Accounts,
    /// The address at which devices should open their stream; empty: where they are.
    advertise: String,
}

impl Auth {
    /// Serves the accounts. Credentials name `advertise` as the address for the stream.
    pub fn new(accounts: Accounts, advertise: String) -> Self {
        Self {
            accounts,
            advertise,
        }
    }

    fn credentials(&self, credentials: &Credentials) -> v1::Credentials {
        v1::Credentials {
            user_id: credentials.user.get(),
            device_id: credentials.device.get(),
            access_token: credentials.access_token.expose_secret().to_owned(),
            access_expire_time: Some(timestamp(credentials.access_expires)),
            refresh_token: credentials.refresh_token.expose_secret().to_owned(),
            refresh_expire_time: Some(timestamp(credentials.refresh_expires)),
            address: self.advertise.clone(),
        }
    }
}

#[tonic::async_trait]
impl AuthService for Auth {
    async fn sign_up(
        &self,
        request: Request<v1::SignUpRequest>,
    ) -> Result<Response<v1::SignUpResponse>, Status> {
        let peer = peer(&request)?;
        let request = request.into_inner();
        let wish = SignUp {
            handle: request.handle,
            display_name: request.display_name,
            password: request.password.into(),
            device_name: request.device_name,
        };
        let credentials = self.accounts.sign_up(wish, peer).await.map_err(refused)?;
        let credentials = Some(self.credentials(&credentials));
        Ok(Response::new(v1::SignUpResponse { credentials }))
    }

    async fn log_in(
        &self,
        request: Request<v1::LogInRequest>,
    ) -> Result<Response<v1::LogInResponse>, Status> {
        let peer = peer(&request)?;
        let request = request.into_inner();
        let wish = LogIn {
            handle: request.handle,
            password: request.password.into(),
            device_name: request.device_name,
        };
        let (credentials, ended) = self.accounts.log_in(wish, peer).await.map_err(refused)?;
        Ok(Response::new(v1::LogInResponse {
            credentials: Some(self.credentials(&credentials)),
            // One, unless the limit was lowered since the last log-in.
            ended_device_id: ended.last().map(|device| device.get()),
        }))
    }

    async fn refresh_token(
        &self,
        request: Request<v1::RefreshTokenRequest>,
    ) -> Result<Response<v1::RefreshTokenResponse>, Status> {
        let peer = peer(&request)?;
        let token: SecretString = request.into_inner().refresh_token.into();
        let credentials = self.accounts.refresh(token, peer).await.map_err(refused)?;
        let credentials = Some(self.credentials(&credentials));
        Ok(Response::new(v1::RefreshTokenResponse { credentials }))
    }

    async fn log_out(
        &self,
        request: Request<v1::LogOutRequest>,
    ) -> Result<Response<v1::LogOutResponse>, Status> {
        self.accounts
            .log_out(caller(&request)?)
            .await
            .map_err(refused)?;
        Ok(Response::new(v1::LogOutResponse {}))
    }

    async fn list_devices(
        &self,
        request: Request<v1::ListDevicesRequest>,
    ) -> Result<Response<v1::ListDevicesResponse>, Status> {
        let caller = caller(&request)?;
        let devices = self.accounts.devices(caller).await.map_err(refused)?;
        let devices = devices
            .into_iter()
            .map(|device| v1::Device {
                device_id: device.id.get(),
                name: device.name,
                create_time: Some(timestamp(device.created)),
                last_used_time: Some(timestamp(device.last_used)),
                current: device.id == caller.device,
            })
            .collect();
        Ok(Response::new(v1::ListDevicesResponse { devices }))
    }

    async fn revoke_device(
        &self,
        request: Request<v1::RevokeDeviceRequest>,
    ) -> Result<Response<v1::RevokeDeviceResponse>, Status> {
        let caller = caller(&request)?;
        let device = DeviceId::new(request.into_inner().device_id)
            .ok_or_else(|| refused(Refusal::field("device_id", "must be positive")))?;
        self.accounts
            .revoke_device(caller, device)
            .await
            .map_err(refused)?;
        Ok(Response::new(v1::RevokeDeviceResponse {}))
    }

    async fn change_password(
        &self,
        request: Request<v1::ChangePasswordRequest>,
    ) -> Result<Response<v1::ChangePasswordResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let (old, new) = (request.old_password.into(), request.new_password.into());
        self.accounts
            .change_password(caller, old, new)
            .await
            .map_err(refused)?;
        Ok(Response::new(v1::ChangePasswordResponse {}))
    }
}

fn refused(refusal: Refusal) -> Status {
    to_status(&refusal)
}

/// Where the call comes from.
fn peer<T>(request: &Request<T>) -> Result<SocketAddr, Status> {
    // Missing only if the service is not behind the listener: its rates would bound nobody then.
    request
        .extensions()
        .get::<ConnInfo>()
        .map(|info| info.peer)
        .ok_or_else(|| Status::internal("the connection is unknown"))
}

/// A time as the contract has it.
pub(super) fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    const MILLIS: u64 = 1_000;
    const NANOS_PER_MILLI: u64 = 1_000_000;
    prost_types::Timestamp {
        seconds: i64::try_from(time.0 / MILLIS).unwrap_or(i64::MAX),
        nanos: i32::try_from(time.0 % MILLIS * NANOS_PER_MILLI).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests;
