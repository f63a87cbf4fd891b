//! The `waterspout` program.

mod cli;

/// Gives memory back after a flood. glibc's arenas keep the peak of each thread: under mixed load and attacks resident memory went on growing,
/// and stayed (docs/testing.md has the figures).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    give_memory_back_soon();
    cli::main()
}

/// What is free goes back to the system after so many milliseconds, and not after a second: meanwhile fresh memory is taken, and a single peer
/// whose messages inflate to megabytes made the process a gigabyte larger than what is counted. `MIMALLOC_PURGE_DELAY` overrules it.
#[allow(unsafe_code)]
fn give_memory_back_soon() {
    const MILLISECONDS: std::ffi::c_long = 10;
    /// `mi_option_purge_delay`: the bindings do not name it, but the option that follows it in mimalloc's list, in versions 2 and 3.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = libmimalloc_sys::mi_option_use_numa_nodes - 1;
    // SAFETY: it stores a number, may be called at any time, and the option is one of the list.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, MILLISECONDS) };
}
