//! Handlers in all languages that have an SDK: their tools, and the projects in languages other than Rust in this repository.
//!
//! The tools go to target/languages/NAME, from the languages' own registries; npm's packages go to node_modules, where it looks for them.
//!
//! - `c`, `go`, `javascript`, `python`: one language each
//! - `environment`: what a shell needs for projects that lie elsewhere
//! - `pip`: programs from PyPI

mod c;
mod environment;
mod go;
mod javascript;
mod pip;
mod python;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use clap::ValueEnum;

pub(crate) use self::environment::Environment;
pub(crate) use self::go::path_with_gofmt;
use crate::{
    guests::Guests,
    step,
    toolchain::{self, Source},
    workspace,
};

/// A language with an SDK.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    C,
    Go,
    #[value(name = "javascript", alias = "js")]
    JavaScript,
    Python,
    Rust,
}

/// Those whose tools and handlers are not what the rest of this repository is made with.
pub(crate) const OTHERS_THAN_RUST: [Language; 4] =
    [Language::C, Language::Go, Language::JavaScript, Language::Python];

/// A folder that its language's usual command builds to `NAME.wasm` in it.
pub(crate) struct Project {
    folder: PathBuf,
    /// Without its language.
    name: String,
}

/// Gets the tools of these languages, and writes what a shell needs of those that are there.
pub(crate) fn setup(languages: &[Language]) -> Result<()> {
    languages.iter().try_for_each(|language| language.setup())?;
    let environments: Vec<_> =
        Language::value_variants().iter().map(|language| language.environment()).collect::<Result<_>>()?;
    let file = folder("env");
    environment::write(&environments, &file)?;
    println!("into a shell with them: . {}", file.display());
    Ok(())
}

impl Language {
    fn name(self) -> &'static str {
        match self {
            Self::C => "c",
            Self::Go => "go",
            Self::JavaScript => "javascript",
            Self::Python => "python",
            Self::Rust => "rust",
        }
    }

    /// Gets the tools that are not there yet, in the versions that are pinned here.
    pub(crate) fn setup(self) -> Result<()> {
        match self {
            Self::C => c::setup(),
            Self::Go => go::setup(),
            Self::JavaScript => javascript::setup(),
            Self::Python => python::setup(),
            Self::Rust => toolchain::setup(Source::Auto).map(drop),
        }
    }

    fn environment(self) -> Result<Environment> {
        match self {
            Self::C => Ok(c::environment()),
            Self::Go => Ok(go::environment()),
            // Node and Python come from the system, and a project's packages go into its own folder.
            Self::JavaScript | Self::Python => Ok(Environment::default()),
            Self::Rust => toolchain::environment(),
        }
    }

    /// Builds the projects of this language to target/guests.
    pub(crate) fn build(self) -> Result<()> {
        self.setup()?;
        if self == Self::Rust {
            return Guests::default().run();
        }
        for project in self.projects()? {
            let build = match self {
                Self::C => c::build(&project),
                Self::Go => go::build(&project),
                Self::JavaScript => Ok(javascript::build(&project)),
                Self::Python => python::build(&project),
                Self::Rust => continue,
            };
            let name = format!("{}-{}", self.name(), project.name);
            step::run(&format!("building {name}"), &workspace::log(&format!("guests-{name}")), &mut build?)?;
            let made = project.component();
            let bytes = fs::read(&made).with_context(|| format!("cannot read {}", made.display()))?;
            let into =
                workspace::target(workspace::root()).join("guests").join(&name).with_added_extension("wasm");
            put(&bytes, &into)?;
            println!("target/guests/{name}.wasm  {} KB", bytes.len().div_ceil(1024));
        }
        Ok(())
    }

    /// Runs the tests of this language's SDK.
    pub(crate) fn test(self) -> Result<()> {
        self.setup()?;
        let folder = workspace::root().join("guest-sdk").join(self.name());
        let test: Command = match self {
            Self::C => c::test(&folder)?,
            Self::Go => go::test(&folder)?,
            Self::JavaScript => javascript::test(&folder),
            Self::Python => python::test(&folder)?,
            Self::Rust => rust_sdk_test(),
        };
        let log = format!("sdk-{}", self.name());
        step::run(&format!("testing the SDK for {}", self.name()), &workspace::log(&log), &mut { test })
    }

    /// The examples, and what the conformance suite talks to.
    fn projects(self) -> Result<Vec<Project>> {
        let examples = workspace::root().join("example-guests").join(self.name());
        let mut projects = Vec::new();
        for entry in fs::read_dir(&examples).with_context(|| format!("cannot read {}", examples.display()))? {
            let folder = entry?.path();
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if folder.is_dir() {
                projects.push(Project { folder, name });
            }
        }
        let conformance = workspace::root().join("tests/conformance").join(self.name());
        if conformance.is_dir() {
            projects.push(Project { folder: conformance, name: "conformance".into() });
        }
        projects.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(projects)
    }
}

impl Project {
    /// Where its build puts what it makes.
    fn component(&self) -> PathBuf {
        self.folder.join(&self.name).with_added_extension("wasm")
    }
}

/// The SDK for Rust is a member of the workspace.
fn rust_sdk_test() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace::root()).args(["test", "--package", "waterspout-guest"]);
    cargo
}

/// The folder of a language's tools.
fn folder(name: &str) -> PathBuf {
    workspace::target(workspace::root()).join("languages").join(name)
}

/// Somebody may be serving or testing the previous one: a file appears whole, and only when it is another.
fn put(bytes: &[u8], into: &Path) -> Result<()> {
    let writing = || format!("cannot write {}", into.display());
    if fs::read(into).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    fs::create_dir_all(into.parent().context("a component lies in a folder")?).with_context(writing)?;
    let partial = into.with_added_extension("partial");
    fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, into)).with_context(writing)
}
