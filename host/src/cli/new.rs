//! `waterspout new`: a project for a handler of one's own.

use std::path::Path;

use clap::Args;

use super::project::{self, Language, Template};

/// The arguments of `waterspout new`.
#[derive(Args)]
pub(super) struct New {
    /// What the handler is called: lower-case letters, digits and hyphens; the folder is, too
    name: String,
    /// The language that it is written in; `js` is for TypeScript, too
    #[arg(long = "lang", value_enum)]
    language: Language,
    /// What it does until you change it
    #[arg(long, value_enum, default_value_t)]
    template: Template,
}

impl New {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let Self { name, language, template } = self;
        project::write(Path::new(&name), &name, language, template)?;
        super::say(format_args!("{name}/ is written; go on with\n\n    cd {name}\n    waterspout dev\n"));
        Ok(())
    }
}
