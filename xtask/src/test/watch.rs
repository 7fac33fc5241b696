//! Runs one test program to its end: shows what it prints, counts its tests, bounds its time.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::tally::Tally;

/// How long one test program may take. Each test has a guard of its own; this one is for what no
/// test can guard, and leaves CI the time to say which program it was.
const PROGRAM_MAX: Duration = Duration::from_secs(30 * 60);

/// How long output is waited for once the program has ended: a process that it left behind may hold
/// the pipe open for ever.
const REST_MAX: Duration = Duration::from_secs(2);

/// How often a silent program is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Runs it. False where it failed; where it died before it could say how many failed, that counts
/// as one.
pub(super) fn watch(command: &mut Command, tally: &mut Tally) -> Result<bool> {
    watch_for(PROGRAM_MAX, command, tally)
}

fn watch_for(limit: Duration, command: &mut Command, tally: &mut Tally) -> Result<bool> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the tests")?;
    let lines = lines(
        child
            .stdout
            .take()
            .context("the tests have no standard output")?,
    );
    let failed_before = tally.failed();
    let status = follow(&mut child, &lines, Instant::now() + limit, tally)?;
    if !status.success() && tally.failed() == failed_before {
        println!("the tests ended with {status} and without a result");
        tally.add_failure();
    }
    Ok(status.success())
}

/// Passes lines on until the program has ended and said all.
fn follow(
    child: &mut Child,
    lines: &Receiver<String>,
    mut deadline: Instant,
    tally: &mut Tally,
) -> Result<ExitStatus> {
    let mut ended = None;
    loop {
        match lines.recv_timeout(LOOK_INTERVAL) {
            Ok(line) => {
                println!("{line}");
                tally.add(&line);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return match ended {
                    Some(status) => Ok(status),
                    None => wait_until(child, deadline),
                };
            }
        }
        if ended.is_none() {
            ended = child.try_wait()?;
            if ended.is_some() {
                deadline = deadline.min(Instant::now() + REST_MAX);
            }
        }
        if Instant::now() >= deadline {
            return match ended {
                Some(status) => Ok(status),
                None => wait_until(child, deadline),
            };
        }
    }
}

/// Waits for the end of a program, and ends it at the deadline.
fn wait_until(child: &mut Child, deadline: Instant) -> Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            println!("the tests took too long and are stopped");
            child.kill().context("cannot stop the tests")?;
            return Ok(child.wait()?);
        }
        thread::sleep(LOOK_INTERVAL);
    }
}

/// Reads lines in a thread of their own, so that waiting for them can end.
fn lines(stdout: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            // A test may print any bytes.
            if sender
                .send(String::from_utf8_lossy(&line).into_owned())
                .is_err()
            {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> (bool, String) {
        let mut tally = Tally::default();
        let passed = watch_for(limit, Command::new("sh").args(["-c", script]), &mut tally).unwrap();
        (passed, tally.to_string())
    }

    #[test]
    fn what_a_program_says_is_counted() {
        let script = "echo 'test result: ok. 3 passed; 0 failed; 0 ignored'";
        assert_eq!(
            shell(script, PROGRAM_MAX),
            (true, "3 passed, 0 failed".to_owned())
        );
    }

    #[test]
    fn a_program_that_dies_counts_as_a_failure() {
        let script = "kill -9 $$";
        assert_eq!(
            shell(script, PROGRAM_MAX),
            (false, "0 passed, 1 failed".to_owned())
        );
    }

    #[test]
    fn a_program_that_hangs_is_stopped() {
        let script = "exec sleep 1000";
        let limit = Duration::from_millis(200);
        assert_eq!(
            shell(script, limit),
            (false, "0 passed, 1 failed".to_owned())
        );
    }

    #[test]
    fn a_process_left_behind_does_not_hold_things_up() {
        let start = Instant::now();
        let script = "sleep 20 & echo 'test result: ok. 1 passed; 0 failed; 0 ignored'";
        assert_eq!(
            shell(script, PROGRAM_MAX),
            (true, "1 passed, 0 failed".to_owned())
        );
        assert!(start.elapsed() < Duration::from_secs(15));
    }
}
