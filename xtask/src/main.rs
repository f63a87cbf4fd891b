//! `cargo xtask`: what this repository needs beyond `cargo build`.
//!
//! # Layout
//! - `step`: one command, one line on the terminal, its output in a log file
//! - `workspace`: which packages there are, and where the target folder is
//! - `debian`: Debian packages unpacked into a folder, without root and without installing anything
//! - `toolchain`: a Rust that compiles to WebAssembly, from rustup or from Debian
//! - `component`: from core module to component
//! - `guests`: `cargo xtask guests`
//! - `languages`: the other languages' tools, and handlers in them
//! - `bindings`: `cargo xtask bindings`
//! - `clients`: the foreign WebSocket clients and servers that tests talk through and to
//! - `test`: `cargo xtask test`
//! - `bench`: `cargo xtask bench`
//! - `attacks`: `cargo xtask attacks`
//! - `autobahn`: `cargo xtask autobahn`
//! - `fuzz`: `cargo xtask fuzz`
//! - `soak`: `cargo xtask soak`

mod attacks;
mod autobahn;
mod bench;
mod bindings;
mod clients;
mod component;
mod debian;
mod fuzz;
mod guests;
mod languages;
mod soak;
mod step;
mod test;
mod toolchain;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{
    autobahn::Autobahn, bindings::Bindings, fuzz::Fuzz, guests::Guests, languages::Language, soak::Soak,
    toolchain::Source,
};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Waterspout's chores")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Get what building guests and testing with foreign clients needs (once; later runs change nothing)
    Setup {
        /// Where the compiler comes from
        #[arg(long, value_enum, default_value_t = Source::Auto)]
        toolchain: Source,
        /// Instead of all that, the tools of a language: of its SDK and its handlers here; may be repeated
        #[arg(long, value_enum, value_name = "LANGUAGE", conflicts_with = "toolchain")]
        lang: Vec<Language>,
    },
    /// Build the handlers of this repository to target/guests/NAME.wasm
    Guests(Guests),
    /// Make the generated parts of the SDKs for C and Go again
    Bindings(Bindings),
    /// Run the tests of a language's SDK
    Sdk {
        /// Which language's; may be repeated
        #[arg(long, value_enum, value_name = "LANGUAGE", required = true)]
        lang: Vec<Language>,
    },
    /// Compare with a native echo: throughput, connections a second, memory (`-- --help` tells how)
    Bench {
        /// Passed on to `waterspout-bench compare`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run the attack suite at length against the optimized host, and print its table
    Attacks {
        /// Passed on to the suite: parts of attacks' names, `--strict`, `--list`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run the Autobahn|Testsuite against the server and against the client library (its HTML goes to target/autobahn)
    Autobahn(Autobahn),
    /// Fuzz every target for so long: compression, handshakes, configuration files, host calls (needs a nightly compiler)
    Fuzz(Fuzz),
    /// Mixed load and attacks for so long: memory must be flat, and no descriptor left
    Soak(Soak),
    /// Setup, guests, then `cargo test` of everything that runs on this machine
    Test {
        /// Passed on to `cargo test`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Setup { lang, .. } if !lang.is_empty() => {
            languages::setup(&lang)?;
        }
        Command::Setup { toolchain, .. } => {
            toolchain::setup(toolchain)?;
            clients::setup()?;
        }
        Command::Bindings(bindings) => bindings.run()?,
        Command::Sdk { lang } => lang.into_iter().try_for_each(Language::test)?,
        Command::Guests(guests) => guests.run()?,
        Command::Bench { arguments } => return bench::run(&arguments),
        Command::Attacks { arguments } => return attacks::run(&arguments),
        Command::Autobahn(autobahn) => return autobahn.run(),
        Command::Fuzz(fuzz) => return fuzz.run(),
        Command::Soak(soak) => return soak.run(),
        Command::Test { arguments } => return test::run(&arguments),
    }
    Ok(ExitCode::SUCCESS)
}
