//! The limits of accounts, with units and defaults.

use std::time::Duration;

/// Refused attempts are told to come again after at least this.
pub(crate) const OVERLOADED_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Revocations that wait for a session that does not look. Beyond it the session looks all of them
/// up.
pub(crate) const REVOCATIONS_UNSEEN_MAX: usize = 1_024;

/// Revoked devices that are remembered, each for as long as an access token lasts.
pub(crate) const REVOCATIONS_MAX: usize = 1_000_000;

/// Revoked devices below which nobody looks for those that can be forgotten.
pub(crate) const REVOCATIONS_LOOK_MIN: usize = 1_024;

/// The longest access token: longer ones are not ours. Bytes.
pub(crate) const TOKEN_BYTES_MAX: usize = 1_024;

/// The longest password, in characters. A longer one was never accepted.
pub(crate) const PASSWORD_CHARACTERS_MAX: usize = 128;

/// Characters of a password that are looked at to tell whether it can be guessed: the look takes
/// more than linear time, and what is hard to guess by then stays so.
pub(crate) const PASSWORD_CHARACTERS_JUDGED_MAX: usize = 64;

magpie_core::limits! {
    /// What accounts and those who ask for them may do.
    Limits {
        /// How long an access token lasts.
        access_token_millis: u64 = 15 * 60 * 1_000, "ms";
        /// How long a device may renew its tokens before the password is asked for again.
        device_days: u64 = 90, "days";
        /// Devices of an account; one more ends the least recently used.
        account_devices_max: u64 = 10, "devices";
        /// The shortest password.
        password_characters_min: u64 = 8, "characters";
        /// Passwords that wait for their hash; one more is refused.
        password_waiting_max: u64 = 50, "passwords";
        /// Sign-ups from one address at once.
        sign_up_burst: u64 = 100, "sign-ups";
        /// Sign-ups a minute from one address after that.
        sign_ups_per_minute: u64 = 10, "sign-ups/min";
        /// Log-ins from one address at once.
        log_in_burst: u64 = 200, "log-ins";
        /// Log-ins a minute from one address after that.
        log_ins_per_minute: u64 = 60, "log-ins/min";
        /// Log-ins and password changes of one account at once.
        password_tries_burst: u64 = 20, "tries";
        /// Log-ins and password changes of one account a minute after that.
        password_tries_per_minute: u64 = 10, "tries/min";
        /// Renewals of tokens from one address at once.
        refresh_burst: u64 = 2_000, "renewals";
        /// Renewals of tokens a minute from one address after that.
        refreshes_per_minute: u64 = 600, "renewals/min";
        /// Look-ups of people by handle, of one account, at once: FindUser, OpenDirect, and InviteMembers,
        /// which counts for each handle that nobody has and at least once.
        find_user_burst: u64 = 100, "look-ups";
        /// Look-ups of people by handle, of one account, a minute after that.
        find_users_per_minute: u64 = 60, "look-ups/min";
        /// Changes of an account's profile at once.
        profile_change_burst: u64 = 20, "changes";
        /// Changes of an account's profile a minute after that.
        profile_changes_per_minute: u64 = 10, "changes/min";
        /// Addresses, handles and accounts whose rates are remembered, for each of these limits.
        rate_keys_max: u64 = 100_000, "keys";
    }
}
