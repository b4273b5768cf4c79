//! Salesforce over its REST API.

mod component;

use std::process::ExitCode;

fn main() -> ExitCode {
    sailor::main(component::component)
}
