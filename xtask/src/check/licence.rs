//! Licence expressions as crates state them: SPDX, and the older form with slashes.

use std::iter::Peekable;

/// Whether a licence expression can be met with the permitted licences alone. None where it cannot
/// be read.
pub(super) fn permitted(expression: &str, licences: &[&str]) -> Option<bool> {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let verdict = any(&mut words, licences)?;
    words.next().is_none().then_some(verdict)
}

/// `A OR B`: one is enough.
fn any<'a, I>(words: &mut Peekable<I>, licences: &[&str]) -> Option<bool>
where
    I: Iterator<Item = &'a str>,
{
    let mut verdict = all(words, licences)?;
    while words.next_if_eq(&"OR").is_some() {
        // Both sides are read in any case: a right side that cannot be read is no licence.
        verdict |= all(words, licences)?;
    }
    Some(verdict)
}

/// `A AND B`: both are needed. Binds closer than OR.
fn all<'a, I>(words: &mut Peekable<I>, licences: &[&str]) -> Option<bool>
where
    I: Iterator<Item = &'a str>,
{
    let mut verdict = one(words, licences)?;
    while words.next_if_eq(&"AND").is_some() {
        verdict &= one(words, licences)?;
    }
    Some(verdict)
}

/// One licence, with its exception, or an expression in brackets.
fn one<'a, I>(words: &mut Peekable<I>, licences: &[&str]) -> Option<bool>
where
    I: Iterator<Item = &'a str>,
{
    let word = words.next()?;
    if word == "(" {
        let verdict = any(words, licences)?;
        return (words.next()? == ")").then_some(verdict);
    }
    if matches!(word, ")" | "OR" | "AND" | "WITH") {
        return None;
    }
    if words.next_if_eq(&"WITH").is_some() {
        let with = format!("{word} WITH {}", words.next()?);
        return Some(licences.contains(&with.as_str()));
    }
    Some(licences.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expression: &str, expected: Option<bool>) {
        let licences = [
            "MIT",
            "Apache-2.0",
            "Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception",
        ];
        assert_eq!(permitted(expression, &licences), expected, "{expression}");
    }

    #[test]
    fn one_side_of_an_or_is_enough() {
        check("MIT OR Apache-2.0", Some(true));
        check("GPL-2.0-only OR MIT", Some(true));
        check("MIT/Apache-2.0", Some(true));
        check("GPL-2.0-only / LGPL-2.1", Some(false));
    }

    #[test]
    fn both_sides_of_an_and_are_needed() {
        check("(MIT OR Apache-2.0) AND Unicode-3.0", Some(true));
        check("(MIT OR Apache-2.0) AND OpenSSL", Some(false));
        check("MIT OR Apache-2.0 AND OpenSSL", Some(true));
        check("OpenSSL AND Apache-2.0 OR GPL-3.0", Some(false));
    }

    #[test]
    fn an_exception_is_part_of_its_licence() {
        check("Apache-2.0 WITH LLVM-exception", Some(true));
        check("MIT WITH Something-else", Some(false));
    }

    #[test]
    fn what_cannot_be_read_is_no_licence() {
        for expression in [
            "",
            "MIT OR",
            "(MIT",
            "MIT)",
            "MIT Apache-2.0",
            "AND MIT",
            "MIT WITH",
        ] {
            check(expression, None);
        }
    }
}
