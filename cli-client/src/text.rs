//! Makes text that other people wrote safe for a terminal, and measures what it takes there.
//!
//! Everything that came over the wire passes through here before it is shown. JSON output does
//! not: JSON escapes control characters by itself.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The columns that a tab takes.
const TAB: &str = "    ";
/// Rows are not made narrower than this, however narrow the terminal.
const COLUMNS_MIN: usize = 10;

/// Returns `text` as lines without anything that could move the cursor, change colours or turn
/// the direction of what follows. Always at least one line.
pub(crate) fn lines(text: &str) -> Vec<String> {
    text.split(['\n', '\u{2028}', '\u{2029}'])
        .map(|line| neutral(line.strip_suffix('\r').unwrap_or(line)))
        .collect()
}

/// Returns `text` on one line: for titles, names and anything else that stands in a row.
pub(crate) fn one_line(text: &str) -> String {
    neutral(text)
}

/// Returns `text` on one line of at most `columns` columns, ending in "…" where it was cut.
pub(crate) fn snippet(text: &str, columns: usize) -> String {
    let text = neutral(text);
    if width(&text) <= columns {
        return text;
    }
    let mut cut = String::new();
    let mut taken = 0;
    for character in text.chars() {
        let needs = character.width().unwrap_or(0);
        if taken + needs + 1 > columns {
            break;
        }
        taken += needs;
        cut.push(character);
    }
    cut.push('…');
    cut
}

/// Breaks a neutral line into rows, between words where that can be: the first of at most `first`
/// columns, the others of at most `columns`. So the terminal breaks nothing: what it moves to the
/// margin could pass for a line of its own.
pub(crate) fn wrap(line: &str, first: usize, columns: usize) -> Vec<String> {
    let mut rows = Vec::new();
    let mut row = String::new();
    let mut taken = 0;
    for character in line.chars() {
        let needs = character.width().unwrap_or(0);
        let limit = if rows.is_empty() { first } else { columns };
        if taken + needs > limit.max(COLUMNS_MIN) {
            let rest = match row.rfind(' ').filter(|at| *at > 0) {
                Some(at) => row.split_off(at + 1),
                None => String::new(),
            };
            rows.push(std::mem::replace(&mut row, rest).trim_end().to_owned());
            taken = width(&row);
        }
        row.push(character);
        taken += needs;
    }
    rows.push(row);
    rows
}

/// Quotes a word for a POSIX shell, where it needs that.
pub(crate) fn shell_word(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"@_-.:".contains(&byte);
    if !word.is_empty() && !word.starts_with('-') && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", one_line(word).replace('\'', "'\\''"))
    }
}

/// The columns that `text` takes in a terminal.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// Counts with thousands set apart, as in `48,213`.
pub(crate) fn count(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if number < 0 {
        out.insert(0, '-');
    }
    out
}

fn neutral(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\t' => out.push_str(TAB),
            // The pictures of the control characters: what was sent stays visible.
            '\0'..='\x1f' => out.push(picture(character)),
            '\x7f' => out.push('\u{2421}'),
            '\u{80}'..='\u{9f}' => out.push('\u{fffd}'),
            // Line breaks that some terminals and pagers obey.
            '\u{2028}' | '\u{2029}' => out.push('\u{2424}'),
            // Embeddings, overrides and isolates reach beyond the text that holds them.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            // Marks without width that only serve to fool the eye within a line of output.
            '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{fff9}'..='\u{fffb}' => {}
            _ => out.push(character),
        }
    }
    out
}

fn picture(control: char) -> char {
    char::from_u32(0x2400 + u32::from(control)).unwrap_or('\u{fffd}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_become_visible_and_harmless() {
        assert_eq!(one_line("\x1b[2J\x1b]0;x\x07"), "␛[2J␛]0;x␇");
    }

    #[test]
    fn carriage_returns_cannot_overwrite_a_line() {
        assert_eq!(lines("anna: hi\rbob: hi"), ["anna: hi␍bob: hi"]);
    }

    #[test]
    fn windows_line_ends_are_plain_line_ends() {
        assert_eq!(lines("one\r\ntwo"), ["one", "two"]);
    }

    #[test]
    fn one_line_never_breaks() {
        assert_eq!(one_line("a\nb\u{2028}c"), "a␊b␤c");
    }

    #[test]
    fn bidi_controls_are_taken_out() {
        let text = one_line("a\u{202e}b\u{2066}c\u{2069}d\u{200f}e");
        assert_eq!(text, "a\u{fffd}b\u{fffd}c\u{fffd}de");
    }

    #[test]
    fn c1_controls_and_delete_do_not_pass() {
        assert_eq!(one_line("a\u{9b}31m\u{7f}"), "a\u{fffd}31m␡");
    }

    #[test]
    fn no_control_character_survives_whatever_comes() {
        let all: String = (0..0x11_0000).filter_map(char::from_u32).collect();
        assert!(!one_line(&all).chars().any(char::is_control));
        assert!(
            lines(&all)
                .iter()
                .all(|line| !line.chars().any(char::is_control))
        );
    }

    #[test]
    fn emoji_and_right_to_left_text_stay_as_they_are() {
        let text = "👩‍👩‍👧 שלום مرحبا 日本";
        assert_eq!(one_line(text), text);
    }

    #[test]
    fn snippets_count_columns_not_characters() {
        assert_eq!(snippet("日本語日本語", 7), "日本語…");
        assert_eq!(snippet("short", 7), "short");
    }

    #[test]
    fn rows_break_between_words_and_never_run_over() {
        assert_eq!(
            wrap("the kettle is on the stove", 12, 12),
            ["the kettle", "is on the", "stove"]
        );
        assert_eq!(
            wrap("abcdefghijklmnopqrstuvw", 12, 10),
            ["abcdefghijkl", "mnopqrstuv", "w"]
        );
        assert_eq!(wrap("", 10, 10), [""]);
        for text in [
            "日本語のとても長い文章です、改行なし",
            "a  b   c    d     e      f       g",
        ] {
            let rows = wrap(text, 11, 11);
            assert!(rows.iter().all(|row| width(row) <= 11), "{rows:?}");
        }
    }

    #[test]
    fn words_for_the_shell_can_be_pasted() {
        assert_eq!(shell_word("@bob"), "@bob");
        assert_eq!(shell_word("Tea room"), "'Tea room'");
        assert_eq!(shell_word("it's"), "'it'\\''s'");
        assert_eq!(shell_word("-rf"), "'-rf'");
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!(count(48_213), "48,213");
        assert_eq!(count(999), "999");
        assert_eq!(count(-1_000), "-1,000");
    }
}
