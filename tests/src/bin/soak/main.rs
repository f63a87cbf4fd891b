//! The program under mixed load and attacks for so long: whoever behaves well loses nothing, memory is flat, and when all have
//! left nothing is held any more.
//!
//! `cargo xtask soak` builds what this needs and starts it.
//!
//! # Layout
//! - `program`: the program as a child, with two tenants
//! - `usage`: what Linux tells about it, and how fast its memory grows
//! - `peer`: one connection of a client
//! - `tally`: what clients count
//! - `load`: those who behave well
//! - `attacks`: those who do not

mod attacks;
mod load;
mod peer;
mod program;
mod tally;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::program::Program;
use crate::tally::Tally;
use crate::usage::{Sample, Trend, Usage};

#[derive(Parser)]
#[command(name = "soak", about = "The program under mixed load and attacks")]
struct Options {
    /// The waterspout program
    #[arg(long)]
    program: PathBuf,
    /// Where `cargo xtask guests` has put the handlers
    #[arg(long)]
    guests: PathBuf,
    /// Where configuration and log are written
    #[arg(long)]
    folder: PathBuf,
    /// How long the load lasts
    #[arg(long, default_value_t = 15)]
    minutes: u32,
    /// How fast resident memory may grow in the second half, in KiB a minute
    #[arg(long, default_value_t = 1024.0)]
    max_slope: f64,
}

/// How often the program is looked at.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long it may take until nothing of those who have left is held: longer than the time-outs of its configuration.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> ExitCode {
    // Dropped, the program that it has started is killed.
    let done = tokio::select! {
        done = run(Options::parse()) => done,
        () = interrupted() => Err(anyhow::anyhow!("interrupted")),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn interrupted() {
    let mut terminate = signal(SignalKind::terminate()).expect("the runtime has signals");
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

async fn run(options: Options) -> Result<bool> {
    let mut program = Program::start(&options.program, &options.guests, &options.folder).await?;
    let (tally, (stop, stopped)) = (Arc::new(Tally::default()), watch::channel(false));
    load::first(program.address).await.context("the first connections")?;
    let before = settled(&program, None).await?;
    println!("before: {before}");
    println!("{}", Sample::HEADING);

    let mut clients = JoinSet::new();
    load::start(&mut clients, program.address, &tally, &stopped);
    attacks::start(&mut clients, program.address, &tally, &stopped);
    let began = Instant::now();
    let end = began + Duration::from_secs(u64::from(options.minutes) * 60);
    let mut samples = Vec::new();
    while Instant::now() < end {
        tokio::time::sleep_until((Instant::now() + INTERVAL).min(end)).await;
        program.lives()?;
        let sample = Sample { at: began.elapsed(), usage: program.usage()?, counts: tally.counts() };
        println!("{sample}");
        samples.push(sample);
    }
    stop.send_replace(true);
    while let Some(ended) = clients.join_next().await {
        ended.context("a client of the soak panicked")?;
    }
    let after = settled(&program, Some(&before)).await?;
    println!("after:  {after}");

    let second_half = &samples[samples.len() / 2..];
    let trend = Trend::of(second_half);
    let checks = [
        (
            !trend.exceeds(options.max_slope),
            format!(
                "resident memory grew by {:.0} ± {:.0} KiB a minute in the second half; up to {:.0} is flat",
                trend.slope, trend.error, options.max_slope
            ),
        ),
        (
            after.descriptors <= before.descriptors,
            format!("descriptors: {} before, {} after", before.descriptors, after.descriptors),
        ),
        (tally.errors() == 0, format!("errors of those who behave well: {}", tally.errors())),
        (program.panics()? == 0, format!("panics in the program's log: {}", program.panics()?)),
    ];
    println!("{tally}");
    let ended = program.end().await;
    let mut fine = true;
    for (held, text) in &checks {
        println!("{}  {text}", if *held { "ok    " } else { "FAILED" });
        fine &= held;
    }
    for error in tally.first_errors() {
        println!("        {error}");
    }
    if let Err(error) = ended {
        println!("FAILED  {error:#}");
        fine = false;
    }
    Ok(fine)
}

/// What the program uses once nothing changes any more; or, after `before`, once it holds no more descriptors than then.
async fn settled(program: &Program, before: Option<&Usage>) -> Result<Usage> {
    let deadline = Instant::now() + PATIENCE;
    let mut last = program.usage()?;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let usage = program.usage()?;
        let quiet = match before {
            Some(before) => usage.descriptors <= before.descriptors,
            None => usage.descriptors == last.descriptors && usage.sockets == last.sockets,
        };
        if quiet || Instant::now() >= deadline {
            return Ok(usage);
        }
        last = usage;
    }
}
