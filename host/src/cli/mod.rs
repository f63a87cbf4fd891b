//! The command line: arguments, logging, exit codes (0 fine, 1 the user's mistake, 2 ours).

mod admin_client;
mod build;
mod check;
mod connect;
mod deploy;
mod dev;
#[cfg(target_os = "linux")]
mod huge_pages;
#[cfg(not(target_os = "linux"))]
#[path = "no_huge_pages.rs"]
mod huge_pages;
mod new;
mod pin;
mod progress;
mod project;
mod reload;
mod rollback;
mod route_command;
mod sandbox;
mod serve;
mod supervisor;
mod swap_report;
mod takeover;
mod versions;
mod wit;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;
use waterspout::compiler::{WORKER_COMMAND, worker_main};
use waterspout::{ChildCompiler, CompileLimits, Compiler, NotLoaded, Route};

/// Runs WebSocket handlers that are WebAssembly components.
///
/// Without a command: `serve` with an embedded echo handler.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// What is logged on stderr: error, warn, info, debug or trace, or directives such as `info,guest=off`
    #[arg(long, global = true, default_value = "info", value_name = "FILTER", help_heading = "Logging")]
    log: String,
    /// How records are written
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Logging")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Accept WebSocket connections and call a sandboxed handler for each
    Serve(Box<serve::Serve>),
    /// Write a project for a handler of your own
    New(new::New),
    /// Build a handler's project, and check the component
    Build(build::Build),
    /// Build a handler's project and serve it; build it again, and swap it, whenever its sources change
    Dev(dev::Dev),
    /// Tell which world a handler implements, what it imports, and what is missing
    Check(check::Check),
    /// Talk to a WebSocket server: lines in, messages out
    Connect(connect::Connect),
    /// Put a new version of a handler into its place on a running server
    Deploy(deploy::Deploy),
    /// Tell which versions of its handler each route of a running server has
    Versions(versions::Versions),
    /// Put the version that was served before back; where there is a canary, end it
    Rollback(route_command::RouteCommand),
    /// Give a canary all connections
    Promote(route_command::RouteCommand),
    /// Keep a route's current version, whoever brings another
    Pin(pin::Pin),
    /// Let other versions take the place of a pinned one again
    Unpin(route_command::RouteCommand),
    /// Write the interface that handlers implement (WIT), to generate bindings to it in any language
    Wit(wit::Wit),
    /// Compile one handler: the host's own use
    #[command(name = WORKER_COMMAND, hide = true)]
    CompileWorker {
        #[arg(trailing_var_arg = true)]
        arguments: Vec<OsString>,
    },
}

/// An error whose cause is ours rather than the user's.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Internal(String);

pub(crate) fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let mistaken = error.use_stderr();
            // Nothing to be done where the terminal is gone.
            let _ = error.print();
            return if mistaken { ExitCode::from(1) } else { ExitCode::SUCCESS };
        }
    };
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("waterspout: {error:#}");
            ExitCode::from(if error.is::<Internal>() { 2 } else { 1 })
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    // A compiler confines itself before it does anything else; its log is the host's.
    if !matches!(arguments.command, Some(Command::CompileWorker { .. })) {
        start_logging(&arguments)?;
    }
    match arguments.command {
        Some(Command::Serve(serve)) => serve.run()?,
        Some(Command::New(new)) => new.run()?,
        Some(Command::Build(build)) => build.run()?,
        Some(Command::Dev(dev)) => dev.run()?,
        Some(Command::Check(check)) => check.run()?,
        Some(Command::Wit(wit)) => wit.run()?,
        Some(Command::Connect(connect)) => connect.run()?,
        Some(Command::Deploy(deploy)) => deploy.run()?,
        Some(Command::Versions(versions)) => versions.run()?,
        Some(Command::Rollback(command)) => rollback::roll_back(command)?,
        Some(Command::Promote(command)) => rollback::promote(command)?,
        Some(Command::Pin(pin)) => pin.run()?,
        Some(Command::Unpin(command)) => pin::unpin(command)?,
        Some(Command::CompileWorker { arguments }) => return Ok(worker_main(arguments)),
        None => serve::Serve::default().run()?,
    }
    Ok(ExitCode::SUCCESS)
}

/// `max-instances` where one instance runs at most: a component with several linear memories takes the places of as many ordinary ones.
const PLACES_OF_ONE: u32 = 64;

/// This program, started again for each handler.
///
/// `sandboxed`: a system that cannot confine the compiler has it refuse.
fn compiler(limits: CompileLimits, sandboxed: bool) -> anyhow::Result<Compiler> {
    let compiler = ChildCompiler::of_this_program(limits).map_err(|error| {
        Internal(format!("the system does not say which program this is, to start it for compiling: {error}"))
    })?;
    Ok(Compiler::Child(ChildCompiler { require_confinement: sandboxed, ..compiler }))
}

/// What is wrong with routes that have no handler: a line for each.
fn not_loaded<'a>(
    file: Option<&Path>,
    routes: impl IntoIterator<Item = (&'a Route, &'a NotLoaded)>,
) -> anyhow::Error {
    let sentence = |(route, missing): (&Route, &NotLoaded)| match file {
        Some(file) => format!("{}: in route `{}`: {missing}", file.display(), route.name),
        None => missing.to_string(),
    };
    let sentences: Vec<String> = routes.into_iter().map(sentence).collect();
    anyhow::anyhow!(sentences.join("\nwaterspout: "))
}

/// Writes a line for the user. Whoever closed the pipe does not want it: that is no error.
fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Writes what another program is to read, as it is.
fn say_raw(bytes: &[u8]) {
    let _ = std::io::stdout().write_all(bytes);
}

/// Enough of a SHA-256 for a person, as in the log.
fn short_digest(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}

fn start_logging(arguments: &Arguments) -> anyhow::Result<()> {
    // What these say at `debug` they say for every frame: only who names them gets it.
    let filter =
        EnvFilter::try_new(format!("h2=info,hyper=info,rustls=info,{}", arguments.log)).map_err(|error| {
            anyhow::anyhow!("--log {}: {error}: try `debug` or `info,guest=off`", arguments.log)
        })?;
    let logging = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match arguments.log_format {
        LogFormat::Text => logging.init(),
        LogFormat::Json => logging.json().flatten_event(true).init(),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_documentation_has_every_flag() {
        let page = include_str!("../../../docs/configuration.md");
        let command = Arguments::command();
        let commands = command.get_subcommands().chain([&command]);
        for flag in commands.flat_map(clap::Command::get_arguments).filter_map(clap::Arg::get_long) {
            assert!(page.contains(&format!("`--{flag}")), "docs/configuration.md lacks --{flag}");
        }
    }

    /// `waterspout::server::tls` is src/server/tls.rs, or a folder.
    #[test]
    fn the_targets_that_the_documentation_names_are_there() {
        let page = include_str!("../../../docs/operating.md");
        let targets = page.split(['`', '"', ' ']).filter_map(|word| word.strip_prefix("waterspout::"));
        let mut count = 0;
        for target in targets.map(|target| target.trim_end_matches(':')) {
            let path =
                std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(target.replace("::", "/"));
            assert!(path.with_extension("rs").is_file() || path.is_dir(), "docs/operating.md names {target}");
            count += 1;
        }
        assert!(count > 20, "{count}");
    }
}
