//! The crate graph is the architecture: every edge between workspace crates is listed here, and so is every
//! crate that may touch a runtime, a socket or a clock. A new edge is a change of this file and ARCHITECTURE.md.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// `crate -> workspace crates it may import` (normal dependencies only).
const EDGES: &[(&str, &[&str])] = &[
    ("setu-model", &[]),
    ("setu-sip", &["setu-model"]),
    ("setu-sdp", &["setu-model"]),
    ("setu-srtp", &[]),
    ("setu-media", &["setu-model", "setu-srtp"]),
    ("setu-recording", &["setu-model"]),
    ("setu-call", &["setu-model", "setu-sdp"]),
    ("setu-whatsapp", &["setu-model"]),
    ("setu-sip-net", &["setu-model", "setu-sip"]),
    ("setu-media-net", &["setu-model", "setu-media"]),
    ("setu-store", &["setu-model"]),
    ("setu-control", &["setu-model", "setu-whatsapp"]),
    ("setu-twin", &["setu-model"]),
    (
        "setu",
        &[
            "setu-model",
            "setu-sip",
            "setu-sdp",
            "setu-srtp",
            "setu-media",
            "setu-recording",
            "setu-call",
            "setu-whatsapp",
            "setu-sip-net",
            "setu-media-net",
            "setu-store",
            "setu-control",
            "setu-twin",
        ],
    ),
    ("embed", &["setu"]),
    ("setu-benches", &["setu-media", "setu-media-net", "setu-model", "setu-srtp", "setu-whatsapp"]),
    ("setu-fuzz", &["setu-call", "setu-media", "setu-model", "setu-sdp", "setu-sip", "setu-srtp"]),
    ("xtask", &[]),
];

/// Sans-IO crates: no runtime, no sockets, no entropy of their own.
const SANS_IO: &[&str] =
    &["setu-model", "setu-sip", "setu-sdp", "setu-srtp", "setu-media", "setu-call", "setu-whatsapp"];
const IO_DEPS: &[&str] = &[
    "tokio",
    "mio",
    "socket2",
    "libc",
    "axum",
    "hyper",
    "reqwest",
    "rand",
    "getrandom",
    "crossbeam-channel",
];

/// The two crates that may hold one module of `unsafe` each; every other forbids it.
const MAY_BE_UNSAFE: &[&str] = &["setu-srtp", "setu-media-net"];

#[test]
fn edges_match_the_table() {
    let packages = packages();
    let names: BTreeSet<&str> = packages.keys().map(String::as_str).collect();
    let table: BTreeMap<&str, BTreeSet<&str>> =
        EDGES.iter().map(|(name, deps)| (*name, deps.iter().copied().collect())).collect();
    assert_eq!(names, table.keys().copied().collect(), "crates and table differ");

    for (name, package) in &packages {
        let deps: Vec<&str> = package.deps.iter().map(String::as_str).collect();
        let inner: BTreeSet<&str> = deps.iter().copied().filter(|d| names.contains(d)).collect();
        assert!(
            inner.is_subset(&table[name.as_str()]),
            "{name} imports {:?}, which the table does not allow",
            inner.difference(&table[name.as_str()]).collect::<Vec<_>>()
        );
        if SANS_IO.contains(&name.as_str()) {
            let io: Vec<_> = deps.iter().filter(|d| IO_DEPS.contains(d)).collect();
            assert!(io.is_empty(), "{name} is sans-IO but depends on {io:?}");
        }
    }
}

#[test]
fn every_crate_forbids_unsafe_code_and_cores_ban_clocks() {
    for (name, package) in packages() {
        let folder = Path::new(&package.manifest).parent().unwrap();
        let lib = folder.join("src/lib.rs");
        if lib.exists() && !MAY_BE_UNSAFE.contains(&name.as_str()) {
            let text = std::fs::read_to_string(&lib).unwrap();
            assert!(
                text.contains("#![forbid(unsafe_code)]"),
                "{} does not forbid unsafe code",
                lib.display()
            );
        }
        if SANS_IO.contains(&name.as_str()) {
            let text = std::fs::read_to_string(folder.join("clippy.toml"))
                .unwrap_or_else(|_| panic!("{name} has no clippy.toml of its own"));
            assert!(text.contains("std::time::Instant::now"), "{name} does not ban Instant::now");
        }
    }
}

#[test]
fn no_source_file_is_too_long_to_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut long = Vec::new();
    for folder in ["crates", "benches", "fuzz", "xtask", "examples"] {
        sources(&root.join(folder), &mut |path, text| {
            let code = text.split("\n#[cfg(test)]\n").next().unwrap_or(text);
            let lines =
                if path.components().any(|c| c.as_os_str() == "tests") { 0 } else { code.lines().count() };
            if lines > 800 {
                long.push(format!("{} has {lines} lines", path.display()));
            }
        });
    }
    assert!(long.is_empty(), "split these: {long:#?}");
}

#[test]
fn dependencies_have_licences_that_deny_toml_allows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let deny = std::fs::read_to_string(root.join("deny.toml")).expect("deny.toml");
    let allowed: BTreeSet<&str> = deny
        .lines()
        .skip_while(|l| !l.starts_with("allow = ["))
        .skip(1)
        .take_while(|l| !l.starts_with(']'))
        .filter_map(|l| l.split('"').nth(1))
        .collect();
    assert!(allowed.contains("MIT"), "cannot read the allow list of deny.toml");
    for package in metadata(&[])["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let licence = package["license"].as_str().unwrap_or("none").replace('/', " OR ");
        let fits = |one: &str| allowed.contains(one.trim_matches(['(', ')', ' ']));
        let ok = licence.split(" OR ").any(|choice| choice.split(" AND ").all(fits))
            || licence.replace(['(', ')'], "").split(" AND ").all(|part| part.split(" OR ").any(fits));
        assert!(ok, "{name} is under {licence}, which deny.toml does not allow");
    }
}

struct Package {
    manifest: String,
    deps: Vec<String>,
}

fn packages() -> BTreeMap<String, Package> {
    metadata(&["--no-deps"])["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| {
            let deps = p["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|d| d["kind"].is_null())
                .map(|d| d["name"].as_str().unwrap().to_owned())
                .collect();
            let manifest = p["manifest_path"].as_str().unwrap().to_owned();
            (p["name"].as_str().unwrap().to_owned(), Package { manifest, deps })
        })
        .collect()
}

fn metadata(more: &[&str]) -> Value {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline"])
        .args(more)
        .output()
        .expect("cargo metadata runs");
    serde_json::from_slice(&out.stdout).expect("cargo metadata is JSON")
}

fn sources(folder: &Path, visit: &mut impl FnMut(&Path, &str)) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.map(|e| e.unwrap().path()) {
        if path.is_dir() {
            if !path.ends_with("target") {
                sources(&path, visit);
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            visit(&path, &std::fs::read_to_string(&path).unwrap());
        }
    }
}
