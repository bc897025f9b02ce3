//! What the documents name is there: every test, every file and every link. A document that names a test which was
//! renamed, or a file which moved, fails here.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_test_that_a_document_names_is_in_the_tree() {
    let mut functions = BTreeSet::new();
    for folder in SOURCES {
        functions_under(&root().join(folder), &mut functions);
    }
    assert!(functions.contains("every_test_that_a_document_names_is_in_the_tree"), "the tree is not read");
    let missing: Vec<String> = words()
        .into_iter()
        .filter(|(_, word)| is_test_name(word) && !functions.contains(word))
        .map(|(document, word)| format!("{document}: {word}"))
        .collect();
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
}

#[test]
fn every_file_that_a_document_names_is_in_the_tree() {
    let missing: Vec<String> = words()
        .into_iter()
        .filter(|(_, word)| is_path(word))
        // Where a table is about crates, their paths begin with the crate.
        .filter(|(_, word)| !root().join(word).exists() && !root().join("crates").join(word).exists())
        .map(|(document, word)| format!("{document}: {word}"))
        .collect();
    assert!(missing.is_empty(), "no such files: {missing:#?}");
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut missing = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            let far = target.starts_with("http:") || target.starts_with("https:") || file.is_empty();
            if !far && !document.parent().unwrap().join(file).exists() {
                missing.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(missing.is_empty(), "links to nowhere: {missing:#?}");
}

#[test]
fn the_readme_shows_what_the_embedding_example_does() {
    let example: Vec<String> = lines(&fs::read_to_string(root().join("examples/embed/src/main.rs")).unwrap());
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let snippet = readme.split("```rust\n").nth(1).unwrap().split("```").next().unwrap();
    for line in lines(snippet) {
        assert!(example.contains(&line), "README.md shows a line that examples/embed does not have: {line}");
    }
}

const SOURCES: [&str; 5] = ["crates", "xtask", "fuzz", "benches", "examples"];

fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

/// Test names are sentences; settings and functions that documents name are shorter.
fn is_test_name(word: &str) -> bool {
    let snake = word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    snake && word.matches('_').count() >= 3 && !word.starts_with("setu_")
}

fn is_path(word: &str) -> bool {
    let plain = word.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-./".contains(&b));
    let first = word.split('/').next().unwrap_or_default();
    let in_crate = ["/src", "/tests"].iter().any(|part| word.contains(part));
    let known = root().join(first).is_dir() || (in_crate && root().join("crates").join(first).is_dir());
    plain
        && word.contains('/')
        && known
        && !first.is_empty()
        && !word.starts_with(['.', '/'])
        && first != "target"
}

/// Every word in backticks, with its document.
fn words() -> Vec<(String, String)> {
    let mut words = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let mut fenced = false;
        for line in text.lines() {
            if line.starts_with("```") {
                fenced = !fenced;
            } else if !fenced {
                let name = document.strip_prefix(root()).unwrap().display().to_string();
                let spans = line.split('`').skip(1).step_by(2);
                words.extend(spans.map(|word| (name.clone(), word.to_owned())));
            }
        }
    }
    assert!(!words.is_empty(), "no document names anything");
    words
}

fn documents() -> Vec<PathBuf> {
    let mut documents: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "SECURITY.md"].map(|name| root().join(name)).into();
    let folder = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    documents.extend(folder.filter(|path| path.extension().is_some_and(|e| e == "md")));
    documents
}

fn functions_under(folder: &Path, found: &mut BTreeSet<String>) {
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            if !path.ends_with("target") {
                functions_under(&path, found);
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let names = text.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next());
            found.extend(names.map(str::to_owned));
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}
