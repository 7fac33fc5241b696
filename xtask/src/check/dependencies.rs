//! Licences, sources and banned crates, over what cargo resolved for every platform.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{
    licence,
    policy::{BANNED, LICENCES},
};
use crate::workspace::Workspace;

/// Checks the resolved packages against the policy, and tells which crates are there twice.
pub(super) fn check(workspace: &Workspace) -> Result<()> {
    let packages = resolved(workspace.metadata())?;
    let registry = registry(&packages)?;
    let findings: Vec<String> = packages
        .iter()
        .flat_map(|package| findings_of(package, registry))
        .collect();
    tell_duplicates(&packages);
    println!("{} packages looked at", packages.len());
    super::report(
        &findings,
        "dependencies outside the policy (xtask/src/check/policy.rs)",
    )
}

/// One package, as far as the policy cares.
struct Package<'a> {
    name: &'a str,
    version: &'a str,
    licence: Option<&'a str>,
    /// None for a package in a folder.
    source: Option<&'a str>,
    /// Whether it is one of ours.
    member: bool,
}

/// The packages that something in the workspace depends on. The lock file alone lists more:
/// optional dependencies that nobody turned on.
fn resolved(metadata: &Value) -> Result<Vec<Package<'_>>> {
    let nodes = metadata["resolve"]["nodes"]
        .as_array()
        .context("no resolve in cargo metadata")?;
    let ids: HashSet<&str> = nodes
        .iter()
        .filter_map(|node| node["id"].as_str())
        .collect();
    let members = metadata["workspace_members"]
        .as_array()
        .context("no members in cargo metadata")?;
    let packages = metadata["packages"]
        .as_array()
        .context("no packages in cargo metadata")?;
    packages
        .iter()
        .filter(|package| package["id"].as_str().is_some_and(|id| ids.contains(id)))
        .map(|package| {
            Ok(Package {
                name: package["name"].as_str().context("a package has no name")?,
                version: package["version"]
                    .as_str()
                    .context("a package has no version")?,
                licence: package["license"].as_str(),
                source: package["source"].as_str(),
                member: members.contains(&package["id"]),
            })
        })
        .collect()
}

/// Cargo's default registry: where this program's own dependencies come from, none of which names
/// another.
fn registry<'a>(packages: &[Package<'a>]) -> Result<&'a str> {
    packages
        .iter()
        .find(|package| package.name == "anyhow")
        .and_then(|package| package.source)
        .filter(|source| source.starts_with("registry+"))
        .context("cannot tell which registry is cargo's default one")
}

fn findings_of(package: &Package<'_>, registry: &str) -> Vec<String> {
    let Package { name, version, .. } = package;
    let mut findings = Vec::new();
    if !package.member && package.source != Some(registry) {
        let source = package.source.unwrap_or("a folder outside the workspace");
        findings.push(format!(
            "{name} {version}: comes from {source}; only the registry is known"
        ));
    }
    for (banned, reason) in BANNED {
        if *name == banned {
            findings.push(format!("{name} {version}: banned: {reason}"));
        }
    }
    let licence = package.licence.unwrap_or_default();
    match licence::permitted(licence, &LICENCES) {
        Some(true) => {}
        Some(false) => findings.push(format!("{name} {version}: licence {licence} is not listed")),
        None => findings.push(format!(
            "{name} {version}: cannot read its licence `{licence}`"
        )),
    }
    findings
}

/// Reported only: two versions of a crate are often nobody's fault here.
fn tell_duplicates(packages: &[Package<'_>]) {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages {
        versions
            .entry(package.name)
            .or_default()
            .push(package.version);
    }
    let twice: Vec<String> = versions
        .into_iter()
        .filter(|(_, versions)| versions.len() > 1)
        .map(|(name, versions)| format!("{name} ({})", versions.join(", ")))
        .collect();
    if !twice.is_empty() {
        println!("in several versions: {}", twice.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTRY: &str = "registry+https://example.test/index";

    fn package<'a>(name: &'a str, licence: &'a str, source: &'a str) -> Package<'a> {
        Package {
            name,
            version: "1.0.0",
            licence: Some(licence),
            source: Some(source),
            member: false,
        }
    }

    #[test]
    fn a_permissive_crate_of_the_registry_passes() {
        assert!(findings_of(&package("tonic", "MIT", REGISTRY), REGISTRY).is_empty());
    }

    #[test]
    fn only_our_own_crates_come_from_folders() {
        let mut ours = package("magpie", "Apache-2.0", REGISTRY);
        ours.source = None;
        assert_eq!(findings_of(&ours, REGISTRY).len(), 1);
        ours.member = true;
        assert!(findings_of(&ours, REGISTRY).is_empty());
    }

    #[test]
    fn each_way_out_of_the_policy_is_a_finding() {
        for wrong in [
            package("tonic", "MIT", "git+https://example.test/tonic"),
            package("tonic", "MIT", "registry+https://example.test/other"),
            package("openssl-sys", "MIT", REGISTRY),
            package("aws-lc-rs", "ISC", REGISTRY),
            package("tonic", "GPL-3.0-only", REGISTRY),
            package("tonic", "", REGISTRY),
        ] {
            let findings = findings_of(&wrong, REGISTRY);
            assert_eq!(findings.len(), 1, "{} {:?}", wrong.name, wrong.licence);
        }
    }
}
