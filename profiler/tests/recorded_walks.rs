//! Walks of real programs, recorded when another unwinder agreed with them, walked again. See `live_walks.rs` for how they
//! come to be.

mod recorded_walk;

use std::fs;

use recorded_walk::RecordedWalk;
use testbed::place;

#[test]
fn every_recorded_walk_leads_where_it_did() {
    let folder = place::package().join("tests/fixtures/walks");
    let mut walks = 0;
    for entry in fs::read_dir(&folder).expect("the recorded walks") {
        let path = entry.expect("the recorded walks").path();
        let text = fs::read_to_string(&path).expect("a recorded walk");
        let recorded: Vec<RecordedWalk> = serde_json::from_str(&text).expect("walks as JSON");
        for (number, walk) in recorded.iter().enumerate() {
            assert_eq!(&walk.replay(), walk.outcome(), "walk {number} of {}", path.display());
            walks += 1;
        }
    }
    assert!(walks >= 50, "only {walks} walks");
}
