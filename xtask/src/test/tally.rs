//! Counts tests, by the closing lines of test programs.

use std::fmt;

/// Tests over all programs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Tally {
    /// Tests that failed so far.
    pub(super) fn failed(&self) -> u64 {
        self.failed
    }

    /// Tests that were skipped so far.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Counts a test program that failed before it could count by itself.
    pub(super) fn add_failure(&mut self) {
        self.failed += 1;
    }

    /// Whether any test was run at all.
    pub(super) fn ran_any(&self) -> bool {
        self.passed + self.failed > 0
    }

    /// Adds `test result: ok. 5 passed; 0 failed; 0 ignored; ...`. False for any other line.
    pub(super) fn add(&mut self, line: &str) -> bool {
        let Some(result) = line.strip_prefix("test result: ") else {
            return false;
        };
        for part in result.split([';', '.']) {
            let mut words = part.split_whitespace();
            let Some(count) = words.next().and_then(|word| word.parse::<u64>().ok()) else {
                continue;
            };
            match words.next() {
                Some("passed") => self.passed += count,
                Some("failed") => self.failed += count,
                Some("ignored") => self.skipped += count,
                _ => {}
            }
        }
        true
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_add_up() {
        let mut tally = Tally::default();
        let ok = "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.0s";
        let bad = "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out";
        assert!(tally.add(ok));
        assert!(tally.add(bad));
        assert!(!tally.add("test resume ... ok"));
        assert_eq!(
            tally,
            Tally {
                passed: 6,
                failed: 2,
                skipped: 1
            }
        );
        assert_eq!(tally.to_string(), "6 passed, 2 failed, 1 skipped");
        assert_eq!(tally.skipped(), 1);
    }
}
