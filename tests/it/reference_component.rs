//! The reference component in memory, against the emulator's sample API.

use crate::component::component;
use emulator::platform::Platform;
use sailor::{
    Verified,
    testing::{Event, Harness, Verdict},
};
use serde_json::{Value, json};

#[test]
fn its_metadata_is_what_its_types_say() {
    let differences = component().unwrap().schema_differences(env!("CARGO_MANIFEST_DIR").as_ref());
    assert_eq!(differences, [""; 0], "mend with: cargo run -- schema --write");
}
