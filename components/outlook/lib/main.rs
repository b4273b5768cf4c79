//! The process of the Microsoft Outlook component.

use std::process::ExitCode;

fn main() -> ExitCode {
    sailor::main(outlook::component)
}
