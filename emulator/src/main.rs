//! The command `emulator`.

fn main() -> std::process::ExitCode {
    emulator::main()
}
