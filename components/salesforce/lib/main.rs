//! The process of the Salesforce component.

use std::process::ExitCode;

fn main() -> ExitCode {
    sailor::main(salesforce::component)
}
