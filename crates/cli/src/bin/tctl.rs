//! `tctl`: administers a cluster.

fn main() -> std::process::ExitCode {
    cli::tctl::main()
}
