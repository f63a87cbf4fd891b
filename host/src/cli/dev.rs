//! `waterspout dev`: a handler that is served while it is written.

use std::ffi::OsString;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::{Args, Parser};

use super::build::build;
use super::project::{CONFIGURATION, Language, Project, Sources};
use super::serve::Serve;

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
    /// Flags of `waterspout serve`, such as `--listen 127.0.0.1:9000`; without them the project's waterspout.toml is served, if
    /// it has one
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
        let serve = ServeArguments::parse_from(self.serve_arguments(&project)).serve;
        // Before the build, so that what is changed meanwhile is noticed.
        let mut built = Sources::of(&project);
        while let Err(error) = build(&project) {
            eprintln!("waterspout: {error:#}\nwaterspout: it is built again when its sources change");
            built = await_change(&project, &built);
        }
        thread::spawn(move || build_changes(&project, built));
        serve.run()
    }

    fn serve_arguments(&self, project: &Project) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["serve".into()];
        let configuration = self.folder.join(CONFIGURATION);
        if self.serve.is_empty() && configuration.is_file() {
            arguments.extend(["--config".into(), configuration.into()]);
        } else {
            arguments.push(project.component().into());
            arguments.extend(self.serve.iter().cloned());
        }
        arguments.push("--watch".into());
        arguments
    }
}

/// Builds whenever the sources have changed. The server sees the new component by itself.
fn build_changes(project: &Project, mut built: Sources) {
    loop {
        let changed = await_change(project, &built);
        super::say(format_args!("changed: {}", changed.difference(&built)));
        built = changed;
        if let Err(error) = build(project) {
            eprintln!("waterspout: {error:#}\nwaterspout: what was built before is served on");
        }
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
