//! How fast and how small Waterspout is, beside a native echo that has no sandbox.
//!
//! One load generator for every server, every server in a process of its own, all in one run: absolute numbers
//! belong to the machine, only the ratios mean something. Nothing here is a test: a missed target is printed,
//! never an exit code.
//!
//! # Layout
//!
//! - `frames`: WebSocket frames as bytes, built once and parsed by hand
//! - `client`: the opening handshake from the client's side
//! - `native`: the peer, a tokio-tungstenite echo with Waterspout's buffers and its rule for flushing
//! - `load`: the load generator, one thread and one poll loop
//! - `accepts`: connections opened per second
//! - `machine`: what Linux tells about processors and processes, and pinning
//! - `server`: a server as a child process that never outlives the benchmark
//! - `memory`: resident memory per idle connection
//! - `compare`: all of it in turn, A B A B, and the tables

mod accepts;
mod client;
mod compare;
mod frames;
mod load;
mod machine;
mod memory;
mod native;
mod server;

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
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Native(options) => native::run(&options),
        Command::Load(options) => load::run(&options),
        Command::Compare(options) => compare::run(&options),
        Command::Memory(options) => compare::run_memory(&options),
        Command::Accepts(options) => compare::run_accepts(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
