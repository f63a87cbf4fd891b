//! The table of the admin listener.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::file::{Mode, Parsed};
use super::mistake::Mistake;
use crate::admin::{AdminError, AdminOptions};
use crate::server::listener::ListenAddress;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct AdminTable {
    listen: Parsed<ListenAddress>,
    token_file: Option<PathBuf>,
    mode: Option<Parsed<Mode>>,
}

impl AdminTable {
    pub(super) fn into_options(self, folder: &Path) -> Result<AdminOptions, Mistake> {
        let address = self.listen.0;
        let mode = self.mode.map(|Parsed(Mode(mode))| mode);
        if mode.is_some() && !matches!(address, ListenAddress::Unix(_)) {
            let message = format!("`mode` is for the file of a `unix:` address, not for `{address}`");
            return Err(Mistake { key: "mode", message });
        }
        let token_file = self.token_file.map(|file| folder.join(file));
        let options = AdminOptions { address, mode, token_file };
        options.check().map_err(|error: AdminError| Mistake { key: "listen", message: error.to_string() })?;
        Ok(options)
    }
}
