//! How fast and how small Waterspout is, beside a native echo that has no sandbox, and how fast it compresses, beside
//! servers that are in use for that.
//!
//! One load generator for every server, every server in a process of its own, all in one run: absolute numbers
//! belong to the machine, only the ratios mean something. Nothing here is a test: a missed target is printed,
//! never an exit code.
//!
//! # Layout
//!
//! - `random`: numbers that are the same in every run
//! - `chat`: what is said where messages are compressed
//! - `figures`: figures as a table shows them
//! - `deflate`: permessage-deflate from the client's side
//! - `frames`: WebSocket frames as bytes, built once and parsed by hand
//! - `client`: the opening handshake from the client's side
//! - `talk`: a connection on which whatever comes back is an answer
//! - `native`: the peer, a tokio-tungstenite echo with Waterspout's buffers and its rule for flushing
//! - `load`: the load generator, one thread and one poll loop
//! - `accepts`: connections opened per second
//! - `machine`: what Linux tells about processors and processes, and pinning
//! - `server`: a server as a child process that never outlives the benchmark
//! - `memory`: resident memory per idle connection
//! - `rounds`: servers in turn, A B A B, and the ratios between them
//! - `folder`: files of one run
//! - `openings`: how long a newcomer waits, with spare instances and without
//! - `languages`: what handlers cost in each language
//! - `swaps`: how long connections are without a handler when it is replaced
//! - `compressed`: the table of compressed echoes
//! - `compare`: what is compared with what, and the other tables
//!
//! The peers in other languages are scripts in `peers/`.

mod accepts;
mod chat;
mod client;
mod compare;
mod compressed;
mod deflate;
mod figures;
mod folder;
mod frames;
mod languages;
mod load;
mod machine;
mod memory;
mod native;
mod openings;
mod random;
mod rounds;
mod server;
mod swaps;
mod talk;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "waterspout-bench", version, about = "How fast and how small Waterspout is")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the native tokio-tungstenite echo that Waterspout is compared with
    Native(native::Options),
    /// Send messages to one server, check the echoes, and print rate and latency
    Load(load::Options),
    /// Compare everything: echo, connections opened per second, and memory
    Compare(compare::Options),
    /// Only resident memory per idle connection, native and Waterspout
    Memory(compare::MemoryOptions),
    /// Only connections opened per second, native and Waterspout
    Accepts(compare::AcceptsOptions),
    /// How long a newcomer waits for a connection that is open, with spare instances and without, for any handler
    Openings(openings::Options),
    /// How long connections are without a handler when it is replaced, for any handler
    Swaps(swaps::Options),
    /// What a handler costs in each language: size, build, instances, messages, memory
    Languages(languages::Options),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Native(options) => native::run(&options),
        Command::Load(options) => load::run(&options),
        Command::Compare(options) => compare::run(&options),
        Command::Memory(options) => compare::run_memory(&options),
        Command::Accepts(options) => compare::run_accepts(&options),
        Command::Openings(options) => openings::run(&options),
        Command::Swaps(options) => swaps::run(&options),
        Command::Languages(options) => languages::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
