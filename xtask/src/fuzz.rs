//! `cargo xtask fuzz`: every target of every crate that has some, one after another, each for so long.
//!
//! What is found lies in `target/fuzz/found/`, beside the corpus rather than in it, until `--keep` adds what covers new code.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{
    guests, step,
    toolchain::{self, Source},
    workspace,
};

/// The version that the corpora were made with.
const CARGO_FUZZ: &str = "0.13.2";

/// One input that takes longer is a finding.
const TIMEOUT_SECONDS: u32 = 60;

/// Crates with a `fuzz` folder, and what watches over their memory.
const CRATES: [Fuzzed; 2] = [
    Fuzzed { folder: "deflate", sanitizer: "address" },
    // Guests run on stacks of their own, which AddressSanitizer cannot follow; the crate has no unsafe code but one call.
    Fuzzed { folder: "host", sanitizer: "none" },
];

struct Fuzzed {
    folder: &'static str,
    sanitizer: &'static str,
}

/// Options of `cargo xtask fuzz`.
#[derive(Args)]
pub(crate) struct Fuzz {
    /// How long each target runs
    #[arg(long, default_value_t = 2)]
    minutes: u32,
    /// Only this target; may be repeated
    #[arg(long, value_name = "NAME")]
    target: Vec<String>,
    /// Add to the corpus what covers code that it does not
    #[arg(long)]
    keep: bool,
}

/// One target of a crate.
struct Target {
    name: String,
    /// The crate's folder.
    folder: PathBuf,
    sanitizer: &'static str,
}

/// What libFuzzer said of one run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    runs: u64,
    /// Edges of the program's control flow that the inputs together have covered.
    coverage: u64,
    /// The inputs that crashed it, or took too long.
    findings: Vec<PathBuf>,
}

impl Fuzz {
    /// Fails if something was found.
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let targets = self.targets()?;
        require_nightly()?;
        let cargo_fuzz = cargo_fuzz()?;
        if targets.iter().any(|target| target.name == "imports") {
            let guest = workspace::root().join("tests/guests/interpreter");
            guests::Guests::of(guest).run_with(&toolchain::setup(Source::Auto)?)?;
        }
        let mut found = false;
        for target in &targets {
            let began = Instant::now();
            let told = target.run(&cargo_fuzz, self.minutes)?;
            let seconds = began.elapsed().as_secs();
            let Told { runs, coverage, findings } = &told;
            println!(
                "{:<14} {runs:>10} runs in {seconds} s, {coverage} edges covered, findings: {}",
                target.name,
                findings.len()
            );
            for finding in findings {
                println!("  {}\n  again: {}", finding.display(), target.again(&cargo_fuzz, finding));
            }
            found |= !findings.is_empty();
            if self.keep && findings.is_empty() {
                target.keep(&cargo_fuzz)?;
            }
        }
        Ok(if found { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn targets(&self) -> Result<Vec<Target>> {
        let mut all = Vec::new();
        for Fuzzed { folder, sanitizer } in CRATES {
            let folder = workspace::root().join(folder);
            let sources = folder.join("fuzz/fuzz_targets");
            let mut names: Vec<String> = fs::read_dir(&sources)
                .with_context(|| format!("cannot read {}", sources.display()))?
                .filter_map(|file| Some(file.ok()?.path().file_stem()?.to_str()?.to_owned()))
                .collect();
            names.sort_unstable();
            all.extend(names.into_iter().map(|name| Target { name, folder: folder.clone(), sanitizer }));
        }
        if let Some(unknown) =
            self.target.iter().find(|wanted| all.iter().all(|target| target.name != **wanted))
        {
            let names: Vec<_> = all.iter().map(|target| target.name.as_str()).collect();
            bail!("there is no target `{unknown}`; there are {}", names.join(", "));
        }
        all.retain(|target| self.target.is_empty() || self.target.contains(&target.name));
        Ok(all)
    }
}

impl Target {
    /// Builds it and runs it for so long.
    fn run(&self, cargo_fuzz: &Path, minutes: u32) -> Result<Told> {
        let found = self.found();
        fs::create_dir_all(&found).with_context(|| format!("cannot create {}", found.display()))?;
        let title = format!("building {} (minutes, the first time)", self.name);
        let log = |what: &str| workspace::log(&format!("fuzz-{what}-{}", self.name));
        step::run(&title, &log("build"), &mut self.cargo_fuzz(cargo_fuzz, "build"))?;

        let mut command = self.cargo_fuzz(cargo_fuzz, "run");
        command.arg(&found).arg(self.corpus()).arg("--");
        command.arg(format!("-max_total_time={}", minutes * 60));
        command.args(["-print_final_stats=1", &format!("-timeout={TIMEOUT_SECONDS}")]);
        let dictionary = self.folder.join("fuzz").join(&self.name).with_extension("dict");
        if dictionary.exists() {
            command.arg(format!("-dict={}", dictionary.display()));
        }
        let log = log("run");
        let ended = step::run(&format!("fuzzing {} for {minutes} min", self.name), &log, &mut command);
        let output = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
        let told = Told::read(&String::from_utf8_lossy(&output));
        // A finding is told below; anything else that fails is told here.
        if told.findings.is_empty() {
            ended?;
        }
        Ok(told)
    }

    /// Adds to the corpus what covers more.
    fn keep(&self, cargo_fuzz: &Path) -> Result<()> {
        let mut command = self.cargo_fuzz(cargo_fuzz, "run");
        command.arg(self.corpus()).arg(self.found());
        command.args(["--", "-set_cover_merge=1", "-use_counters=0"]);
        step::run(
            &format!("keeping what {} has found", self.name),
            &workspace::log(&format!("fuzz-keep-{}", self.name)),
            &mut command,
        )
    }

    fn cargo_fuzz(&self, cargo_fuzz: &Path, what: &str) -> Command {
        let mut command = Command::new(cargo_fuzz);
        command.current_dir(&self.folder).args([what, "--sanitizer", self.sanitizer, "--target-dir"]);
        command.arg(build_folder()).arg(&self.name);
        // Of whoever runs this, which is no nightly.
        command.env("RUSTUP_TOOLCHAIN", "nightly").env_remove("CARGO").env_remove("RUSTC");
        command
    }

    /// The command that runs one input again.
    fn again(&self, cargo_fuzz: &Path, input: &Path) -> String {
        format!(
            "cd {} && RUSTUP_TOOLCHAIN=nightly {} run --sanitizer {} --target-dir {} {} {}",
            self.folder.display(),
            cargo_fuzz.display(),
            self.sanitizer,
            build_folder().display(),
            self.name,
            input.display()
        )
    }

    fn corpus(&self) -> PathBuf {
        self.folder.join("fuzz/corpus").join(&self.name)
    }

    fn found(&self) -> PathBuf {
        build_folder().join("found").join(&self.name)
    }
}

fn build_folder() -> PathBuf {
    workspace::target(workspace::root()).join("fuzz")
}

impl Told {
    /// From libFuzzer's output.
    fn read(output: &str) -> Self {
        let number = |text: &str| text.split_whitespace().next()?.parse().ok();
        let after = |line: &str, key: &str| number(line.split_once(key)?.1);
        let last = |key: &str| output.lines().rev().find_map(|line| after(line, key)).unwrap_or_default();
        let findings = output
            .lines()
            .filter_map(|line| Some(line.split_once("Test unit written to ")?.1.trim().into()))
            .collect();
        Self { runs: last("stat::number_of_executed_units:"), coverage: last("cov: "), findings }
    }
}

fn require_nightly() -> Result<()> {
    let mut rustc = Command::new("rustc");
    rustc.arg("--version").env("RUSTUP_TOOLCHAIN", "nightly").env_remove("RUSTC");
    match step::output(&mut rustc) {
        Ok(version) if version.contains("nightly") => Ok(()),
        Ok(version) => bail!(
            "fuzzing needs a nightly compiler, and this one is {}: get rustup, then `rustup toolchain install nightly`",
            version.trim()
        ),
        Err(_) => bail!("fuzzing needs a nightly compiler: `rustup toolchain install nightly`"),
    }
}

/// In `target/tools`, where it is installed if it is missing.
fn cargo_fuzz() -> Result<PathBuf> {
    let tools = workspace::target(workspace::root()).join("tools");
    let program = tools.join("bin/cargo-fuzz");
    let installed = step::output(Command::new(&program).arg("--version")).unwrap_or_default();
    if installed.trim().ends_with(CARGO_FUZZ) {
        return Ok(program);
    }
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["install", "cargo-fuzz", "--locked", "--version", CARGO_FUZZ, "--root"]).arg(&tools);
    step::run("installing cargo-fuzz", &workspace::log("cargo-fuzz"), &mut cargo)?;
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
#2\tINITED cov: 120 ft: 130 corp: 1/1b exec/s: 0 rss: 40Mb
#900\tNEW    cov: 245 ft: 300 corp: 20/400b lim: 4 exec/s: 300 rss: 41Mb
thread '<unnamed>' panicked at src/lib.rs:1:1
artifact_prefix='/w/host/fuzz/artifacts/x/'; Test unit written to /w/host/fuzz/artifacts/x/crash-0a
stat::number_of_executed_units: 912
stat::average_exec_per_sec:     12
";

    #[test]
    fn runs_coverage_and_findings_are_read_from_what_libfuzzer_prints() {
        let told = Told::read(OUTPUT);
        assert_eq!((told.runs, told.coverage), (912, 245));
        assert_eq!(told.findings, [PathBuf::from("/w/host/fuzz/artifacts/x/crash-0a")]);
        assert_eq!(Told::read("error: no such target"), Told::default());
    }

    #[test]
    fn a_target_that_is_not_there_is_refused_with_those_that_are() {
        let fuzz = Fuzz { minutes: 1, target: vec!["handshak".into()], keep: false };
        let error = fuzz.targets().err().expect("no such target").to_string();
        assert!(error.contains("`handshak`") && error.contains("handshake, imports"), "{error}");
        let all = Fuzz { minutes: 1, target: Vec::new(), keep: false }.targets().expect("targets");
        let names: Vec<_> = all.iter().map(|target| target.name.as_str()).collect();
        assert_eq!(names, ["layer", "negotiation", "round_trip", "configuration", "handshake", "imports"]);
    }
}
