//! The limits of all parts under one roof, by name; and named sets of them.

use std::str::FromStr;

use clap::ValueEnum;

/// A named set of limits to start from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// For a node that anybody may reach.
    #[default]
    Default,
    /// For measuring and fault loads: no rates, and all connections may come from one address.
    /// Bounds on memory stay.
    Load,
}

/// One limit, as a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub(super) name: String,
    pub(super) value: u64,
}

impl FromStr for Limit {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = "a limit is NAME=VALUE, the value a whole number";
        let (name, value) = text.split_once('=').ok_or(wanted)?;
        let value = value.parse().map_err(|_error| wanted)?;
        Ok(Self {
            name: name.to_owned(),
            value,
        })
    }
}

/// One limit as (name, unit, default, what it bounds).
type Listed = (&'static str, &'static str, u64, &'static str);

macro_rules! parts {
    ($($(#[doc = $text:literal])+ $part:ident: $limits:ty,)*) => {
        /// The limits of all parts.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Limits { $($(#[doc = $text])+ pub $part: $limits,)* }

        impl Limits {
            /// The parts with their titles and limits, for documents.
            pub const PARTS: &'static [(&'static str, &'static [Listed])] =
                &[$((concat!($($text),+), <$limits>::LIST),)*];

            /// Reads a limit by name.
            pub fn get(&self, name: &str) -> Option<u64> {
                None$(.or_else(|| self.$part.get(name)))*
            }

            fn set_any(&mut self, name: &str, value: u64) -> bool {
                false$(|| self.$part.set(name, value))*
            }
        }
    };
}

// A further part is one line here.
parts! {
    /// Connections and calls
    shell: crate::limits::Limits,
    /// Accounts
    accounts: crate::auth::Limits,
    /// Rooms and sessions
    core: magpie_core::limits::Limits,
}

impl Limits {
    /// Sets a limit by name.
    ///
    /// # Errors
    /// What is wrong, naming the limit.
    pub fn set(&mut self, name: &str, value: u64) -> Result<(), String> {
        if value == 0 {
            return Err(format!("limits.{name}: at least 1"));
        }
        let max = max(name);
        if value > max {
            return Err(format!("limits.{name}: at most {max}"));
        }
        if !self.set_any(name, value) {
            return Err(format!("there is no limit \"{name}\""));
        }
        Ok(())
    }

    /// Whether all limits make sense together.
    ///
    /// # Errors
    /// Which two do not.
    pub(super) fn check(&self) -> Result<(), String> {
        for (part, whole) in WITHIN {
            let (Some(least), Some(most)) = (self.get(part), self.get(whole)) else {
                continue;
            };
            if least > most {
                return Err(format!(
                    "limits.{part} ({least}) is more than limits.{whole} ({most}): lower the one \
                     or raise the other"
                ));
            }
        }
        Ok(())
    }

    /// Every limit in force, by part.
    pub fn all(&self) -> impl Iterator<Item = (&'static Listed, u64)> {
        let listed = Self::PARTS.iter().flat_map(|(_, list)| list.iter());
        listed.filter_map(|limit| Some((limit, self.get(limit.0)?)))
    }

    /// Starts from a named set.
    pub(super) fn set_profile(&mut self, profile: Profile) {
        match profile {
            Profile::Default => {}
            Profile::Load => {
                for (_, list) in Self::PARTS {
                    for (name, ..) in list.iter().filter(|(name, ..)| is_rate(name)) {
                        self.set_any(name, u64::from(u32::MAX));
                    }
                }
            }
        }
    }
}

/// Limits of which the first may be no higher than the second.
const WITHIN: [(&str, &str); 6] = [
    ("message_bytes_max", "connection_bytes_max"),
    ("session_queue_bytes_max", "connection_bytes_max"),
    ("connection_bytes_max", "outboxes_bytes_max"),
    ("stream_window_bytes", "connection_window_bytes"),
    ("room_tail_bytes_max", "rooms_bytes_max"),
    ("heartbeat_millis", "session_silence_millis"),
];

/// How high a limit may be set: more would not mean more, or could not be counted.
fn max(name: &str) -> u64 {
    match name {
        // HTTP/2 knows no larger window.
        "stream_window_bytes" | "connection_window_bytes" => (1 << 31) - 1,
        // All members of a room are in one place of the store, and in memory together.
        "room_members_max" => 1_000,
        // Of the memory of the machine, which none has so much of.
        "rooms_bytes_max" | "outboxes_bytes_max" => 1 << 50,
        _ => u64::from(u32::MAX),
    }
}

/// Whether a limit is about how often somebody may do something, rather than about memory.
fn is_rate(name: &str) -> bool {
    name.ends_with("_per_minute")
        || name.ends_with("_burst")
        || name == "connections_per_address_max"
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_over_all_parts() {
        let names: Vec<_> = Limits::default().all().map(|(limit, _)| limit.0).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }

    #[test]
    fn load_profile_lifts_rates_and_keeps_bounds_on_memory() {
        let mut limits = Limits::default();
        limits.set_profile(Profile::Load);
        assert_eq!(limits.core.user_send_burst, u64::from(u32::MAX));
        assert_eq!(limits.accounts.sign_ups_per_minute, u64::from(u32::MAX));
        let default = Limits::default();
        assert_eq!(
            limits.shell.connection_bytes_max,
            default.shell.connection_bytes_max
        );
        assert_eq!(
            limits.core.session_queue_bytes_max,
            default.core.session_queue_bytes_max
        );
    }

    #[test]
    fn unknown_limit_and_zero_are_refused_by_name() {
        let mut limits = Limits::default();
        assert!(
            limits
                .set("no_such", 1)
                .expect_err("refused")
                .contains("no_such")
        );
        assert!(
            limits
                .set("room_members_max", 0)
                .expect_err("refused")
                .contains("room_members")
        );
    }

    #[test]
    fn limits_that_exclude_each_other_are_refused_by_name() {
        for profile in [Profile::Default, Profile::Load] {
            let mut limits = Limits::default();
            limits.set_profile(profile);
            assert_eq!(limits.check(), Ok(()));
        }
        for (part, whole) in WITHIN {
            let mut limits = Limits::default();
            limits.set(whole, 1).expect("a limit");
            let refused = limits.check().expect_err("refused");
            assert!(refused.contains(whole), "{refused}");
            assert!(limits.get(part).is_some(), "{part}");
        }
    }

    #[test]
    fn limit_that_cannot_be_counted_is_refused_by_name() {
        for (limit, _) in Limits::default().all() {
            let name = limit.0;
            let refused = Limits::default().set(name, u64::MAX).expect_err("refused");
            assert!(refused.contains(name), "{refused}");
            Limits::default().set(name, max(name)).expect("the highest");
        }
        assert_eq!(max("stream_window_bytes"), 0x7fff_ffff);
    }
}
