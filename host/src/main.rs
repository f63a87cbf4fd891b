//! The `waterspout` program.

mod cli;

/// Gives memory back after a flood. glibc's arenas keep the peak of each thread: under mixed load and attacks resident memory went on growing,
/// and stayed (docs/testing.md has the figures).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
