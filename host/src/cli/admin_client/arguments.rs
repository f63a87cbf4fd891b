//! Which server is asked, and by which token: by flags, the server's configuration file or the environment.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use http::header::HeaderValue;
use waterspout::config::Config;

use super::AdminClient;
use super::place::Place;

const PLACE_VARIABLE: &str = "WATERSPOUT_ADMIN";
const TOKEN_VARIABLE: &str = "WATERSPOUT_ADMIN_TOKEN_FILE";
/// More than any token has.
const MAX_TOKEN_BYTES: u64 = 4096;

/// Which server is meant.
#[derive(Args, Default)]
#[command(next_help_heading = "Server")]
pub(crate) struct AdminArguments {
    /// Its admin listener: `127.0.0.1:9090`, `http://localhost:9090` or `unix:/path/to.sock` [default: what WATERSPOUT_ADMIN says, else
    /// 127.0.0.1:9090]
    #[arg(long, value_name = "ADDRESS", conflicts_with = "config")]
    admin: Option<Place>,
    /// The file with its token [default: what WATERSPOUT_ADMIN_TOKEN_FILE says]
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    token_file: Option<PathBuf>,
    /// Its configuration file, whose `[admin]` says both
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl AdminArguments {
    /// # Errors
    /// Something is mistaken, or the token cannot be read. Nobody has been asked yet.
    pub(crate) fn client(self) -> anyhow::Result<AdminClient> {
        let (place, token_file) = self.resolve(|name| std::env::var_os(name))?;
        let authorization = token_file.as_deref().map(authorization).transpose()?;
        if authorization.is_none() && matches!(place, Place::Tcp { .. }) {
            bail!(
                "the admin listener at {place} wants a token: name its file by `--token-file`, or the server's configuration file by `--config`"
            );
        }
        Ok(AdminClient { place, authorization, token_file })
    }

    /// Flags come before the environment.
    fn resolve(
        self,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> anyhow::Result<(Place, Option<PathBuf>)> {
        if let Some(file) = self.config {
            let admin = Config::from_file(&file)?.admin;
            let admin = admin.with_context(|| {
                format!("{}: there is no `[admin]`: the server cannot be asked", file.display())
            })?;
            let place = Place::of_listener(&admin.address)
                .map_err(|error| anyhow!("{}: in `[admin]`: {error}", file.display()))?;
            return Ok((place, admin.token_file));
        }
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        let of_variable = |value: OsString| {
            value.to_string_lossy().parse().map_err(|error| anyhow!("{PLACE_VARIABLE}: {error}"))
        };
        let place = match self.admin {
            Some(place) => place,
            None => variable(PLACE_VARIABLE).map_or_else(|| Ok(Place::default()), of_variable)?,
        };
        Ok((place, self.token_file.or_else(|| variable(TOKEN_VARIABLE).map(PathBuf::from))))
    }
}

/// The header that has a file's token.
fn authorization(file: &Path) -> anyhow::Result<HeaderValue> {
    let mut token = String::new();
    let opened =
        File::open(file).and_then(|opened| opened.take(MAX_TOKEN_BYTES + 2).read_to_string(&mut token));
    opened.with_context(|| format!("the token's file {} cannot be read", file.display()))?;
    let token = token.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!("{}: a token is one line of visible ASCII characters", file.display());
    }
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).context("a token")?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(admin: Option<&str>, token_file: Option<&str>) -> AdminArguments {
        AdminArguments {
            admin: admin.map(|text| text.parse().expect("a place")),
            token_file: token_file.map(PathBuf::from),
            config: None,
        }
    }

    fn resolved(arguments: AdminArguments, variables: &[(&str, &str)]) -> (String, Option<PathBuf>) {
        let variable = |name: &str| {
            variables.iter().find(|(other, _)| *other == name).map(|(_, value)| OsString::from(value))
        };
        let (place, token_file) = arguments.resolve(variable).expect("right");
        (place.to_string(), token_file)
    }

    #[test]
    fn flags_come_before_the_environment_and_that_before_the_default() {
        assert_eq!(resolved(arguments(None, None), &[]), ("127.0.0.1:9090".into(), None));
        let environment = [(PLACE_VARIABLE, "unix:/run/a.sock"), (TOKEN_VARIABLE, "a.token")];
        assert_eq!(
            resolved(arguments(None, None), &environment),
            ("unix:/run/a.sock".into(), Some("a.token".into()))
        );
        assert_eq!(
            resolved(arguments(Some("127.0.0.1:1"), Some("b.token")), &environment),
            ("127.0.0.1:1".into(), Some("b.token".into()))
        );
        let empty = [(PLACE_VARIABLE, ""), (TOKEN_VARIABLE, "")];
        assert_eq!(resolved(arguments(None, None), &empty), ("127.0.0.1:9090".into(), None));
        let error = arguments(None, None).resolve(|_| Some("nowhere".into())).expect_err("a mistake");
        assert!(error.to_string().starts_with("WATERSPOUT_ADMIN: `nowhere`"), "{error}");
    }
}
