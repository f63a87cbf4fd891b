//! `cargo xtask autobahn`: the Autobahn|Testsuite against `waterspout serve` and against our client library.
//!
//! # Layout
//! - `cases`: which cases there are, and which a person means
//! - `report`: what the suite says about a run, and whether that is good enough
//! - `running`: a program that runs beside this one
//! - `suite`: the suite itself and its interpreter, installed into target/tools

mod cases;
mod report;
mod running;
mod suite;

use std::{
    env, fs,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::{Value, json};

use self::{
    cases::{Case, Selection},
    report::{AGENT, Report},
    running::Running,
    suite::Suite,
};
use crate::{
    guests::Guests,
    step,
    toolchain::{self, Source},
    workspace,
};

/// For continuous integration: all but performance (9), and the first groups of compression.
const SHORT: &str = "1-8,10,12.1,13.1";

/// Options of `cargo xtask autobahn`.
#[derive(Args)]
pub(crate) struct Autobahn {
    /// Test only this side [default: both]
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// Which cases: sections, ranges of sections, groups, single cases, as in `1-8,10,12.1,6.4.3`
    #[arg(long, value_name = "LIST", default_value = "1-13")]
    cases: Selection,
    /// Only the cases for continuous integration: 1-8,10,12.1,13.1
    #[arg(long, conflicts_with = "cases")]
    short: bool,
    /// Test programs built with optimizations
    #[arg(long)]
    release: bool,
    /// How long the suite may take, in minutes
    #[arg(long, value_name = "NUMBER", default_value_t = 60)]
    minutes: u32,
}

/// Which side of the connections is ours.
#[derive(Clone, Copy, ValueEnum)]
enum Role {
    /// `waterspout serve`
    Server,
    /// Our client library, by `autobahn-client` of the tests
    Client,
}

/// One run of the suite.
struct Run<'a> {
    suite: &'a Suite,
    /// What is tested.
    program: PathBuf,
    /// Where reports and logs go.
    folder: PathBuf,
    deadline: Instant,
}

impl Autobahn {
    /// Whether every case passed.
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let Selection(cases) = if self.short { SHORT.parse()? } else { self.cases.clone() };
        let roles = self.role.map_or(vec![Role::Server, Role::Client], |role| vec![role]);
        let suite = Suite::setup()?;
        // All of it first: no time is lost on cases if something does not build.
        let programs: Vec<_> = roles.iter().map(|role| role.build(self.release)).collect::<Result<_>>()?;

        let deadline = Instant::now() + Duration::from_secs(60 * u64::from(self.minutes));
        let names: Vec<_> = cases.iter().map(Case::to_string).collect();
        let mut passes = true;
        for (role, program) in roles.into_iter().zip(programs) {
            let folder = workspace::target(workspace::root()).join("autobahn").join(role.name());
            // What an earlier run left is not this run's.
            if folder.exists() {
                fs::remove_dir_all(&folder).with_context(|| format!("cannot delete {}", folder.display()))?;
            }
            fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;

            let run = Run { suite: &suite, program, folder, deadline };
            let title = format!("Autobahn|Testsuite, our {}, {} cases", role.name(), names.len());
            step::show(&title, || match role {
                Role::Server => run.server(&names),
                Role::Client => run.client(&names),
            })?;
            let report = Report::read(&run.folder, &cases)?;
            report.print();
            println!("  the suite's report: {}", run.folder.join("index.html").display());
            println!("{}: {}", role.name(), if report.passes() { "passed" } else { "FAILED" });
            passes &= report.passes();
        }
        Ok(if passes { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }

    fn build(self, release: bool) -> Result<PathBuf> {
        match self {
            Self::Server => {
                Guests::default().run_with(&toolchain::setup(Source::Auto)?)?;
                build("waterspout", release)
            }
            Self::Client => build("autobahn-client", release),
        }
    }
}

impl Run<'_> {
    fn server(&self, cases: &[String]) -> Result<()> {
        let mut serve = Command::new(&self.program);
        serve.args(["serve", "--config"]).arg(suite::folder().join("waterspout.toml"));
        let mut server = Running::start("waterspout", &self.folder.join("waterspout.log"), &mut serve)?;
        let url = server.printed(self.deadline, |output| {
            let line = output.split_inclusive('\n').find_map(|line| line.strip_prefix("listening on "))?;
            line.strip_suffix('\n').map(ToOwned::to_owned)
        })?;

        let spec = json!({
            "outdir": self.folder,
            "servers": [{ "agent": AGENT, "url": url }],
            "cases": cases,
            "exclude-cases": [],
        });
        self.start_suite("fuzzingclient", &spec)?.finish(self.deadline)?;
        server.stop()
    }

    fn client(&self, cases: &[String]) -> Result<()> {
        let url = format!("ws://{}:{}", Ipv4Addr::LOCALHOST, free_port()?);
        let spec = json!({ "outdir": self.folder, "url": url, "cases": cases, "exclude-cases": [] });
        let mut suite = self.start_suite("fuzzingserver", &spec)?;
        suite.printed(self.deadline, |output| output.contains(LISTENS).then_some(()))?;

        let mut client = Command::new(&self.program);
        client.arg(url).arg(AGENT);
        Running::start("autobahn-client", &self.folder.join("client.log"), &mut client)?
            .finish(self.deadline)?;
        suite.stop()
    }

    fn start_suite(&self, mode: &str, spec: &Value) -> Result<Running> {
        let file = self.folder.join("spec.json");
        fs::write(&file, spec.to_string()).with_context(|| format!("cannot write {}", file.display()))?;
        Running::start("wstest", &self.folder.join("wstest.log"), &mut self.suite.wstest(mode, &file))
    }
}

/// What tests/autobahn/wstest.py prints once a fuzzing server accepts connections.
const LISTENS: &str = "accepting connections\n";

/// A port that was free a moment ago: the suite cannot be asked to choose one.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    Ok(listener.local_addr()?.port())
}

/// A line of `cargo build --message-format json`.
#[derive(Deserialize)]
struct Artifact {
    executable: PathBuf,
}

/// Builds a program, and tells where it is. With the features that the whole workspace needs: what tests were built with is not
/// built again.
fn build(program: &str, release: bool) -> Result<PathBuf> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace::root()).args(["build", "--workspace", "--bin", program]);
    cargo.args(["--message-format", "json-render-diagnostics"]).stderr(Stdio::inherit());
    if release {
        cargo.arg("--release");
    }
    let messages = step::output(&mut cargo)?;
    let mut artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
    let artifact = artifacts.find(|artifact| artifact.executable.ends_with(program));
    artifact.map(|artifact| artifact.executable).with_context(|| format!("cargo has not built {program}"))
}
