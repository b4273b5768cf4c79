//! The component `orders` of `test-support` as a process, for the tests of recordings.

fn main() -> std::process::ExitCode {
    sailor::main(test_support::orders::component)
}
