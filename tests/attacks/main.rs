//! The attack suite: for every line of "who attacks, with what" an attack, beside a well-behaved tenant that must not notice.
//!
//! The host is the program itself, in a process of its own. Attacks run one after another, because each measures: the victim's
//! latency before and under attack, the host's memory before, at its peak and after. Each runs once more without the limit that
//! stops it, and must then do harm: an attack that never does any shows nothing.
//!
//! A program of its own instead of libtest's tests, for they run side by side. Arguments: `--program FILE` (the host; otherwise that beside
//! this test in the target folder), `--long` (5 s of attack instead of one), `--strict` (the victim's p99 within twice its quiet p99 + 5 ms), `--list`,
//! and parts of names.
//!
//! # Layout
//! - `attack`: what an attack is
//! - `program`: the host's process
//! - `victim`: the well-behaved tenant's clients
//! - `field`: what clients of attacks do
//! - `handlers`: handlers that no compiler makes
//! - `hostile`: a server for handlers that connect
//! - `tenants`, `peers`, `servers`: the attacks
//! - `trial`: one attack from start to verdict

#![cfg_attr(not(target_os = "linux"), allow(dead_code, unused_imports))]

mod attack;
mod field;
mod handlers;
mod hostile;
mod peers;
mod program;
mod servers;
mod tenants;
mod trial;
mod victim;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use waterspout_tests::Identity;

use crate::attack::Attack;
use crate::program::Workshop;
use crate::trial::{Form, Row};

/// What the command line says.
#[derive(Default)]
struct Arguments {
    program: Option<PathBuf>,
    long: bool,
    strict: bool,
    list: bool,
    names: Vec<String>,
}

impl Arguments {
    fn from_command_line() -> Result<Self> {
        let mut this = Self::default();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--program" => this.program = Some(words.next().context("--program needs a file")?.into()),
                "--long" => this.long = true,
                "--strict" => this.strict = true,
                "--list" => this.list = true,
                // What `cargo test -- ...` gives to all test binaries alike.
                option if option.starts_with('-') => {}
                name => this.names.push(name.to_owned()),
            }
        }
        Ok(this)
    }

    fn chooses(&self, attack: &Attack) -> bool {
        self.names.is_empty() || self.names.iter().any(|name| attack.name.contains(name.as_str()))
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn run() -> Result<bool> {
    println!("SKIPPED: the attack suite reads memory from Linux's /proc");
    Ok(true)
}

#[cfg(target_os = "linux")]
fn run() -> Result<bool> {
    let arguments = Arguments::from_command_line()?;
    let groups = tenants::ATTACKS.iter().chain(peers::ATTACKS).chain([&servers::ATTACKS]);
    let attacks: Vec<&Attack> =
        groups.copied().flatten().filter(|attack| arguments.chooses(attack)).collect();
    if arguments.list {
        for attack in &attacks {
            println!("{}: test", attack.name);
        }
        return Ok(true);
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("attacks-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let workshop = Workshop {
        program: match &arguments.program {
            Some(program) => program.clone(),
            None => beside_this_test()?,
        },
        folder,
        guests: Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/guests").canonicalize()?,
        hostile: hostile::start().context("no port for the hostile server")?,
        identity: Arc::new(Identity::new(&["localhost", program::ATTACKER])),
    };
    let form = Form {
        quiet: Duration::from_millis(if arguments.long { 3000 } else { 600 }),
        attack: Duration::from_millis(if arguments.long { 5000 } else { 1000 }),
        forgiven: Duration::from_millis(match (arguments.strict, arguments.long) {
            (true, _) => 5,
            (false, true) => 250,
            // On a machine on which others build, a quiet p99 of 1 ms has become 230 ms by chance.
            (false, false) => 500,
        }),
        // What the allocator keeps depends on where the peak was, and on how many threads: it is told in the table.
        kept_kibibytes: if arguments.long || arguments.strict { 48 << 10 } else { 128 << 10 },
    };
    let began = Instant::now();
    println!("\nrunning {} attacks", attacks.len());
    let mut rows = Vec::new();
    for attack in &attacks {
        let once = || trial::run(attack, &workshop, &form).with_context(|| attack.name.to_owned());
        let mut row = once()?;
        if !row.failures.is_empty() && !arguments.long && !arguments.strict {
            // A second of an attack on a machine on which others build may go wrong by chance; twice is none.
            println!("test {} ... once more: {}", row.name, row.failures.join("; "));
            row = once()?;
        }
        println!("test {} ... {}", row.name, if row.failures.is_empty() { "ok" } else { "FAILED" });
        for failure in &row.failures {
            println!("    {failure}");
        }
        rows.push(row);
    }
    std::fs::remove_dir_all(&workshop.folder).ok();
    tell(&rows);
    for line in NOT_TRIED {
        println!("not tried: {line}");
    }
    let failed = rows.iter().filter(|row| !row.failures.is_empty()).count();
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {} passed; {failed} failed; 0 ignored; finished in {:.1?}",
        rows.len() - failed,
        began.elapsed()
    );
    Ok(failed == 0)
}

/// Lines that have no attack here, and why.
const NOT_TRIED: &[&str] = &[
    "a name that leads elsewhere when it is asked again: a story of outgoing connections, with a resolver of its own",
];

/// The program in the target folder of this test, which `cargo test --workspace` and `cargo build` build.
fn beside_this_test() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let profile = test.parent().and_then(Path::parent).context("tests lie in target/PROFILE/deps")?;
    let program = profile.join("waterspout");
    if !program.exists() {
        bail!("{} is missing: `cargo build --package waterspout` makes it", program.display());
    }
    Ok(program)
}

/// The table, in Markdown.
fn tell(rows: &[Row]) {
    println!(
        "\n| attack | what the host did | p99 quiet → attacked | max | newcomer | strict | MiB before, peak, after | processors | without the limit |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for row in rows {
        let ms = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e3);
        let cell = |text: &str| text.replace('|', "/");
        println!(
            "| {} | {} | {} → {} ms | {} ms | {} ms | {} | {}, {}, {} | {:.1} | {} |",
            row.name,
            cell(&row.did),
            ms(row.quiet.p99),
            ms(row.attacked.p99),
            ms(row.attacked.max),
            ms(row.attacked.newcomer),
            if row.is_strictly_fine() { "yes" } else { "NO" },
            row.before.kibibytes >> 10,
            row.peak_kibibytes >> 10,
            row.after.kibibytes >> 10,
            row.processor,
            cell(&row.hurt),
        );
    }
}
