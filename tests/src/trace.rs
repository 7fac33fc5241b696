//! A trace of system calls as strace writes it, read back as calls with a beginning and an end.

use std::{collections::HashMap, fs, path::Path, time::Duration};

use crate::guard;

/// One system call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The thread that made it.
    pub thread: u32,
    /// Its name.
    pub name: String,
    /// Its arguments, as strace shows them.
    pub args: String,
    /// Where in the trace it began.
    pub began: usize,
    /// Where in the trace it returned.
    pub returned: usize,
    /// What it returned.
    pub result: String,
}

impl Call {
    /// The number of the descriptor that the call is about.
    pub fn descriptor(&self) -> &str {
        let end = self.args.find(|c: char| !c.is_ascii_digit());
        &self.args[..end.unwrap_or(self.args.len())]
    }

    /// What that descriptor is, in a trace that was written with `-y`: a path, or such as
    /// `socket:[7]`.
    pub fn file(&self) -> String {
        let named = self.args[self.descriptor().len()..].strip_prefix('<');
        let name = named.and_then(|rest| rest.split_once('>'));
        let name = name.map(|(name, _)| name).unwrap_or_default();
        if !name.starts_with("\\x") {
            return name.to_owned();
        }
        // With -xx names are in hexadecimal, too.
        let bytes = name.split("\\x").filter(|pair| !pair.is_empty());
        let bytes: Vec<u8> = bytes
            .filter_map(|pair| u8::from_str_radix(pair, 16).ok())
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Waits until strace has written all about a process that has ended.
///
/// # Panics
/// When it does not.
pub async fn finished(path: &Path, pid: u32) {
    let ended = |line: &str| {
        let rest = line.strip_prefix(&pid.to_string()).unwrap_or_default();
        rest.contains("+++ exited") || rest.contains("+++ killed")
    };
    let written = async {
        while !fs::read_to_string(path)
            .unwrap_or_default()
            .lines()
            .any(ended)
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    guard::event("the end of the trace", written).await;
}

/// Reads a trace that was written with `-f`; the order of its lines is the order of events.
///
/// # Panics
/// When it cannot be read.
pub fn read(path: &Path) -> Vec<Call> {
    let text = fs::read_to_string(path).expect("strace wrote its trace");
    let mut open: HashMap<(u32, String), (usize, String)> = HashMap::new();
    let mut calls = Vec::new();
    for (place, line) in text.lines().enumerate() {
        let Some((thread, rest)) = split_columns(line) else {
            continue;
        };
        if let Some(rest) = rest.strip_prefix("<... ") {
            let Some((name, rest)) = rest.split_once(" resumed>") else {
                continue;
            };
            let Some((began, args)) = open.remove(&(thread, name.to_owned())) else {
                continue;
            };
            let (more, result) = split_result(rest);
            let args = args + more;
            let (name, result) = (name.to_owned(), result.to_owned());
            calls.push(Call {
                thread,
                name,
                args,
                began,
                returned: place,
                result,
            });
        } else if let Some((name, rest)) = rest.split_once('(') {
            let name = name.to_owned();
            if let Some(args) = rest.strip_suffix(" <unfinished ...>") {
                open.insert((thread, name), (place, args.to_owned()));
            } else {
                let (args, result) = split_result(rest);
                let (args, result) = (args.to_owned(), result.to_owned());
                calls.push(Call {
                    thread,
                    name,
                    args,
                    began: place,
                    returned: place,
                    result,
                });
            }
        }
    }
    calls.sort_by_key(|call| call.began);
    calls
}

/// The thread of a line, and what follows its time. strace pads thread numbers of fewer than five
/// digits, so that one or more spaces part the columns.
fn split_columns(line: &str) -> Option<(u32, &str)> {
    let (thread, rest) = line.split_once(' ')?;
    let (_time, rest) = rest.trim_start().split_once(' ')?;
    Some((thread.parse().ok()?, rest.trim_start()))
}

fn split_result(rest: &str) -> (&str, &str) {
    rest.rsplit_once(" = ")
        .map_or((rest, ""), |(args, result)| (args, result))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_are_interrupted_by_others_are_joined() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("trace");
        // Numbers of fewer than five digits are padded.
        let text = "10    1.0 fdatasync(5 <unfinished ...>\n\
                    12345 1.1 writev(9, \"x\", 1) = 1\n\
                    10    1.2 <... fdatasync resumed>) = 0\n";
        fs::write(&path, text).expect("writable");
        let calls = read(&path);
        let shape: Vec<_> = calls
            .iter()
            .map(|c| (c.name.as_str(), c.began, c.returned, c.result.as_str()))
            .collect();
        assert_eq!(shape, [("fdatasync", 0, 2, "0"), ("writev", 1, 1, "1")]);
    }

    #[test]
    fn descriptors_have_the_names_that_strace_gives_them() {
        let call = |args: &str| Call {
            thread: 1,
            name: "fdatasync".to_owned(),
            args: args.to_owned(),
            began: 0,
            returned: 0,
            result: "0".to_owned(),
        };
        let shape = |args| {
            let call = call(args);
            (call.descriptor().to_owned(), call.file())
        };
        let named = |number: &str, file: &str| (number.to_owned(), file.to_owned());
        assert_eq!(shape("13</d/0.jnl>)"), named("13", "/d/0.jnl"));
        assert_eq!(shape("13<\\x2f\\x64>, \"\\x61\""), named("13", "/d"));
        assert_eq!(shape("9<socket:[7]>, 1"), named("9", "socket:[7]"));
        assert_eq!(shape("5"), named("5", ""));
    }
}
