//! Every input the fuzzers ever found interesting is run again, and everything that once failed.

use std::fs;
use std::path::Path;

#[test]
fn corpora_are_replayed() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, target) in setu_fuzz::TARGETS {
        let folder = corpora.join(name);
        let mut inputs: Vec<_> = fs::read_dir(&folder)
            .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
            .map(|e| e.unwrap().path())
            .collect();
        inputs.sort();
        assert!(inputs.len() >= 10, "the corpus of {name} is nearly empty");
        for path in inputs {
            // A panic names the file: libtest prints what was written before it.
            println!("{}", path.display());
            target(&fs::read(&path).unwrap());
        }
    }
}
