//! Which passwords are accepted. No rules of composition; what is easy to guess is refused.

use magpie_core::refusal::{Reason, Refusal};
use zxcvbn::{Score, zxcvbn};

use super::limits::{PASSWORD_CHARACTERS_JUDGED_MAX, PASSWORD_CHARACTERS_MAX};

/// The name that people use in passwords for this program.
const OWN_NAME: &str = "magpie";

/// Whether a password is within the length that any account's password has.
pub(super) fn is_possible(password: &str) -> bool {
    // Each character is one to four bytes.
    password.len() <= 4 * PASSWORD_CHARACTERS_MAX
        && password.chars().count() <= PASSWORD_CHARACTERS_MAX
}

/// Refuses a new password of another length than accepted. Quick.
pub(super) fn check_length(
    field: &'static str,
    password: &str,
    characters_min: u64,
) -> Result<(), Refusal> {
    let characters = password.chars().take(PASSWORD_CHARACTERS_MAX + 1).count() as u64;
    if characters < characters_min || !is_possible(password) {
        let range = format!("takes {characters_min} to {PASSWORD_CHARACTERS_MAX} characters");
        return Err(Refusal::field(field, range));
    }
    Ok(())
}

/// Refuses a new password that takes fewer than a million guesses, among them the common ones and
/// those made of the account's own names. Takes milliseconds of computing.
pub(super) fn check_strength(password: &str, names: &[String]) -> Result<(), Refusal> {
    let judged: String = password
        .chars()
        .take(PASSWORD_CHARACTERS_JUDGED_MAX)
        .collect();
    let parts: Vec<_> = names.iter().flat_map(|name| parts(name)).collect();
    let known: Vec<_> = parts.iter().map(String::as_str).chain([OWN_NAME]).collect();
    if zxcvbn(&judged, &known).score() < Score::Two {
        return Err(Refusal::new(
            Reason::PasswordTooWeak,
            "this password is easy to guess: choose a longer or less common one",
        ));
    }
    Ok(())
}

/// A name as people use it in a password: whole, without what divides its words, and each word.
fn parts(name: &str) -> Vec<String> {
    let words: Vec<_> = name
        .split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    let mut parts = vec![name.to_owned(), words.concat()];
    parts.extend(words);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strength(password: &str) -> Result<(), Refusal> {
        check_strength(
            password,
            &["mary_poppins".to_owned(), "Mary Poppins".to_owned()],
        )
    }

    #[test]
    fn lengths_are_counted_in_characters() {
        assert!(check_length("password", "äöüßäöüß", 8).is_ok());
        assert!(check_length("password", "äöüßäöü", 8).is_err());
        assert!(check_length("password", &"😀".repeat(128), 8).is_ok());
        assert!(check_length("password", &"a".repeat(129), 8).is_err());
        assert!(check_length("password", &"a".repeat(1_000_000), 8).is_err());
        assert!(check_length("password", "short", 5).is_ok());
    }

    #[test]
    fn common_and_guessable_passwords_are_refused() {
        for password in [
            "password",
            "password1",
            "12345678",
            "qwertyuiop",
            "iloveyou",
            "aaaaaaaaaaaa",
            "abcdefgh",
            "P@ssw0rd",
            "magpie12",
            "mary_poppins",
            "MaryPoppins",
            "marypoppins1",
            "letmein1",
        ] {
            let refusal = strength(password).expect_err(password);
            assert_eq!(refusal.reason, Reason::PasswordTooWeak);
            assert!(password == "password" || !refusal.message.contains(password));
        }
    }

    #[test]
    fn uncommon_passwords_need_no_composition() {
        for password in [
            "correct horse battery staple",
            "vjqkzwpx",
            "lumpy walnut cadence",
            "ぬるぽがっみそしる",
            "8502946173",
        ] {
            assert_eq!(strength(password), Ok(()), "{password}");
        }
        assert_eq!(strength(&"lumpy walnut ".repeat(9)), Ok(()));
    }
}
