//! No switch without its tests: one in the twin, which shows that the switch bites, and one here, which shows that
//! the bridge lives with it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use setu_twin::agent::Habits;
use setu_twin::meta::Quirks;

/// The names of a struct's fields.
fn fields(of: impl serde::Serialize) -> Vec<String> {
    serde_json::to_value(of).unwrap().as_object().unwrap().keys().cloned().collect()
}

/// Every word of code in `places`, Rust files and folders of such, relative to the package. Comments do not count.
fn words(places: &[&str]) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for place in places {
        let place = Path::new(env!("CARGO_MANIFEST_DIR")).join(place);
        let files = match fs::read_dir(&place) {
            Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
            Err(_) => vec![place],
        };
        for path in files.iter().filter(|path| path.extension().is_some_and(|e| e == "rs")) {
            let text = fs::read_to_string(path).unwrap();
            let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
            let of_line = |line: &str| {
                let parts = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                parts.map(str::to_owned).collect::<Vec<_>>()
            };
            words.extend(code.flat_map(of_line));
        }
    }
    words
}

#[test]
fn every_switch_of_metas_edge_is_tried_on_the_bridge_and_shown_to_bite() {
    let here = words(&["tests/quirks"]);
    let twins = words(&["../twin/src/meta/tests", "../twin/src/shell/tests.rs"]);
    for switch in fields(Quirks::default()) {
        assert!(here.contains(&switch), "no test of the bridge turns {switch}");
        assert!(twins.contains(&switch), "no test of the twin turns {switch}");
    }
}

#[test]
fn every_habit_of_agents_phones_is_tried_on_the_bridge() {
    let here = words(&["tests/quirks", "tests/simulation"]);
    for habit in fields(Habits::default()) {
        assert!(here.contains(&habit), "no test of the bridge has a phone with {habit}");
    }
}
