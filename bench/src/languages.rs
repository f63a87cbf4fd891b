//! What a handler costs in each language: its size, its build, its instances, its messages and its memory, all in one run.
//!
//! Of each language the echo that `waterspout new` writes is built by its README's words, changed and built again, and then served; the
//! native echo is the row without a handler. The languages' tools must be in the shell: `cargo xtask setup --lang` tells how.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::figures::{median, micros};
use crate::folder::Folder;
use crate::machine;
use crate::server::Server;
use crate::talk::Talk;

/// How often what is found in the first table column is asked for.
const VISITS: usize = 200;
/// Texts that are under way at once where the cost of one is measured, and for how long.
const IN_FLIGHT: usize = 16;
const MEASURED: Duration = Duration::from_secs(2);
/// Connections whose memory is measured, each with an instance of its own, and how long they rest before.
const RESTING: usize = 50;
const SETTLE: Duration = Duration::from_secs(1);

/// The arguments of `waterspout-bench languages`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The waterspout program
    #[arg(long, default_value = "target/release/waterspout")]
    waterspout: PathBuf,
    /// The languages, as `waterspout new --lang` takes them
    #[arg(long, value_delimiter = ',', default_value = "rust,js,python,c,go")]
    languages: Vec<String>,
}

/// How long the builds of a project took.
struct Built {
    component: PathBuf,
    /// By its README's words, with all that it fetches.
    first: Duration,
    /// After a change.
    again: Duration,
}

/// What a server costs.
struct Served {
    first: Duration,
    /// The median of all others.
    warm: Duration,
    /// The server's processor time.
    per_message: Duration,
    per_connection_bytes: f64,
}

/// The `languages` command.
pub(crate) fn run(options: &Options) -> Result<()> {
    let waterspout = std::path::absolute(&options.waterspout)?;
    ensure!(
        waterspout.is_file(),
        "{}: no such file\nhint: build it: cargo build --release -p waterspout",
        waterspout.display()
    );
    println!("{}", machine::describe());
    println!(
        "| language | component | compiled | first build | again | first connection | later ones | a message | memory |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut native = Command::new(std::env::current_exe()?);
    native.args(["native", "--listen", "127.0.0.1:0"]);
    let native = measure(native).context("measuring the native echo")?;
    println!("| none: a native echo | | | | | {} |", cells(&native));
    let folder = Folder::new()?;
    for language in &options.languages {
        let row =
            row(&waterspout, language, folder.path()).with_context(|| format!("measuring {language}"))?;
        println!("{row}");
    }
    println!(
        "\nconnections: from TCP's first packet to the first answer; a message: the server's processor time for a text of 16 bytes, {IN_FLIGHT} under way; memory: PSS of an idle connection with an instance of its own"
    );
    Ok(())
}

fn row(waterspout: &Path, language: &str, folder: &Path) -> Result<String> {
    let project = folder.join(language);
    let built = build(waterspout, language, &project)?;
    let component = fs::metadata(&built.component)?.len();
    let cache = project.join("target/cache");
    let serve = || {
        let mut serve = Command::new(waterspout);
        serve.args(["--log", "error", "serve", "--no-page", "--listen", "127.0.0.1:0"]).arg(&built.component);
        // What is measured is not the compiler.
        serve.env("XDG_CACHE_HOME", &cache);
        serve
    };
    drop(Server::spawn(serve())?);
    let served = measure(serve())?;
    Ok(format!(
        "| {language} | {} | {} | {:.1?} | {:.1?} | {} |",
        kilobytes(component),
        kilobytes(size_of(&cache)?),
        built.first,
        built.again,
        cells(&served)
    ))
}

fn cells(served: &Served) -> String {
    let micros = |time: Duration| micros(time.as_secs_f64() * 1e6);
    format!(
        "{} | {} | {:.2} µs | {:.0} KiB",
        micros(served.first),
        micros(served.warm),
        served.per_message.as_secs_f64() * 1e6,
        served.per_connection_bytes / 1024.0
    )
}

fn kilobytes(bytes: u64) -> String {
    format!("{} KB", bytes.div_ceil(1000))
}

/// Writes a project, builds it, changes it, and builds it again.
fn build(waterspout: &Path, language: &str, project: &Path) -> Result<Built> {
    let parent = project.parent().context("a project lies in a folder")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    finish(Command::new(waterspout).args(["new", language, "--lang", language]).current_dir(parent))?;
    let readme = fs::read_to_string(project.join("README.md")).context("the project has no README")?;
    let build = readme.split('`').nth(1).context("the project's README has no command")?;
    let began = Instant::now();
    finish(Command::new("sh").args(["-c", build]).current_dir(project))?;
    let first = began.elapsed();
    // Not measured: what the README has somebody install by hand, pip looks through once.
    finish(Command::new(waterspout).arg("build").arg(project))?;
    change(project)?;
    let began = Instant::now();
    finish(Command::new(waterspout).arg("build").arg(project))?;
    Ok(Built {
        component: project.join(language).with_added_extension("wasm"),
        first,
        again: began.elapsed(),
    })
}

/// Another text in the echo's source, wherever that is.
fn change(project: &Path) -> Result<()> {
    for folder in [project.to_owned(), project.join("src")] {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for file in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let Ok(text) = fs::read_to_string(&file) else { continue };
            if text.contains("You said: ") {
                return Ok(fs::write(&file, text.replace("You said: ", "You wrote: "))?);
            }
        }
    }
    bail!("no source in {} says `You said: `", project.display())
}

/// Runs a command whose output nobody needs unless it fails.
fn finish(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("running {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} has failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn measure(server: Command) -> Result<Served> {
    let server = Server::spawn(server)?;
    measure_server(&server).map_err(|error| server.explain(error))
}

fn measure_server(server: &Server) -> Result<Served> {
    let visit = || -> Result<(Duration, Talk)> {
        let began = Instant::now();
        let mut talk = Talk::open(&server.endpoint)?;
        talk.say(1)?;
        Ok((began.elapsed(), talk))
    };
    let (first, mut talk) = visit()?;
    let mut times = Vec::new();
    for _ in 0..VISITS {
        times.push(visit()?.0.as_secs_f64());
    }

    let before = machine::cpu_time(server.pid())?;
    let (began, mut messages) = (Instant::now(), 0);
    while began.elapsed() < MEASURED {
        talk.say(IN_FLIGHT)?;
        messages += IN_FLIGHT;
    }
    let cpu = machine::cpu_time(server.pid())? - before;

    let rested = || {
        std::thread::sleep(SETTLE);
        machine::usage(server.pid())
    };
    let base = rested()?;
    let mut resting = Vec::new();
    for _ in 0..RESTING {
        resting.push(visit()?.1);
    }
    let grown = rested()?.pss_bytes as f64 - base.pss_bytes as f64;
    for talk in &mut resting {
        talk.say(1).context("a resting connection has not lived")?;
    }
    Ok(Served {
        first,
        warm: Duration::from_secs_f64(median(times)),
        per_message: cpu.div_f64(messages as f64),
        per_connection_bytes: grown / RESTING as f64,
    })
}

/// Of all the files in a folder.
fn size_of(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let kind = entry.file_type()?;
        bytes += if kind.is_dir() { size_of(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native;

    #[test]
    fn the_echo_of_a_project_is_changed_wherever_it_is() {
        let folder = Folder::new().unwrap();
        let source = folder.path().join("src/handler.js");
        fs::create_dir_all(folder.path().join("src")).unwrap();
        fs::write(folder.path().join("package.json"), "{}").unwrap();
        fs::write(&source, "`You said: ${message}`").unwrap();
        change(folder.path()).unwrap();
        assert_eq!(fs::read_to_string(&source).unwrap(), "`You wrote: ${message}`");
        assert!(change(folder.path()).unwrap_err().to_string().contains("You said: "));
    }

    #[test]
    fn what_a_server_costs_is_more_than_nothing() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        runtime.spawn(native::serve(listener));
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("echo on {url}; exec sleep 1000")]);
        let served = measure(shell).unwrap();
        assert!(served.first > Duration::ZERO && served.warm > Duration::ZERO);
    }
}
