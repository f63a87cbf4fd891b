//! `waterspout build`: from a project's sources to a component that this host can run.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use waterspout::{CacheFolders, HandlerSource};

use super::check;
use super::project::{Language, Project};

/// The arguments of `waterspout build`.
#[derive(Args)]
pub(super) struct Build {
    /// The project's folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// The project's language, where its files do not tell
    #[arg(long = "lang", value_enum)]
    language: Option<Language>,
}

impl Build {
    pub(super) fn run(self) -> anyhow::Result<()> {
        build(&Project::at(&self.folder, self.language)?)
    }
}

/// Builds a project and checks what has come out of it.
pub(super) fn build(project: &Project) -> anyhow::Result<()> {
    let began = Instant::now();
    project.build()?;
    let component = project.component();
    check::check_handler(HandlerSource::File(component), CacheFolders::of_user())?;
    super::say(format_args!("built in {:.1} s", began.elapsed().as_secs_f64()));
    Ok(())
}
