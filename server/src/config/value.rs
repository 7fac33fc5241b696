//! Durations and sizes as people write them.

use std::{fmt, str::FromStr, time::Duration};

/// A duration such as `500ms`, `30s`, `5m` or `2h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

/// A number of bytes such as `512MiB` or `1GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
const SIZES: [(&str, u64); 5] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

impl FromStr for Span {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = "a duration is a whole number with a unit: 500ms, 30s, 5m or 2h";
        let millis = with_unit(text, &UNITS).ok_or(wanted)?;
        Ok(Self(Duration::from_millis(millis)))
    }
}

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = "a size is a whole number with a unit: 1024B, 64KiB, 512MiB, 1GiB or 1TiB";
        with_unit(text, &SIZES).map(Self).ok_or(wanted)
    }
}

/// A whole number with one of these units, in the smallest of them.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
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

    #[test]
    fn size_has_a_number_and_a_unit() {
        let read = |text: &str| text.parse::<Size>().map(|size| size.0);
        assert_eq!(read("1GiB"), Ok(1 << 30));
        assert_eq!(read("300MiB"), Ok(300 << 20));
        assert_eq!(read("7B"), Ok(7));
        for wrong in ["", "5", "GiB", "1GB", "1.5GiB", "99999999TiB", "1 GiB"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
