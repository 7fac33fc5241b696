//! Precedence, faults and what is shown.

use std::{fs, net::SocketAddr, time::Duration};

use tempfile::TempDir;

use super::*;

/// The settings of which help has to tell a default.
const SETTINGS_WITH_DEFAULT: [&str; 12] = [
    "free-space-min",
    "listen",
    "insecure-listen",
    "metrics-listen",
    "node-name",
    "reflection",
    "cors-origins",
    "drain-window",
    "drain-timeout",
    "log",
    "log-format",
    "limits-profile",
];

fn config(flags: &[&str]) -> Result<Config, Error> {
    Config::from_flags(flags)
}

/// A file with this text, and the flag that names it.
fn file(text: &str) -> (TempDir, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("magpie.toml");
    fs::write(&path, text).expect("written");
    let flag = format!("--config={}", path.display());
    (dir, flag)
}

fn port(config: &Config) -> u16 {
    config.settings.listen.port()
}

/// The settings with a default, as help tells them: the name and the default.
fn told_defaults() -> Vec<(String, String)> {
    let help = Settings::command().render_long_help().to_string();
    let mut told = Vec::new();
    let mut name = None;
    for line in help.lines().map(str::trim) {
        if let Some(flag) = line.split(' ').find_map(|word| word.strip_prefix("--")) {
            if line.starts_with('-') {
                let end = flag.find(|c: char| !c.is_ascii_lowercase() && c != '-');
                name = Some(flag[..end.unwrap_or(flag.len())].to_owned());
            }
        } else if let Some(default) = line
            .strip_prefix("[default: ")
            .and_then(|rest| rest.strip_suffix(']'))
        {
            told.push((
                name.take().expect("a default is some flag's"),
                default.to_owned(),
            ));
        }
    }
    told
}

#[test]
fn defaults_are_what_help_says() {
    let shown = config(&[]).expect("valid").shown;
    let told = told_defaults();
    let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, SETTINGS_WITH_DEFAULT);
    for (name, default) in &told {
        let line = shown
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name} = ")));
        let value = line.unwrap_or_else(|| panic!("{name} is not in force"));
        let value = value.trim_matches(['[', ']']).trim_matches('"');
        assert_eq!(value, default, "{name}");
    }
    let settings = config(&[]).expect("valid").settings;
    // What they mean, for one of each kind.
    assert_eq!(settings.listen, SocketAddr::from(([127, 0, 0, 1], 7400)));
    assert_eq!(settings.drain_timeout.0, Duration::from_secs(30));
    assert!(settings.reflection);
    assert!(!settings.insecure_listen);
}

#[test]
fn flag_wins_over_file_and_file_over_default() {
    let (_dir, flag) = file("listen = \"127.0.0.1:1\"\nreflection = false\n");
    let from_file = config(&[&flag]).expect("valid");
    assert_eq!(port(&from_file), 1);
    assert!(!from_file.settings.reflection);
    let both = config(&[&flag, "--listen=127.0.0.1:2"]).expect("valid");
    assert_eq!(port(&both), 2);
    assert!(!both.settings.reflection);
}

#[test]
fn leaving_takes_no_less_time_than_a_part_of_it() {
    let flags = ["--drain-window=20s", "--drain-timeout=1s"];
    let error = config(&flags).expect_err("it does not fit").to_string();
    assert!(error.contains("drain-window"), "{error}");
    assert!(error.contains("drain-timeout"), "{error}");
    config(&["--drain-window=1s", "--drain-timeout=1s"]).expect("it fits");
}

#[test]
fn what_is_wrong_in_a_file_is_named_with_its_key() {
    for (text, named) in [
        ("lisen = \"127.0.0.1:1\"", "lisen"),
        ("listen = \"nowhere\"", ".toml:1: listen: \"nowhere\""),
        ("node-name = \"a\"\nlisten = 7", ".toml:2: listen: \"7\""),
        ("\n\nlimits-profile = \"none\"", ".toml:3: limits-profile: "),
        ("log = \"magpie=loud\"", ".toml:1: log: "),
        ("node-name = \"a\"\nnode-name =", ".toml:2: "),
        (
            "[limits]\n\nroom_members_max = 0",
            ".toml:3: limits.room_members_max",
        ),
        ("listen = 1.5", "listen"),
        ("config = \"other\"", "config"),
        ("[limits]\nroom_member_max = 5", "room_member_max"),
        (
            "[limits]\nroom_members_max = \"5\"",
            "limits.room_members_max",
        ),
        ("[limits]\nroom_members_max = -5", "limits.room_members_max"),
        ("limits = 5", "limits"),
        ("listen = ", "listen"),
        ("drain-timeout = 30", ".toml:1: drain-timeout: \"30\""),
    ] {
        let (_dir, flag) = file(text);
        let error = config(&[&flag]).expect_err(text).to_string();
        assert!(error.contains(named), "{text}: {error}");
        assert!(error.contains("magpie.toml"), "{text}: {error}");
        assert!(!error.contains("--"), "no flag is wrong: {text}: {error}");
    }
}

#[test]
fn what_is_wrong_in_a_file_is_wrong_where_a_flag_overrides_it_too() {
    let (_dir, flag) = file("listen = 3");
    let error = config(&[&flag, "--listen=127.0.0.1:2"]).expect_err("refused");
    let error = error.to_string();
    assert!(error.contains(".toml:1: listen: \"3\""), "{error}");
}

#[test]
fn wrong_command_line_is_said_without_the_librarys_last_words() {
    for flags in [&["--no-such-flag"][..], &["--listen=x"], &["user"]] {
        let error = config(flags).expect_err(flags[0]).to_string();
        assert!(!error.contains("For more"), "{error}");
        assert!(!error.starts_with("error"), "{error}");
    }
    let error = config(&["--listen=x"]).expect_err("refused").to_string();
    assert!(error.starts_with("--listen: \"x\""), "{error}");
}

#[test]
fn a_command_shows_what_it_reads_and_accepts_the_rest() {
    for args in [
        &["user", "disable"][..],
        &["user"],
        &["sign-up"],
        &["new-generation"],
    ] {
        let asked = [args, &["--help"]].concat();
        let Err(Error::Help(help)) = config(&asked) else {
            panic!("{args:?} has help");
        };
        let help = help.to_string();
        assert!(help.contains("--data-dir"), "{help}");
        assert!(!help.contains("--listen"), "{help}");
        assert!(!help.contains("--cors-origins"), "{help}");
    }
    let spread = ["--node-name=a", "user", "disable", "ann", "--log=warn"];
    let both = config(&spread).expect("valid").settings;
    assert_eq!((both.node_name.as_str(), both.log.as_str()), ("a", "warn"));
}

#[test]
fn missing_file_is_named() {
    let error = config(&["--config=/no/such/file.toml"]).expect_err("refused");
    assert!(error.to_string().contains("/no/such/file.toml"));
}

#[test]
fn wrong_flags_are_refused() {
    for flags in [
        &["--no-such-flag"][..],
        &["--listen=nowhere"],
        &["--tls-cert=only.pem"],
        &["--limit=no_such=1"],
        &["--limit=room_members_max"],
        &["--limits-profile=none"],
        &["--cors-origins=a.example"],
        &["--cors-origins=https://a.example/"],
        &["--cors-origins=https://a.example,x y"],
        &["no-such-command"],
    ] {
        config(flags).expect_err(flags[0]);
    }
}

#[test]
fn limits_come_from_profile_then_file_then_flag() {
    let (_dir, flag) = file("[limits]\nuser_send_burst = 5\nroom_send_burst = 6\n");
    let flags = [&flag, "--limits-profile=load", "--limit=room_send_burst=7"];
    let limits = config(&flags).expect("valid").limits;
    assert_eq!(limits.core.user_send_burst, 5);
    assert_eq!(limits.core.room_send_burst, 7);
    assert_eq!(limits.core.user_sends_per_minute, u64::from(u32::MAX));
}

#[test]
fn shown_settings_set_the_same_when_given_as_a_file() {
    let first = config(&[
        "--listen=127.0.0.1:9",
        "--cors-origins=https://a.example,https://b.example",
        "--limits-profile=load",
        "--node-name=true \"quoted\"",
        "--reflection=false",
    ]);
    let first = first.expect("valid");
    let (_dir, flag) = file(&first.shown);
    let second = config(&[&flag]).expect("valid");
    assert_eq!(second.shown, first.shown);
    assert_eq!(second.limits, first.limits);
    assert_eq!(second.settings.cors_origins.len(), 2);
    assert!(!second.settings.reflection);
}

#[test]
fn settings_may_stand_before_and_after_the_command() {
    for args in [
        ["magpie-server", "--node-name=a", "config"],
        ["magpie-server", "config", "--node-name=a"],
    ] {
        let (config, action) = from_args(args.map(OsString::from)).expect("valid");
        assert_eq!(config.settings.node_name, "a");
        assert!(matches!(action, Some(Action::Config)));
    }
}

#[test]
fn a_tilde_that_no_shell_expands_is_refused() {
    let (_dir, file) = file("data-dir = \"~/magpie\"\n");
    let error = config(&[&file]).unwrap_err().to_string();
    assert!(error.contains("data-dir"), "{error}");
    assert!(error.contains("write the whole path"), "{error}");
    assert!(config(&["--data-dir=./~magpie"]).is_ok());
}
