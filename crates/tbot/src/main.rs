//! See `tbot::program`.

fn main() -> std::process::ExitCode {
    tbot::program::main()
}
