//! Microsoft Outlook.

mod component;

use std::process::ExitCode;

fn main() -> ExitCode {
    sailor::main(component::component)
}
