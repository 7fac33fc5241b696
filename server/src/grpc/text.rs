//! A message's text as it comes in: checked, and cut into a preview where it is too long for an
//! entry.

use bytes::Bytes;
use magpie::v1;
use magpie_core::{ids::Seq, refusal::Refusal};
use prost::Message;

use crate::limits::{ENTRY_BYTES_MAX, PREVIEW_CHARACTERS};

/// The longest text, in characters (Unicode scalar values).
pub(super) const TEXT_CHARACTERS_MAX: i32 = 100_000;

/// A message encoded once, as the log and all receivers share it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Encoded {
    /// For the entry.
    pub(super) wire: Bytes,
    /// The whole, where `wire` is a preview.
    pub(super) whole: Option<Bytes>,
}

/// Checks and encodes a text.
pub(super) fn encode(text: &str, reply_to: Option<Seq>) -> Result<Encoded, Refusal> {
    let characters = i32::try_from(text.chars().count()).unwrap_or(i32::MAX);
    if characters == 0 || characters > TEXT_CHARACTERS_MAX {
        let range = format!("has {characters} characters; 1 to {TEXT_CHARACTERS_MAX} are accepted");
        return Err(Refusal::field("text", range));
    }
    if text.contains('\0') {
        return Err(Refusal::field(
            "text",
            "contains U+0000, which is not accepted",
        ));
    }
    let reply_to_seq = reply_to.map(Seq::get);
    let whole = v1::Message {
        text: text.to_owned(),
        reply_to_seq,
        full_length: 0,
    };
    let encoded = Bytes::from(whole.encode_to_vec());
    if encoded.len() <= ENTRY_BYTES_MAX {
        return Ok(Encoded {
            wire: encoded,
            whole: None,
        });
    }
    let preview = v1::Message {
        text: text.chars().take(PREVIEW_CHARACTERS).collect(),
        reply_to_seq,
        full_length: characters,
    };
    Ok(Encoded {
        wire: preview.encode_to_vec().into(),
        whole: Some(encoded),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_text_is_its_own_entry() {
        let encoded = encode("hello", Seq::new(4)).expect("accepted");
        assert_eq!(encoded.whole, None);
        let message = v1::Message::decode(encoded.wire).expect("decodes");
        assert_eq!(
            (message.text.as_str(), message.reply_to_seq),
            ("hello", Some(4))
        );
        assert_eq!(message.full_length, 0);
    }

    #[test]
    fn long_text_leaves_a_preview() {
        let text = "ä".repeat(100_000);
        let encoded = encode(&text, None).expect("accepted");
        let preview = v1::Message::decode(encoded.wire).expect("decodes");
        assert_eq!(
            (preview.text.chars().count(), preview.full_length),
            (2_000, 100_000)
        );
        let whole = v1::Message::decode(encoded.whole.expect("long")).expect("decodes");
        assert_eq!((whole.text, whole.full_length), (text, 0));
    }

    #[test]
    fn bounds_of_a_text() {
        assert!(encode("", None).is_err());
        assert!(encode("a\0b", None).is_err());
        assert!(encode(&"a".repeat(100_001), None).is_err());
    }
}
