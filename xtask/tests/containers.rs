//! The container files, as far as they can be checked without an engine: structure, what they copy, which ports
//! they name, and the version of Rust they build with.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use yaml_rust2::{Yaml, YamlLoader};

const DOCKERFILES: [&str; 2] = ["Dockerfile", "docker/asterisk.Dockerfile"];

#[test]
fn the_compose_file_builds_both_services_from_files_that_exist() {
    let compose = compose();
    for name in ["setu", "asterisk"] {
        let service = &compose["services"][name];
        let context = service["build"]["context"].as_str().unwrap();
        let dockerfile = service["build"]["dockerfile"].as_str().unwrap();
        assert!(root().join(context).join(dockerfile).is_file(), "{name}: no {dockerfile}");
        assert!(DOCKERFILES.contains(&dockerfile), "{dockerfile} is not checked by these tests");
        for volume in service["volumes"].as_vec().into_iter().flatten() {
            let source = volume.as_str().unwrap().split(':').next().unwrap();
            let named = !compose["volumes"][source].is_badvalue();
            assert!(named || source.starts_with("./"), "{name}: volume {source} is not declared");
        }
        for network in service["networks"].as_hash().unwrap().keys() {
            assert!(!compose["networks"][network.as_str().unwrap()].is_badvalue(), "{name}: {network:?}");
        }
    }
}

#[test]
fn addresses_are_in_the_subnet_and_known_to_the_examples() {
    let compose = compose();
    let subnet = compose["networks"]["pbx"]["ipam"]["config"][0]["subnet"].as_str().unwrap();
    let prefix = subnet.strip_suffix("0/24").expect("a /24");
    for (service, example) in [("setu", "examples/asterisk/pjsip.conf"), ("asterisk", "examples/setu.toml")] {
        let address = compose["services"][service]["networks"]["pbx"]["ipv4_address"].as_str().unwrap();
        assert!(address.starts_with(prefix), "{service}: {address} is outside of {subnet}");
        assert!(read(example).contains(address), "{example} does not know {service} at {address}");
    }
}

#[test]
fn published_ports_are_those_of_the_example_configuration() {
    let example = read("examples/setu.toml");
    let exposed = exposed("Dockerfile");
    for port in compose()["services"]["setu"]["ports"].as_vec().unwrap() {
        let (ports, protocol) = port.as_str().unwrap().split_once('/').unwrap();
        let (outer, inner) = ports.split_once(':').unwrap();
        assert_eq!(outer, inner, "what is told to Meta is what is published");
        let inside = |range: &str| contains(range, inner);
        assert!(
            exposed.iter().any(|(range, other)| other == protocol && inside(range)),
            "the image does not expose {inner}/{protocol}"
        );
        let known = if inner.contains('-') {
            quoted_after(&example, "ports = ").into_iter().any(|range| contains(&range, inner))
        } else {
            example.contains(&format!(":{inner}\"")) || example.contains(&format!("port = {inner}"))
        };
        assert!(known, "examples/setu.toml does not use {inner}");
    }
}

#[test]
fn the_examples_of_both_pbxs_answer_the_extension_that_the_example_configuration_dials() {
    let extension = quoted_after(&read("examples/setu.toml"), "\nextension = ").remove(0);
    let asterisk = read("examples/asterisk/extensions.conf");
    assert!(asterisk.contains(&format!("\nexten => {extension},1,")), "Asterisk has no {extension}");
    let freeswitch = read("examples/freeswitch/setu_dialplan.xml");
    assert!(freeswitch.contains(&format!("\"^{extension}$\"")), "FreeSWITCH has no {extension}");
}

#[test]
fn what_the_bridge_writes_lies_in_its_volume() {
    let volumes = compose()["services"]["setu"]["volumes"].clone();
    let mounts: Vec<&str> = volumes.as_vec().unwrap().iter().map(|volume| volume.as_str().unwrap()).collect();
    let written = mounts.iter().find(|mount| !mount.ends_with(":ro")).unwrap();
    let folder = written.split(':').nth(1).unwrap();
    let (compose, example) = (read("docker-compose.yml"), read("examples/setu.toml"));
    for (section, key) in [("recording", "folder"), ("cdr", "file"), ("store", "file")] {
        let path = quoted_after(&compose, &format!("{section}.{key} = ")).remove(0);
        assert!(path.starts_with(folder), "{section}.{key}: {path} is outside of {folder}");
        let of_section = example.split(&format!("\n[{section}]")).nth(1).unwrap();
        assert!(!quoted_after(of_section, &format!("{key} = ")).is_empty(), "no {section}.{key} to set");
    }
}

#[test]
fn everything_the_images_copy_is_there() {
    for file in DOCKERFILES {
        for line in instructions(file, "COPY") {
            let mut words: Vec<&str> = line.split_whitespace().collect();
            if words.first().is_some_and(|word| word.starts_with("--from=")) {
                let stage = words[0].trim_start_matches("--from=");
                let stages = instructions(file, "FROM");
                assert!(stages.iter().any(|from| from.ends_with(&format!("AS {stage}"))), "{file}: {stage}");
                continue;
            }
            words.pop().expect("a destination");
            assert!(!words.is_empty(), "{file}: COPY {line}");
            for source in words {
                assert!(root().join(source).exists(), "{file} copies {source}, which is not there");
            }
        }
    }
}

#[test]
fn the_image_builds_a_binary_of_ours_with_our_rust() {
    let toolchain = read("rust-toolchain.toml");
    let channel = quoted_after(&toolchain, "channel = ").remove(0);
    let minor = channel.rsplit_once('.').unwrap().0;
    let base = &instructions("Dockerfile", "FROM")[0];
    assert!(base.starts_with(&format!("rust:{minor}-")), "{base} is not Rust {minor}");
    assert!(read("Cargo.toml").contains(&format!("rust-version = \"{minor}\"")), "Cargo.toml is not {minor}");
    let dockerfile = read("Dockerfile");
    assert!(dockerfile.contains("cargo build --release --locked --package setu"));
    assert!(dockerfile.contains("/src/target/release/setu /usr/local/bin/setu"));
    assert!(dockerfile.contains("\nUSER setu\n"), "the bridge does not run as root");
    assert!(root().join("Cargo.lock").is_file(), "--locked needs it");
}

#[test]
fn every_shell_script_is_one_that_bash_can_read() {
    let out = Command::new("git")
        .args(["ls-files", "-co", "--exclude-standard", "*.sh", ".ci/run"])
        .current_dir(root())
        .output()
        .unwrap();
    let names = String::from_utf8(out.stdout).unwrap();
    assert!(names.contains("xtask/peers.sh"), "no scripts found");
    for name in names.lines() {
        let checked = Command::new("bash").arg("-n").arg(root().join(name)).output().unwrap();
        assert!(checked.status.success(), "{name}: {}", String::from_utf8_lossy(&checked.stderr));
    }
}

fn compose() -> Yaml {
    YamlLoader::load_from_str(&read("docker-compose.yml")).expect("docker-compose.yml is YAML").remove(0)
}

/// What follows each `word` in a Dockerfile, continuation lines joined.
fn instructions(file: &str, word: &str) -> Vec<String> {
    let text = read(file).replace("\\\n", " ");
    text.lines().filter_map(|line| line.strip_prefix(word)).map(|rest| rest.trim().to_owned()).collect()
}

fn exposed(file: &str) -> Vec<(String, String)> {
    let lines = instructions(file, "EXPOSE").join(" ");
    let pairs = lines.split_whitespace().map(|port| port.split_once('/').unwrap());
    pairs.map(|(range, protocol)| (range.to_owned(), protocol.to_owned())).collect()
}

/// Whether the port or range `inner` lies in the port or range `outer`.
fn contains(outer: &str, inner: &str) -> bool {
    let ends = |range: &str| -> (u16, u16) {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        (from.parse().unwrap(), to.parse().unwrap())
    };
    let ((from, to), (first, last)) = (ends(outer), ends(inner));
    from <= first && first <= last && last <= to
}

/// The quoted strings that follow `key`.
fn quoted_after(text: &str, key: &str) -> Vec<String> {
    text.split(key).skip(1).filter_map(|rest| rest.split('"').nth(1)).map(str::to_owned).collect()
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}
