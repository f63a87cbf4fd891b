//! What cargo knows about a manifest, and where chores put things.
//!
//! Everything made here lies in `target/` beside the workspace's Cargo.toml, also where CARGO_TARGET_DIR moves cargo's own
//! output: the tests look for guests there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::{step, toolchain::Toolchain};

/// Where Waterspout's handler crates are.
const GUEST_FOLDERS: [&str; 3] = ["example-guests", "tests/guests", "tests/conformance"];

/// Waterspout's own root folder.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask lies in the workspace's root folder")
}

/// The target folder of the workspace at `root`.
pub(crate) fn target(root: &Path) -> PathBuf {
    root.join("target")
}

/// Where the output of a chore's commands goes.
pub(crate) fn log(name: &str) -> PathBuf {
    target(root()).join("xtask-logs").join(name).with_extension("log")
}

/// A workspace, ours or a stranger's.
#[derive(Deserialize)]
pub(crate) struct Workspace {
    #[serde(rename = "workspace_root")]
    pub(crate) root: PathBuf,
    packages: Vec<Package>,
}

#[derive(Clone, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
    metadata: Option<Metadata>,
}

#[derive(Clone, Deserialize)]
struct Target {
    name: String,
    crate_types: Vec<String>,
}

/// `[package.metadata]`
#[derive(Clone, Deserialize)]
struct Metadata {
    waterspout: Option<Waterspout>,
}

/// `[package.metadata.waterspout]`
#[derive(Clone, Deserialize)]
struct Waterspout {
    #[serde(default)]
    lean: bool,
}

impl Workspace {
    /// The workspace that `manifest` belongs to.
    pub(crate) fn of(manifest: &Path, toolchain: &Toolchain) -> Result<Self> {
        let mut cargo = toolchain.cargo();
        cargo.args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"]).arg(manifest);
        let json = step::output(&mut cargo).with_context(|| format!("cannot read {}", manifest.display()))?;
        serde_json::from_str(&json).context("cannot understand the output of cargo metadata")
    }

    /// Whether this is Waterspout's own.
    pub(crate) fn is_ours(&self) -> bool {
        self.root.canonicalize().ok() == root().canonicalize().ok()
    }

    /// The example guests, and those that tests talk to.
    pub(crate) fn guests(&self) -> Vec<Package> {
        let folders = GUEST_FOLDERS.map(|folder| self.root.join(folder));
        let guest = |package: &&Package| {
            folders.iter().any(|folder| package.manifest_path.starts_with(folder))
                && package.library().is_some()
        };
        self.packages.iter().filter(guest).cloned().collect()
    }

    /// The handler whose manifest this is; all handlers, if it is the manifest of a whole workspace.
    pub(crate) fn handlers(&self, manifest: &Path) -> Result<Vec<Package>> {
        let manifest = manifest.canonicalize()?;
        let named =
            self.packages.iter().find(|p| p.manifest_path.canonicalize().ok().as_ref() == Some(&manifest));
        let packages = named.map_or(self.packages.as_slice(), std::slice::from_ref);
        let handlers: Vec<_> = packages.iter().filter(|p| p.library().is_some()).cloned().collect();
        if handlers.is_empty() {
            bail!(
                "{}: a handler is a library that stands alone; add\n\n[lib]\ncrate-type = [\"cdylib\"]",
                manifest.display()
            );
        }
        Ok(handlers)
    }
}

impl Package {
    /// The name of its cdylib, as cargo names the file.
    pub(crate) fn library(&self) -> Option<String> {
        let cdylib = |target: &&Target| target.crate_types.iter().any(|kind| kind == "cdylib");
        self.targets.iter().find(cdylib).map(|target| target.name.replace('-', "_"))
    }

    /// Whether it wants to be built without WASI.
    pub(crate) fn is_lean(&self) -> bool {
        let settings = self.metadata.as_ref().and_then(|metadata| metadata.waterspout.as_ref());
        settings.is_some_and(|waterspout| waterspout.lean)
    }
}
