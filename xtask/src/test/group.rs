//! Which tests belong together: the targets of the tests package, and all that lies beside code.

use std::path::PathBuf;

use serde_json::Value;

/// The package whose test targets are groups of their own.
pub(super) const TESTS_PACKAGE: &str = "magpie-tests";

/// Tests that lie beside the code they test.
pub(super) const UNIT: &str = "unit";

/// One test program.
#[derive(Debug)]
pub(super) struct Program {
    /// Package and target.
    pub(super) name: String,
    pub(super) group: String,
    pub(super) executable: PathBuf,
    /// The package's folder, in which tests run.
    pub(super) folder: PathBuf,
}

/// The test programs of one name of `--only`.
#[derive(Debug)]
pub(super) struct Group<'a> {
    pub(super) name: String,
    pub(super) programs: Vec<&'a Program>,
}

/// The group of a target of a package.
pub(super) fn of(package: &str, target: &str, is_test_target: bool) -> String {
    if package == TESTS_PACKAGE && is_test_target {
        target.to_owned()
    } else {
        UNIT.to_owned()
    }
}

/// Tests of which each takes the whole machine: two at once would fail for want of it.
const ONE_BY_ONE: &str = "faults";

/// What the test programs of a group are called with.
pub(super) fn arguments(group: &str, asked: &[String]) -> Vec<String> {
    let mut arguments = asked.to_vec();
    let chosen = asked
        .iter()
        .any(|argument| argument.starts_with("--test-threads"));
    if group == ONE_BY_ONE && !chosen {
        arguments.push("--test-threads=1".to_owned());
    }
    arguments
}

/// Whether a group's tests call the node, the terminal client and programs of others.
pub(super) fn calls_programs(group: &str) -> bool {
    !matches!(group, UNIT | super::DOC | "simulation")
}

/// The groups of the workspace, `unit` first.
pub(super) fn names(metadata: &Value) -> Vec<String> {
    let mut names = vec![UNIT.to_owned()];
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let tests = packages.filter(|package| package["name"] == TESTS_PACKAGE);
    for target in tests.flat_map(|package| package["targets"].as_array().into_iter().flatten()) {
        let is_test = target["kind"]
            .as_array()
            .is_some_and(|kinds| kinds.contains(&"test".into()));
        if let (true, Some(name)) = (is_test, target["name"].as_str()) {
            names.push(name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_the_tests_package_are_groups() {
        let metadata = serde_json::json!({ "packages": [
            { "name": "magpie-core", "targets": [{ "name": "model", "kind": ["test"] }] },
            { "name": "magpie-tests", "targets": [
                { "name": "magpie_tests", "kind": ["lib"] },
                { "name": "integration", "kind": ["test"] },
            ] },
        ] });
        assert_eq!(names(&metadata), ["unit", "integration"]);
        assert_eq!(of("magpie-tests", "integration", true), "integration");
        assert_eq!(of("magpie-tests", "magpie_tests", false), "unit");
        assert_eq!(of("magpie-core", "model", true), "unit");
    }

    #[test]
    fn tests_that_take_the_machine_run_one_by_one() {
        let asked = ["storm".to_owned()];
        assert_eq!(arguments("faults", &asked), ["storm", "--test-threads=1"]);
        assert_eq!(arguments("integration", &asked), ["storm"]);
        let chosen = ["--test-threads=3".to_owned()];
        assert_eq!(arguments("faults", &chosen), chosen);
    }
}
