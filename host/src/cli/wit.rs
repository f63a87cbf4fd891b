//! `waterspout wit`: the interface, for whoever generates bindings to it.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use waterspout::handler::interface;

/// The arguments of `waterspout wit`.
#[derive(Args)]
pub(super) struct Wit {
    /// Where to; made if it is not there. Files of the same names are replaced
    folder: PathBuf,
}

impl Wit {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let writing = |what: &std::path::Path| format!("cannot write {}", what.display());
        fs::create_dir_all(&self.folder).with_context(|| writing(&self.folder))?;
        for (name, text) in interface::FILES {
            let file = self.folder.join(name);
            fs::write(&file, text).with_context(|| writing(&file))?;
            super::say(file.display());
        }
        Ok(())
    }
}
