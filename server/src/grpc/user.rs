//! UserService on the wire. Decides nothing but the form of requests.

use magpie::v1;
use magpie_core::{ids::UserId, refusal::Refusal};
use magpie_store::account::User;
use tonic::{Request, Response, Status};

use super::{api::UserService, auth::timestamp, authn::caller, status::to_status};
use crate::{auth::Accounts, limits::CALL_USERS_MAX};

/// Serves UserService.
#[derive(Clone, Debug)]
pub struct Users {
    accounts: Accounts,
}

impl Users {
    /// Serves the accounts.
    pub fn new(accounts: Accounts) -> Self {
        Self { accounts }
    }
}

#[tonic::async_trait]
impl UserService for Users {
    async fn get_profile(
        &self,
        request: Request<v1::GetProfileRequest>,
    ) -> Result<Response<v1::GetProfileResponse>, Status> {
        let caller = caller(&request)?;
        let user = self.accounts.user(caller.user).await.map_err(refused)?;
        let user = Some(message(user));
        Ok(Response::new(v1::GetProfileResponse { user }))
    }

    async fn update_profile(
        &self,
        request: Request<v1::UpdateProfileRequest>,
    ) -> Result<Response<v1::UpdateProfileResponse>, Status> {
        let caller = caller(&request)?;
        let display_name = request.into_inner().display_name;
        let user = self
            .accounts
            .update_profile(caller, display_name)
            .await
            .map_err(refused)?;
        let user = Some(message(user));
        Ok(Response::new(v1::UpdateProfileResponse { user }))
    }

    async fn find_user(
        &self,
        request: Request<v1::FindUserRequest>,
    ) -> Result<Response<v1::FindUserResponse>, Status> {
        let caller = caller(&request)?;
        let handle = request.into_inner().handle;
        let user = self
            .accounts
            .find_user(caller, &handle)
            .await
            .map_err(refused)?;
        let user = Some(message(user));
        Ok(Response::new(v1::FindUserResponse { user }))
    }

    async fn batch_get_users(
        &self,
        request: Request<v1::BatchGetUsersRequest>,
    ) -> Result<Response<v1::BatchGetUsersResponse>, Status> {
        let ids = user_ids(&request.into_inner().user_ids).map_err(refused)?;
        let users = self.accounts.users(ids).await.map_err(refused)?;
        let users = users.into_iter().map(message).collect();
        Ok(Response::new(v1::BatchGetUsersResponse { users }))
    }
}

fn user_ids(numbers: &[i64]) -> Result<Vec<UserId>, Refusal> {
    if numbers.is_empty() || numbers.len() > CALL_USERS_MAX {
        return Err(Refusal::field(
            "user_ids",
            format!("takes 1 to {CALL_USERS_MAX} ids"),
        ));
    }
    let id = |(at, number): (usize, &i64)| {
        UserId::new(*number)
            .ok_or_else(|| Refusal::field(format!("user_ids[{at}]"), "must be positive"))
    };
    numbers.iter().enumerate().map(id).collect()
}

fn message(user: User) -> v1::User {
    v1::User {
        user_id: user.id.get(),
        handle: user.handle,
        display_name: user.display_name,
        create_time: Some(timestamp(user.created)),
    }
}

fn refused(refusal: Refusal) -> Status {
    to_status(&refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_out_of_range_are_refused_by_place() {
        assert!(user_ids(&[1, 2, 1]).is_ok());
        assert_eq!(
            user_ids(&[]).expect_err("empty").violations[0].field,
            "user_ids"
        );
        assert!(user_ids(&[1; 100]).is_ok());
        assert!(user_ids(&[1; 101]).is_err());
        let refusal = user_ids(&[1, 0, -1]).expect_err("two are not positive");
        assert_eq!(refusal.violations[0].field, "user_ids[1]");
    }
}
