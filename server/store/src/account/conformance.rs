//! What every account store must do, as one suite. Each store runs it with its own way to make an
//! empty store.

pub(super) mod devices;
pub(super) mod room_list;
pub(super) mod rooms;
pub(super) mod users;

use magpie_core::{
    ids::{DeviceId, RoomId, Seq, UserId},
    time::Timestamp,
};

use super::{AccountStore, NewDevice, NewUser, TokenHash, UserCreation};

/// A time at which the tests begin.
pub(super) const START: Timestamp = Timestamp(1_700_000_000_000);

/// Makes a test of each check. Takes an async block that yields an empty store and a guard that is
/// held while it is in use.
macro_rules! suite {
    ($make:expr) => {
        $crate::account::conformance::suite!(@tests $make,
            users: [
                users_are_found_by_id_and_by_handle,
                a_handle_is_taken_once,
                an_id_is_taken_once,
                a_user_is_made_with_a_first_device_or_not_at_all,
                one_of_many_sign_ups_gets_the_handle,
                a_display_name_is_changed,
                a_status_is_changed_in_parts,
                last_seen_never_goes_back,
                another_password_ends_the_other_devices,
                a_disabled_user_has_no_devices_and_gets_none,
                sign_up_is_open_until_it_is_closed,
                the_first_signing_key_stays,
                unknown_users_are_told_from_known_ones,
            ],
            devices: [
                devices_are_listed_by_use,
                an_eleventh_device_ends_the_least_recently_used,
                a_device_id_is_taken_once,
                a_device_is_revoked_once_and_by_its_user_only,
                revocations_are_found_by_time,
                each_refresh_token_leads_to_the_next,
                a_lost_answer_is_repeated_with_the_same_token,
                an_answer_that_came_late_is_good_until_another_is_used,
                a_spent_token_revokes_the_device,
                a_sibling_of_a_used_token_revokes_the_device,
                a_token_of_no_family_revokes_nothing,
                a_device_past_its_time_is_over,
                a_revoked_device_gets_no_tokens,
                unused_successors_are_bounded,
                of_two_racing_uses_of_siblings_one_revokes,
            ],
            room_list: [
                joining_and_leaving_change_the_row,
                an_entry_applied_again_changes_nothing,
                an_older_entry_never_wins,
                rooms_are_in_the_order_of_joining,
                a_rejoined_room_comes_last,
                changes_come_in_pages_by_revision,
                each_change_takes_a_revision_of_its_own,
                unknown_members_are_passed_over,
                present_rooms_are_counted_and_named,
                sharing_a_room_needs_both_to_be_present,
            ],
            rooms: [
                a_room_is_made_once_per_command,
                another_title_under_the_same_command_is_noticed,
                two_creators_may_use_the_same_command_id,
                a_taken_room_id_is_refused,
                a_pair_has_one_direct_room_in_either_order,
                one_of_many_racing_openings_makes_the_direct_room,
                rooms_need_users_who_exist,
            ],);
    };
    (@tests $make:expr, $($module:ident: [$($check:ident,)*],)*) => {
        $($(
            #[tokio::test]
            async fn $check() {
                let (store, _guard) = $make.await;
                $crate::account::conformance::$module::$check(&store).await;
            }
        )*)*
    };
}
pub(super) use suite;

pub(super) fn user_id(number: i64) -> UserId {
    UserId::new(number).expect("it is positive")
}

pub(super) fn device_id(number: i64) -> DeviceId {
    DeviceId::new(number).expect("it is positive")
}

fn room_id(number: i64) -> RoomId {
    RoomId::new(number).expect("it is positive")
}

fn seq(number: i64) -> Seq {
    Seq::new(number).expect("it is not negative")
}

fn later(seconds: u64) -> Timestamp {
    Timestamp(START.0 + seconds * 1000)
}

/// A user to be made, called as given.
pub(super) fn user(number: i64, handle: &str) -> NewUser {
    NewUser {
        id: user_id(number),
        handle: handle.to_owned(),
        display_name: handle.to_uppercase(),
        password_hash: "$argon2id$of-a-password".to_owned().into(),
        created: START,
    }
}

/// A device to be made, whose first refresh token is `token(number)`.
pub(super) fn device(number: i64, created: Timestamp) -> NewDevice {
    NewDevice {
        id: device_id(number),
        name: format!("device {number}"),
        family: family(number),
        token: token(number, 0),
        created,
        expires: Timestamp(created.0 + 90 * 24 * 60 * 60 * 1000),
    }
}

fn family(device: i64) -> TokenHash {
    let mut bytes = [0xfa; 32];
    bytes[..8].copy_from_slice(&device.to_be_bytes());
    TokenHash(bytes)
}

fn token(device: i64, number: u8) -> TokenHash {
    let mut bytes = [number; 32];
    bytes[..8].copy_from_slice(&device.to_be_bytes());
    TokenHash(bytes)
}

async fn add_users(store: &impl AccountStore, numbers: impl Iterator<Item = i64>) {
    for number in numbers {
        let user = user(number, &format!("user_{number}"));
        let created = store.create_user(user, None).await.expect("it works");
        assert_eq!(created, UserCreation::Created);
    }
}
