//! Durations as people write them.

use std::{fmt, str::FromStr, time::Duration};

/// A duration such as `500ms`, `30s`, `5m` or `2h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

impl FromStr for Span {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = "a duration is a whole number with a unit: 500ms, 30s, 5m or 2h";
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(wanted)?;
        let number: u64 = number.parse().map_err(|_error| wanted)?;
        let millis = number.checked_mul(*factor).ok_or(wanted)?;
        Ok(Self(Duration::from_millis(millis)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_has_a_number_and_a_unit() {
        let read = |text: &str| text.parse::<Span>().map(|span| span.0.as_millis());
        assert_eq!(read("250ms"), Ok(250));
        assert_eq!(read("30s"), Ok(30_000));
        assert_eq!(read("2h"), Ok(7_200_000));
        for wrong in [
            "",
            "5",
            "s",
            "-1s",
            "1.5s",
            "99999999999999999999s",
            "5 s",
            "1d",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
