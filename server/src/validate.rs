//! The rules for names that people choose: what is accepted, and in which form it is kept. Pure.

use std::borrow::Cow;

use magpie_core::refusal::Refusal;
use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// The longest handle, in characters.
pub const HANDLE_CHARACTERS_MAX: usize = 32;
/// The shortest handle, in characters.
pub const HANDLE_CHARACTERS_MIN: usize = 3;
/// The longest display name, in characters.
pub const DISPLAY_NAME_CHARACTERS_MAX: usize = 64;
/// The longest name of a device, in characters.
pub const DEVICE_NAME_CHARACTERS_MAX: usize = 64;
/// The longest title of a room, in characters.
pub const TITLE_CHARACTERS_MAX: usize = 128;
/// The longest status text, in characters.
pub const STATUS_TEXT_CHARACTERS_MAX: usize = 128;

/// A handle in the form in which it is kept and compared: lower case.
pub fn handle(field: impl Into<Cow<'static, str>>, text: &str) -> Result<String, Refusal> {
    fold_handle(text).ok_or_else(|| {
        Refusal::field(
            field,
            format!(
                "a handle has {HANDLE_CHARACTERS_MIN} to {HANDLE_CHARACTERS_MAX} of the letters a \
                 to z, the digits and the underscore"
            ),
        )
    })
}

/// As [`handle`], where a wrong one is nobody's and not an error.
pub fn fold_handle(text: &str) -> Option<String> {
    let length = HANDLE_CHARACTERS_MIN..=HANDLE_CHARACTERS_MAX;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (length.contains(&text.len()) && text.bytes().all(allowed)).then(|| text.to_ascii_lowercase())
}

/// A display name in NFC.
pub fn display_name(field: impl Into<Cow<'static, str>>, text: &str) -> Result<String, Refusal> {
    shown(field, text, DISPLAY_NAME_CHARACTERS_MAX)
}

/// The title of a group in NFC.
pub fn title(field: impl Into<Cow<'static, str>>, text: &str) -> Result<String, Refusal> {
    shown(field, text, TITLE_CHARACTERS_MAX)
}

/// NFC of a text by which people know somebody or something: it shows at least one character.
fn shown(
    field: impl Into<Cow<'static, str>>,
    text: &str,
    characters_max: usize,
) -> Result<String, Refusal> {
    let field = field.into();
    let text = normalized(field.clone(), text, 1, characters_max)?;
    if !text.chars().any(is_seen) {
        return Err(Refusal::field(
            field,
            "shows nothing; give it a character that can be seen",
        ));
    }
    Ok(text)
}

/// Whether a character by itself puts something on the screen. By its general category, but for the
/// letters that Unicode has as fillers (`Default_Ignorable_Code_Point`) and the empty Braille cell.
fn is_seen(character: char) -> bool {
    use GeneralCategoryGroup::{Letter, Number, Punctuation, Symbol};
    const FILLERS: [char; 5] = ['\u{115f}', '\u{1160}', '\u{2800}', '\u{3164}', '\u{ffa0}'];
    let group = character.general_category_group();
    matches!(group, Letter | Number | Punctuation | Symbol) && !FILLERS.contains(&character)
}

/// The name of a device in NFC. It may be empty.
pub fn device_name(field: impl Into<Cow<'static, str>>, text: &str) -> Result<String, Refusal> {
    normalized(field, text, 0, DEVICE_NAME_CHARACTERS_MAX)
}

/// A status text in NFC. It may be empty.
pub fn status_text(field: impl Into<Cow<'static, str>>, text: &str) -> Result<String, Refusal> {
    normalized(field, text, 0, STATUS_TEXT_CHARACTERS_MAX)
}

/// NFC of a text whose length is bounded, counted in characters of the result.
fn normalized(
    field: impl Into<Cow<'static, str>>,
    text: &str,
    characters_min: usize,
    characters_max: usize,
) -> Result<String, Refusal> {
    // NFC may be longer or shorter than what was given; stopping one beyond the limit keeps an
    // endless text from being normalized whole.
    let normalized: String = text.nfc().take(characters_max + 1).collect();
    let length = normalized.chars().count();
    if length < characters_min || length > characters_max {
        let range = format!("takes {characters_min} to {characters_max} characters");
        return Err(Refusal::field(field, range));
    }
    if normalized.contains('\0') {
        return Err(Refusal::field(field, "must not hold the character U+0000"));
    }
    Ok(normalized)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_and_display_names_show_something() {
        let blank = [
            " ",
            "\n\t ",
            "\u{7}\u{1b}",
            "\u{200b}",
            "\u{202e}\u{200b}",
            "\u{ad}",
            "\u{3164}",
            "\u{2800} \u{2800}",
            "\u{301}",
        ];
        for text in blank {
            assert!(title("title", text).is_err(), "{text:?}");
            assert!(display_name("display_name", text).is_err(), "{text:?}");
        }
        for text in [" tea ", "茶", "🍵", "-", "7", "e\u{301}", "\u{200f}תה"] {
            assert!(title("title", text).is_ok(), "{text:?}");
            assert!(display_name("display_name", text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn handles_are_folded_to_lower_case() {
        assert_eq!(handle("handle", "Ann_42"), Ok("ann_42".to_owned()));
        assert_eq!(handle("handle", &"A".repeat(32)), Ok("a".repeat(32)));
        assert_eq!(handle("handle", "abc"), Ok("abc".to_owned()));
    }

    #[test]
    fn other_handles_are_refused_by_field() {
        let long = "a".repeat(33);
        for text in [
            "",
            "ab",
            &long,
            "ann smith",
            "ann-smith",
            "änn",
            "ＡＮＮ",
            "ann\0",
            "ann\n",
        ] {
            let refusal = handle("handles[2]", text).expect_err(text);
            assert_eq!(refusal.violations[0].field, "handles[2]");
            assert_eq!(fold_handle(text), None);
        }
    }

    #[test]
    fn names_are_kept_in_nfc() {
        assert_eq!(
            display_name("display_name", "Zoe\u{308}"),
            Ok("Zo\u{eb}".to_owned())
        );
        // Two scalar values each before, one after.
        let decomposed = "e\u{301}".repeat(TITLE_CHARACTERS_MAX);
        assert_eq!(
            title("title", &decomposed),
            Ok("é".repeat(TITLE_CHARACTERS_MAX))
        );
        // One before, three after.
        let growing = "\u{fb2c}".repeat(DISPLAY_NAME_CHARACTERS_MAX);
        assert!(display_name("display_name", &growing).is_err());
    }

    #[test]
    fn names_hold_any_text_but_nul() {
        for text in [" a ", "\u{1b}[31m", "a\u{202e}b", "👩‍👩‍👧‍👦", "a\r\n"] {
            assert_eq!(display_name("display_name", text).as_deref(), Ok(text));
        }
        assert!(display_name("display_name", "a\0b").is_err());
    }

    #[test]
    fn lengths_are_counted_in_characters() {
        assert!(display_name("f", &"ä".repeat(64)).is_ok());
        assert!(display_name("f", &"ä".repeat(65)).is_err());
        assert!(display_name("f", "").is_err());
        assert!(title("f", &"ä".repeat(128)).is_ok());
        assert!(title("f", &"ä".repeat(129)).is_err());
        assert_eq!(device_name("f", ""), Ok(String::new()));
        assert!(device_name("f", &"ä".repeat(65)).is_err());
        assert!(status_text("f", &"ä".repeat(128)).is_ok());
        assert!(status_text("f", &"ä".repeat(129)).is_err());
    }
}
