//! How long a newcomer waits for a connection that is open, with spare instances and without, for any handler.
//!
//! Two servers that differ in nothing but `spare-instances` take turns. A newcomer connects, asks, says something when he has his 101, and
//! waits for whatever comes back: that is there when the handler's `open` has returned. Between two newcomers there is time to make another spare.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::client::Endpoint;
use crate::figures::{median, micros};
use crate::folder::Folder;
use crate::machine;
use crate::server::Server;
use crate::talk::Talk;

/// Newcomers whose times are not counted.
const WARM_UP: u32 = 5;

/// The arguments of `waterspout-bench openings`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The waterspout program
    #[arg(long, default_value = "target/release/waterspout")]
    waterspout: PathBuf,
    /// The handler; it must answer each text message
    #[arg(long, default_value = "target/guests/go-echo.wasm")]
    handler: PathBuf,
    /// The last segment of the path that is asked for, where the handler looks at it
    #[arg(long, default_value = "echo")]
    segment: String,
    /// Newcomers at each of the two servers
    #[arg(long, default_value = "200")]
    newcomers: NonZero<u32>,
    /// Spare instances of the server that has some
    #[arg(long, default_value = "4")]
    spares: NonZero<u32>,
    /// Milliseconds from one newcomer to the next
    #[arg(long, default_value = "20")]
    pause: u64,
    /// A line of the route's limits in the configuration, such as `max-memory-bytes = "128MiB"`; may be repeated
    #[arg(long = "limit", value_name = "LINE")]
    limits: Vec<String>,
}

/// What one newcomer waited for, in microseconds from before he connected.
#[derive(Clone, Copy)]
struct Waited {
    upgraded: f64,
    answered: f64,
}

/// The `openings` command.
pub(crate) fn run(options: &Options) -> Result<()> {
    for (file, hint) in [
        (&options.waterspout, "build it: cargo build --release -p waterspout"),
        (&options.handler, "build it: cargo xtask guests"),
    ] {
        if !file.is_file() {
            bail!("{}: no such file\nhint: {hint}", file.display());
        }
    }
    println!("{}", machine::describe());
    let folder = Folder::new()?;
    let counts = [0, options.spares.get()];
    let mut servers = Vec::new();
    for spares in counts {
        servers.push(start(&folder, options, spares)?);
    }
    let mut waited = [Vec::new(), Vec::new()];
    for number in 0..WARM_UP + options.newcomers.get() {
        for (server, waited) in servers.iter().zip(&mut waited) {
            std::thread::sleep(Duration::from_millis(options.pause));
            let newcomer =
                come(server, &options.segment).with_context(|| format!("newcomer {}", number + 1))?;
            if number >= WARM_UP {
                waited.push(newcomer);
            }
        }
    }
    println!("| spare instances | until the 101, median | 99 % | until it has answered, median | 99 % |");
    println!("|---|---|---|---|---|");
    for (spares, waited) in counts.into_iter().zip(&waited) {
        let of = |figure: fn(&Waited) -> f64| waited.iter().map(figure).collect::<Vec<_>>();
        let (upgraded, answered) = (of(|waited| waited.upgraded), of(|waited| waited.answered));
        println!(
            "| {spares} | {} | {} | {} | {} |",
            micros(median(upgraded.clone())),
            micros(ninety_nine(upgraded)),
            micros(median(answered.clone())),
            micros(ninety_nine(answered)),
        );
    }
    Ok(())
}

fn start(folder: &Folder, options: &Options, spares: u32) -> Result<Server> {
    let config = configure(folder.path(), options, spares)?;
    let mut command = Command::new(std::path::absolute(&options.waterspout)?);
    command.args(["--log", "warn", "serve", "--no-page", "--config"]).arg(&config);
    Server::spawn(command).context("starting waterspout")
}

fn configure(folder: &Path, options: &Options, spares: u32) -> Result<PathBuf> {
    let handler = std::path::absolute(&options.handler)?;
    let config = folder.join(format!("waterspout-{spares}.toml"));
    let text = format!(
        "listen = \"127.0.0.1:0\"\n[route.bench]\npath = \"/{{feature}}\"\nhandler = {:?}\nspare-instances = {spares}\n[route.bench.limits]\n{}\n",
        handler.display().to_string(),
        options.limits.join("\n"),
    );
    std::fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
    Ok(config)
}

/// One newcomer, who leaves when he has been answered.
fn come(server: &Server, segment: &str) -> Result<Waited> {
    let endpoint = Endpoint::parse(&format!("ws://{}/{segment}", server.endpoint.address))?;
    let began = Instant::now();
    let mut talk = Talk::open(&endpoint)?;
    let upgraded = began.elapsed();
    talk.say(1)?;
    let answered = began.elapsed();
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    Ok(Waited { upgraded: micros(upgraded), answered: micros(answered) })
}

/// What 99 of 100 stay within.
fn ninety_nine(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() * 99).div_ceil(100) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ninety_nine_of_a_hundred_stay_within_the_figure() {
        assert_eq!(ninety_nine((1..=200).rev().map(f64::from).collect()), 198.0);
        assert_eq!(ninety_nine(vec![7.0]), 7.0);
    }
}
