//! What `magpie` alone prints: one screen on which a newcomer sees what to type next. The whole help
//! is longer than most terminals, and its beginning would scroll away.

/// The commands, by what they are about.
const GROUPS: &[(&str, &str)] = &[
    ("Talking", "chat send tail rooms history message read"),
    ("Rooms", "create direct members invite leave remove rename"),
    ("People", "presence status"),
    (
        "Accounts",
        "signup login logout whoami profile passwd devices",
    ),
    ("Shell", "completions"),
];

/// The screen; `start` says what to do first.
pub(crate) fn screen(start: &str) -> String {
    let mut out = "Chat from a terminal, by hand or by script.\n\n".to_owned();
    for (about, commands) in GROUPS {
        out.push_str(&format!("  {about:9} {commands}\n"));
    }
    out.push_str(&format!(
        "\n{start}\n\n`magpie --help` says what each does; `magpie COMMAND --help` has examples.\n"
    ));
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;
    use crate::args::{Cli, START};

    #[test]
    fn every_command_has_its_place() {
        let named: BTreeSet<String> = GROUPS
            .iter()
            .flat_map(|(_, commands)| commands.split(' '))
            .map(str::to_owned)
            .collect();
        let command = Cli::command();
        let there = command.get_subcommands().map(|c| c.get_name().to_owned());
        assert_eq!(named, there.collect());
    }

    #[test]
    fn it_fits_the_smallest_usual_terminal() {
        let screen = screen(START);
        // One row is the prompt's.
        assert!(screen.lines().count() <= 23, "{screen}");
        assert!(screen.lines().all(|line| line.len() <= 80), "{screen}");
    }
}
