//! `cargo xtask guests`: handler crates become components.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{
    component,
    languages::Language,
    step,
    toolchain::{self, Platform, Source, Toolchain},
    workspace::{self, Package, Workspace},
};

/// Options of `cargo xtask guests`.
#[derive(Args, Default)]
pub(crate) struct Guests {
    /// A handler crate elsewhere, built to target/guests beside the Cargo.toml of its workspace
    #[arg(long, value_name = "PATH")]
    manifest_path: Vec<PathBuf>,
    /// Build without WASI, whatever the crate's `[package.metadata.waterspout] lean` says
    #[arg(long)]
    lean: bool,
    /// Instead, the handlers in another language, built to target/guests/LANGUAGE-NAME.wasm; may be repeated
    #[arg(long, value_enum, value_name = "LANGUAGE", conflicts_with_all = ["manifest_path", "lean"])]
    lang: Vec<Language>,
}

impl Guests {
    /// Only the handler crate in this folder.
    pub(crate) fn of(folder: PathBuf) -> Self {
        Self { manifest_path: vec![folder], ..Self::default() }
    }

    pub(crate) fn run(&self) -> Result<()> {
        if !self.lang.is_empty() {
            return self.lang.iter().copied().try_for_each(Language::build);
        }
        self.run_with(&toolchain::setup(Source::Auto)?)
    }

    pub(crate) fn run_with(&self, toolchain: &Toolchain) -> Result<()> {
        if self.manifest_path.is_empty() {
            let workspace = Workspace::of(&workspace::root().join("Cargo.toml"), toolchain)?;
            let guests = workspace.guests();
            if guests.is_empty() {
                eprintln!("this workspace has no handler crates");
            }
            return self.build(toolchain, &workspace, &guests);
        }
        for path in &self.manifest_path {
            let manifest = if path.is_dir() { path.join("Cargo.toml") } else { path.clone() };
            let workspace = Workspace::of(&manifest, toolchain)?;
            self.build(toolchain, &workspace, &workspace.handlers(&manifest)?)?;
        }
        Ok(())
    }

    fn build(&self, toolchain: &Toolchain, workspace: &Workspace, packages: &[Package]) -> Result<()> {
        let (lean, wasi): (Vec<_>, Vec<_>) =
            packages.iter().partition(|package| self.lean || package.is_lean());
        for (platform, packages) in [(Platform::Wasi, wasi), (Platform::Lean, lean)] {
            if !packages.is_empty() {
                build(toolchain, platform, workspace, &packages)?;
            }
        }
        Ok(())
    }
}

fn build(
    toolchain: &Toolchain,
    platform: Platform,
    workspace: &Workspace,
    packages: &[&Package],
) -> Result<()> {
    // Only Waterspout's own workspace has the profile for guests.
    let profile = if workspace.is_ours() { "guest" } else { "release" };
    let target = toolchain.target(platform);
    // Not cargo's usual folder: its lock is held while `cargo test` or an editor builds the host.
    let build_folder = workspace::target(&workspace.root).join("guests-build");

    let mut cargo = toolchain.cargo_build(platform)?;
    cargo.current_dir(&workspace.root).args(["--profile", profile, "--target-dir"]).arg(&build_folder);
    for package in packages {
        cargo.args(["--package", &package.name]);
    }
    let names: Vec<_> = packages.iter().map(|package| package.name.as_str()).collect();
    let std_first = matches!(toolchain, Toolchain::Debian(_)) && !build_folder.join(target).exists();
    let hint = if std_first { " (std first: a minute or two)" } else { "" };
    let title = format!("compiling {} for {target}{hint}", names.join(", "));
    step::run(&title, &workspace::log(&format!("guests-{target}")), &mut cargo)?;

    for package in packages {
        let library = package.library().context("only packages with a cdylib are built")?;
        let module = build_folder.join(target).join(profile).join(library).with_extension("wasm");
        let into = workspace::target(&workspace.root)
            .join("guests")
            .join(&package.name)
            .with_added_extension("wasm");
        let (bytes, wasi_imports) = component::write(&module, &into)?;
        if platform == Platform::Lean && wasi_imports > 0 {
            bail!("{}: a lean guest, yet it imports WASI", package.name);
        }
        let kilobytes = bytes.div_ceil(1024);
        println!("{}  {kilobytes} KB, {wasi_imports} WASI imports", relative(&into).display());
    }
    Ok(())
}

/// Shorter to read where the file is below the current folder.
fn relative(path: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).to_owned()
}
