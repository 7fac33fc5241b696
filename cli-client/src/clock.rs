//! Times: what a person may type, how they are shown in the local zone, and RFC 3339 for JSON.

use jiff::{Timestamp, ZonedDateTime, civil, tz::TimeZone};
use prost_types::Timestamp as WireTimestamp;

/// The form of a day line.
const DAY: &str = "%a %-d %b %Y";

/// What `--before`, `--after` and `--around` take: a place in a room's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// By seq.
    Seq(i64),
    /// By time.
    Time(Timestamp),
}

/// Reads a seq or a time; times without a zone are local.
pub(crate) fn position(input: &str) -> Result<Position, String> {
    position_in(input, &TimeZone::system(), &ZonedDateTime::now())
}

/// The same of something that exists: seqs begin with 1.
pub(crate) fn place(input: &str) -> Result<Position, String> {
    match position(input)? {
        Position::Seq(0) => Err("seqs begin with 1".to_owned()),
        place => Ok(place),
    }
}

fn position_in(input: &str, zone: &TimeZone, now: &ZonedDateTime) -> Result<Position, String> {
    let digits = input.strip_prefix('#').unwrap_or(input);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return digits
            .parse()
            .map(Position::Seq)
            .map_err(|_| format!("{input} is too large for a seq"));
    }
    if let Ok(time) = input.parse::<Timestamp>() {
        return Ok(Position::Time(time));
    }
    // In this order: of a date with a time, the time alone would be taken as well, and mean today.
    let civil = if let Ok(datetime) = input.parse::<civil::DateTime>() {
        datetime
    } else if let Ok(time) = input.parse::<civil::Time>() {
        now.with_time_zone(zone.clone()).date().to_datetime(time)
    } else {
        return Err(
            "give a seq such as 57, or a time such as 2026-11-24T10:00, 2026-11-24, \
                    10:00 (today) or 2026-11-24T10:00:00Z"
                .to_owned(),
        );
    };
    zone.to_timestamp(civil)
        .map(Position::Time)
        .map_err(|error| error.to_string())
}

/// The wire's form of a time.
pub(crate) fn to_wire(time: Timestamp) -> WireTimestamp {
    let nanos = time.subsec_nanosecond();
    let (seconds, nanos) = if nanos < 0 {
        (time.as_second() - 1, nanos + 1_000_000_000)
    } else {
        (time.as_second(), nanos)
    };
    WireTimestamp { seconds, nanos }
}

/// The time that the wire's form says; none where it is out of range.
pub(crate) fn from_wire(time: &WireTimestamp) -> Option<Timestamp> {
    Timestamp::new(time.seconds, time.nanos).ok()
}

/// RFC 3339 in UTC, always with milliseconds, so that texts sort as times do.
pub(crate) fn rfc3339(time: Option<&WireTimestamp>) -> Option<String> {
    time.and_then(from_wire).map(|time| format!("{time:.3}"))
}

/// Shows times as a person in one zone reads them, at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    zone: TimeZone,
    now: ZonedDateTime,
}

impl Clock {
    /// This machine's zone, now.
    pub(crate) fn local() -> Self {
        let now = ZonedDateTime::now();
        Self {
            zone: now.time_zone().clone(),
            now,
        }
    }

    /// Today, as [`Clock::day`] says it.
    pub(crate) fn today(&self) -> String {
        self.now.strftime(DAY).to_string()
    }

    /// The day of a time, for day lines: `Tue 24 Nov 2026`.
    pub(crate) fn day(&self, time: Option<&WireTimestamp>) -> String {
        self.format(time, DAY)
    }

    /// The time of day: `10:02`.
    pub(crate) fn minute(&self, time: Option<&WireTimestamp>) -> String {
        self.format(time, "%H:%M")
    }

    /// As short as it can be told apart: `10:02`, `Mon 10:02`, `3 Nov`, `3 Nov 2025`.
    pub(crate) fn short(&self, time: Option<&WireTimestamp>) -> String {
        let Some(then) = self.zoned(time) else {
            return String::new();
        };
        let days = self
            .now
            .date()
            .since(then.date())
            .map_or(i32::MAX, |span| span.get_days());
        let form = match days {
            i32::MIN..=0 => "%H:%M",
            1..=6 => "%a %H:%M",
            _ if then.year() == self.now.year() => "%-d %b",
            _ => "%-d %b %Y",
        };
        then.strftime(form).to_string()
    }

    /// Date and minute: `2026-11-24 10:02`.
    pub(crate) fn full(&self, time: Option<&WireTimestamp>) -> String {
        self.format(time, "%Y-%m-%d %H:%M")
    }

    fn format(&self, time: Option<&WireTimestamp>, form: &str) -> String {
        self.zoned(time)
            .map(|time| time.strftime(form).to_string())
            .unwrap_or_default()
    }

    fn zoned(&self, time: Option<&WireTimestamp>) -> Option<ZonedDateTime> {
        let time = time.and_then(from_wire)?;
        Some(time.to_zoned_datetime(self.zone.clone()))
    }

    /// A fixed zone and moment.
    #[cfg(test)]
    pub(crate) fn fixed(zone: TimeZone, now: Timestamp) -> Self {
        Self {
            now: now.to_zoned_datetime(zone.clone()),
            zone,
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz;

    use super::*;

    fn zone() -> TimeZone {
        TimeZone::fixed(tz::offset(2))
    }

    fn now() -> ZonedDateTime {
        "2026-11-24T08:30:00Z"
            .parse::<Timestamp>()
            .unwrap()
            .to_zoned_datetime(zone())
    }

    fn read(input: &str) -> Result<Position, String> {
        position_in(input, &zone(), &now())
    }

    fn at(time: &str) -> Position {
        Position::Time(time.parse().unwrap())
    }

    #[test]
    fn there_is_nothing_at_seq_0() {
        assert_eq!(position("0"), Ok(Position::Seq(0)));
        assert!(place("0").is_err());
        assert_eq!(place("1"), Ok(Position::Seq(1)));
    }

    #[test]
    fn plain_numbers_are_seqs() {
        assert_eq!(read("57"), Ok(Position::Seq(57)));
        assert_eq!(read("#57"), Ok(Position::Seq(57)));
        assert_eq!(read("2026"), Ok(Position::Seq(2026)));
    }

    #[test]
    fn times_without_a_zone_are_local() {
        assert_eq!(read("2026-11-24T10:00"), Ok(at("2026-11-24T08:00:00Z")));
        assert_eq!(read("2025-01-02T10:00"), Ok(at("2025-01-02T08:00:00Z")));
        assert_eq!(read("2026-11-24 10:00"), Ok(at("2026-11-24T08:00:00Z")));
        assert_eq!(read("2026-11-24"), Ok(at("2026-11-23T22:00:00Z")));
        assert_eq!(read("10:00"), Ok(at("2026-11-24T08:00:00Z")));
    }

    #[test]
    fn times_with_a_zone_keep_it() {
        assert_eq!(read("2026-11-24T10:00:00Z"), Ok(at("2026-11-24T10:00:00Z")));
        assert_eq!(
            read("2026-11-24T10:00+01:00"),
            Ok(at("2026-11-24T09:00:00Z"))
        );
    }

    #[test]
    fn anything_else_is_told_what_would_do() {
        assert!(read("tomorrow").unwrap_err().contains("2026-11-24T10:00"));
        assert!(
            read("99999999999999999999")
                .unwrap_err()
                .contains("too large")
        );
    }

    #[test]
    fn the_wire_keeps_every_nanosecond() {
        for text in ["2026-11-24T10:00:00.123Z", "1969-12-31T23:59:58.5Z"] {
            let time: Timestamp = text.parse().unwrap();
            assert_eq!(from_wire(&to_wire(time)), Some(time));
            assert!(to_wire(time).nanos >= 0);
        }
    }

    #[test]
    fn json_times_are_rfc_3339_in_utc() {
        for (time, said) in [
            ("2026-11-24T10:00:00.120Z", "2026-11-24T10:00:00.120Z"),
            ("2026-11-24T10:00:00Z", "2026-11-24T10:00:00.000Z"),
        ] {
            let time = to_wire(time.parse().unwrap());
            assert_eq!(rfc3339(Some(&time)).unwrap(), said);
        }
    }

    #[test]
    fn short_times_say_the_day_only_where_it_matters() {
        let clock = Clock::fixed(zone(), now().timestamp());
        let short = |text: &str| clock.short(Some(&to_wire(text.parse().unwrap())));
        assert_eq!(short("2026-11-24T08:02:00Z"), "10:02");
        assert_eq!(short("2026-11-23T08:02:00Z"), "Mon 10:02");
        assert_eq!(short("2026-11-03T08:02:00Z"), "3 Nov");
        assert_eq!(short("2025-11-03T08:02:00Z"), "3 Nov 2025");
    }
}
