//! The process of the reference component.

use std::process::ExitCode;

fn main() -> ExitCode {
    sailor::main(reference_component::component)
}
