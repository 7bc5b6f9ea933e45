//! Runs the fuzz targets on the kept inputs and on those of earlier findings, so that a finding stays mended.

use std::fs;
use std::path::Path;

use crate::fuzz_targets::TARGETS;

#[test]
fn the_properties_of_the_fuzz_targets_hold_for_the_kept_inputs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    for (name, run) in TARGETS {
        let mut inputs = 0;
        for folder in ["corpus", "findings"] {
            for file in fs::read_dir(root.join(folder).join(name)).into_iter().flatten() {
                let path = file.unwrap().path();
                let bytes = fs::read(&path).unwrap();
                let result = std::panic::catch_unwind(|| run(&bytes));
                assert!(result.is_ok(), "the target {name} fails for {}", path.display());
                inputs += 1;
            }
        }
        assert!(inputs > 0, "the target {name} has no inputs");
    }
}

#[test]
fn the_fuzz_targets_hold_for_short_inputs() {
    for (_, run) in TARGETS {
        for length in 0..8 {
            for byte in [0, 1, 4, b'\n', b'"', b'{', 0xff] {
                run(&vec![byte; length]);
            }
        }
    }
}
