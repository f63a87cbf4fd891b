//! `waterspout dev`: a handler that is served while it is written.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::bail;
use clap::error::{ContextKind, ErrorKind};
use clap::{Args, Parser};

use super::build::Builder;
use super::project::{CONFIGURATION, Language, Project, Sources};
use super::serve::{Development, Serve};

/// How often the sources are looked at; they are built when two looks have found the same.
const INTERVAL: Duration = Duration::from_millis(250);

/// The arguments of `waterspout dev`.
#[derive(Args)]
pub(super) struct Dev {
    /// The project's folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// The project's language, where its files do not tell
    #[arg(long = "lang", value_enum)]
    language: Option<Language>,
    /// Flags of `waterspout serve`, such as `--listen 127.0.0.1:9000`; the project's waterspout.toml is served with them, if it has
    /// one
    #[arg(last = true)]
    serve: Vec<OsString>,
}

/// What follows `--`, and the handler before it.
#[derive(Parser)]
#[command(name = "waterspout dev -- ")]
struct ServeArguments {
    #[command(flatten)]
    serve: Serve,
}

impl Dev {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let project = Project::at(&self.folder, self.language)?;
        let mut serve = self.serve(&project)?;
        let development = Development::default();
        serve.development = Some(development.clone());
        serve.run_after(|| {
            super::say(format_args!("building {}", project.name));
            // Before the build, so that what is changed meanwhile is noticed.
            let mut built = Sources::of(&project);
            let mut builder = Builder::new(project);
            while let Err(error) = builder.build() {
                eprintln!(
                    "waterspout: {error:#}\nwaterspout: when that is mended, save a source, and it is built again"
                );
                built = await_change(&builder.project, &built);
            }
            thread::spawn(move || build_changes(builder, built, &development));
        })
    }

    /// What is served, and how.
    fn serve(&self, project: &Project) -> anyhow::Result<Serve> {
        let configuration = self.folder.join(CONFIGURATION);
        let is_named = |argument: &OsString| {
            argument.to_str().is_some_and(|text| text == "--config" || text.starts_with("--config="))
        };
        let mut arguments: Vec<OsString> = vec!["serve".into()];
        let mut is_configured = false;
        if self.serve.iter().any(is_named) {
            // The user's own says what is served.
        } else if configuration.is_file() {
            is_configured = true;
            arguments.extend(["--config".into(), configuration.clone().into()]);
        } else {
            arguments.push(project.component().into());
        }
        arguments.extend(self.serve.iter().cloned());
        arguments.push("--watch".into());
        match ServeArguments::try_parse_from(arguments) {
            Ok(arguments) => Ok(arguments.serve),
            Err(error) if is_configured && let Some(flag) = against_configuration(&error) => bail!(
                "{} says what is served: write what `{flag}` says into it, or give another file by `-- --config FILE`",
                configuration.display(),
            ),
            Err(error) => {
                let mistaken = error.use_stderr();
                // Nothing to be done where the terminal is gone.
                let _ = error.print();
                std::process::exit(i32::from(mistaken))
            }
        }
    }
}

/// The flag that cannot stand beside `--config`, which nobody has typed, if that is the mistake.
fn against_configuration(error: &clap::Error) -> Option<String> {
    let named =
        [ContextKind::InvalidArg, ContextKind::PriorArg].map(|kind| error.get(kind).map(ToString::to_string));
    let [Some(one), Some(other)] = named else { return None };
    let is_configuration = |flag: &str| flag.starts_with("--config ");
    match (error.kind(), is_configuration(&one), is_configuration(&other)) {
        (ErrorKind::ArgumentConflict, true, false) => Some(other),
        (ErrorKind::ArgumentConflict, false, true) => Some(one),
        _ => None,
    }
}

/// Builds whenever the sources have changed. The server sees the new component by itself, when it was checked.
fn build_changes(mut builder: Builder, mut built: Sources, development: &Development) {
    loop {
        let changed = await_change(&builder.project, &built);
        super::say(format_args!(
            "changed: {}; building {}",
            changed.difference(&built),
            builder.project.name
        ));
        built = changed;
        development.is_building.store(true, Ordering::Relaxed);
        if let Err(error) = builder.build() {
            eprintln!("waterspout: {error:#}\nwaterspout: what was built before is served on");
        }
        development.is_building.store(false, Ordering::Relaxed);
    }
}

/// The sources when they are others than `built` and somebody has finished writing them.
fn await_change(project: &Project, built: &Sources) -> Sources {
    let mut last = Sources::of(project);
    loop {
        thread::sleep(INTERVAL);
        let found = Sources::of(project);
        if found == last && found != *built {
            return found;
        }
        last = found;
    }
}
