//! `waterspout build`: from a project's sources to a component that this host can run.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
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
        let project = Project::at(&self.folder, self.language)?;
        super::say(format_args!("building {}", project.name));
        Builder::new(project).build()
    }
}

/// Builds a project, once or again and again.
pub(super) struct Builder {
    pub(super) project: Project,
    /// The last component that was found good.
    good: Option<Good>,
}

struct Good {
    digest: blake3::Hash,
    /// What the component is, but for its size.
    kind: String,
}

impl Builder {
    pub(super) fn new(project: Project) -> Self {
        Self { project, good: None }
    }

    /// Builds, and checks what has come out of it: what it is, is told the first time and when that has changed.
    ///
    /// # Errors
    /// The build has failed, or this host cannot run the component.
    pub(super) fn build(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        self.project.build()?;
        let component = self.project.component();
        let bytes = fs::read(&component).with_context(|| format!("cannot read {}", component.display()))?;
        let digest = blake3::hash(&bytes);
        let took = |began: Instant| format!("built in {:.1} s", began.elapsed().as_secs_f64());
        if self.good.as_ref().is_some_and(|good| good.digest == digest) {
            super::say(format_args!("{}: it is what it was", took(began)));
            return Ok(());
        }
        let source = HandlerSource::File(component);
        let known = self.good.as_ref().map(|good| good.kind.as_str());
        let kind = check::check_another(&source, CacheFolders::of_user(), known)?;
        if self.good.is_none() {
            super::say(format_args!("ok       `waterspout serve {source}` runs it"));
        }
        self.good = Some(Good { digest, kind });
        super::say(format_args!("{}, {} bytes", took(began), bytes.len()));
        Ok(())
    }
}
