//! The id of a command: what makes a repeated attempt take effect once.

use std::{fmt, str::FromStr};

use uuid::Uuid;

/// A `client_message_id`, with the head of the room that the first attempt knew where it was
/// told one: both must be the same in every attempt.
///
/// Written as `UUID` or `UUID@SEQ`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RetryId {
    /// The id.
    pub(crate) id: Uuid,
    /// The head at the first attempt.
    pub(crate) after_seq: Option<i64>,
}

impl RetryId {
    /// An id for a first attempt, in a room whose head is known.
    pub(crate) fn fresh(after_seq: Option<i64>) -> Self {
        Self {
            id: Uuid::now_v7(),
            after_seq,
        }
    }

    /// The id as the wire has it.
    pub(crate) fn bytes(self) -> bytes::Bytes {
        bytes::Bytes::copy_from_slice(self.id.as_bytes())
    }
}

impl fmt::Display for RetryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.after_seq {
            Some(seq) => write!(f, "{}@{seq}", self.id),
            None => write!(f, "{}", self.id),
        }
    }
}

impl FromStr for RetryId {
    type Err = String;

    fn from_str(input: &str) -> Result<Self, String> {
        let (id, after_seq) = match input.split_once('@') {
            Some((id, seq)) => (id, Some(seq)),
            None => (input, None),
        };
        let wrong = || "an id is a UUID, or what a failed attempt printed".to_owned();
        let after_seq = after_seq.map(str::parse).transpose().map_err(|_| wrong())?;
        if after_seq.is_some_and(|seq: i64| seq < 0) {
            return Err(wrong());
        }
        Ok(Self {
            id: Uuid::parse_str(id).map_err(|_| wrong())?,
            after_seq,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_id_reads_back_as_it_was() {
        for after_seq in [None, Some(0), Some(57)] {
            let id = RetryId::fresh(after_seq);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn anything_but_an_id_is_refused() {
        for bad in [
            "",
            "57",
            "x@1",
            "0192f0c1-7e1a-7c3b-9d2e-000000000001@x",
            "0192f0c1-7e1a-7c3b-9d2e-000000000001@-1",
        ] {
            assert!(bad.parse::<RetryId>().is_err(), "{bad:?}");
        }
    }
}
