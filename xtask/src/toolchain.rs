//! A Rust that compiles to WebAssembly.
//!
//! rustup's, where it has the targets or can get them. Else Debian's, unpacked into target/toolchain: its compiler has no
//! standard library for WebAssembly, but its cargo builds one from the source package on the way, with Debian's lld and
//! wasi-libc. wasi-libc there is WASI preview 1, so handlers are compiled for that and `component` bridges the difference;
//! either way a handler imports WASI 0.2.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::{
    debian::{self, Archive, Unpacked},
    languages::Environment,
    step, workspace,
};

/// Debian's names for rustc, cargo and the standard library's source; the first that is new enough is taken. `-web` is what
/// Debian keeps up to date in its older releases, for browsers.
const DEBIAN_RUSTS: [[&str; 3]; 2] =
    [["rustc-web", "cargo-web", "rust-web-src"], ["rustc", "cargo", "rust-src"]];

/// The oldest Rust that compiles this repository.
const OLDEST_RUST: &str = env!("CARGO_PKG_RUST_VERSION");

/// Variables of the outer cargo that an inner one may have: all others describe the outer build (`cargo xtask` is itself run
/// by cargo) or would override what is set here.
const KEPT_VARIABLES: [&str; 6] =
    ["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR", "CARGO_TERM_", "CARGO_BUILD_JOBS"];

/// Where the compiler for guests comes from.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Source {
    /// What is there already, else rustup, else Debian
    Auto,
    /// `rustup target add` for the toolchain in use
    Rustup,
    /// Debian packages, unpacked into target/toolchain; rustup is left as it is
    Debian,
}

/// What a handler is compiled for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Platform {
    /// println!, clocks, randomness and files work.
    Wasi,
    /// Smaller and quicker to instantiate; these do nothing or panic.
    Lean,
}

pub(crate) enum Toolchain {
    Rustup,
    Debian(Unpacked),
}

/// The toolchain from `source`; gets it first if it is not there.
pub(crate) fn setup(source: Source) -> Result<Toolchain> {
    let folder = workspace::target(workspace::root()).join("toolchain");
    let toolchain = match source {
        Source::Rustup if has_rustup_targets() => Toolchain::Rustup,
        Source::Rustup => add_rustup_targets()?,
        Source::Debian => unpack_debian(&folder)?,
        Source::Auto => match Unpacked::at(&folder)? {
            Some(unpacked) => Toolchain::Debian(unpacked),
            None if has_rustup_targets() => Toolchain::Rustup,
            None => get_any(&folder)?,
        },
    };
    eprintln!("guests are compiled by {}", toolchain.version()?.trim());
    Ok(toolchain)
}

/// What a shell needs to build handlers where rustup's compiler cannot: Debian's, if it is there.
pub(crate) fn environment() -> Result<Environment> {
    let folder = workspace::target(workspace::root()).join("toolchain");
    let Some(unpacked) = Unpacked::at(&folder)?.filter(|_| !has_rustup_targets()) else {
        return Ok(Environment::default());
    };
    let programs = unpacked.root.join("usr/bin");
    let debian = Toolchain::Debian(unpacked);
    let target = debian.target(Platform::Wasi).to_owned();
    let own = [("CARGO_BUILD_TARGET", target), ("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort".into())];
    let own = own.map(|(name, value)| (name.to_owned(), value));
    let build = debian.cargo_build(Platform::Wasi)?;
    let set = build.get_envs().filter_map(|(name, value)| {
        Some((name.to_string_lossy().into_owned(), value?.to_string_lossy().into_owned()))
    });
    Ok(Environment { programs: Some(programs), variables: set.chain(own).collect() })
}

fn get_any(folder: &Path) -> Result<Toolchain> {
    let without_rustup = match add_rustup_targets() {
        Ok(toolchain) => return Ok(toolchain),
        Err(error) => error,
    };
    let without_debian = match unpack_debian(folder) {
        Ok(toolchain) => return Ok(toolchain),
        Err(error) => error,
    };
    bail!(
        "no Rust for WebAssembly.\n- rustup: {without_rustup:#}\n- Debian: {without_debian:#}\nInstall rustup and run \
         `rustup target add {} {}`, or use a Debian with rustc {OLDEST_RUST} or newer.",
        Platform::Wasi.rustup_target(),
        Platform::Lean.rustup_target()
    );
}

fn has_rustup_targets() -> bool {
    [Platform::Wasi, Platform::Lean].into_iter().all(|platform| {
        let mut rustc = Command::new("rustc");
        clean(&mut rustc);
        rustc.args(["--print", "target-libdir", "--target", platform.rustup_target()]);
        step::output(&mut rustc).is_ok_and(|folder| Path::new(folder.trim()).is_dir())
    })
}

fn add_rustup_targets() -> Result<Toolchain> {
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add"]).args([Platform::Wasi, Platform::Lean].map(Platform::rustup_target));
    step::run("rustup target add", &workspace::log("rustup"), &mut rustup)?;
    if !has_rustup_targets() {
        bail!("rustup added the targets, but not for the `rustc` on the PATH: is it rustup's?");
    }
    Ok(Toolchain::Rustup)
}

fn unpack_debian(folder: &Path) -> Result<Toolchain> {
    debian::unpack_chosen(folder, choose_debian).map(Toolchain::Debian)
}

fn choose_debian(archive: &Archive) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for packages in DEBIAN_RUSTS {
        let rustc = packages[0];
        let Some(version) = archive.candidate(rustc)? else { continue };
        if release(&version) < release(OLDEST_RUST) {
            found.push(format!("{rustc} is {version}"));
            continue;
        }
        // The linker of the LLVM that this rustc was built with; any other may not know its object files.
        let dependencies = archive.dependencies(rustc)?;
        let llvm = dependencies.iter().find_map(|name| name.strip_prefix("libllvm"));
        let llvm = llvm.with_context(|| format!("{rustc} does not depend on a libllvm package"))?;
        let major: String = llvm.chars().take_while(char::is_ascii_digit).collect();
        let others = [format!("lld-{major}"), "wasi-libc".to_owned()];
        return Ok(packages.iter().map(ToString::to_string).chain(others).collect());
    }
    bail!("the package sources have no rustc of {OLDEST_RUST} or newer ({})", found.join(", "));
}

/// Major and minor number, of a release or of a Debian version.
fn release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

impl Platform {
    pub(crate) fn rustup_target(self) -> &'static str {
        match self {
            Self::Wasi => "wasm32-wasip2",
            Self::Lean => "wasm32-unknown-unknown",
        }
    }

    fn debian_target(self) -> &'static str {
        match self {
            Self::Wasi => "wasm32-wasip1",
            Self::Lean => "wasm32-unknown-unknown",
        }
    }
}

impl Toolchain {
    /// The target triple that handlers for `platform` are compiled for.
    pub(crate) fn target(&self, platform: Platform) -> &'static str {
        match self {
            Self::Rustup => platform.rustup_target(),
            Self::Debian(_) => platform.debian_target(),
        }
    }

    /// `cargo`, untouched by the cargo that runs this program.
    pub(crate) fn cargo(&self) -> Command {
        match self {
            Self::Rustup => {
                let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
                clean(&mut cargo);
                cargo
            }
            Self::Debian(unpacked) => {
                let mut cargo = unpacked.run("usr/bin/cargo");
                clean(&mut cargo);
                cargo.env_remove("RUSTUP_TOOLCHAIN").env("RUSTC", unpacked.root.join("usr/bin/rustc"));
                cargo
            }
        }
    }

    /// `cargo build` for `platform`.
    pub(crate) fn cargo_build(&self, platform: Platform) -> Result<Command> {
        let mut cargo = self.cargo();
        let target = self.target(platform);
        cargo.args(["build", "--target", target]);
        if let Self::Debian(unpacked) = self {
            // Building std is unstable, and stable compilers refuse what is unstable without this.
            cargo.env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=std,panic_abort");
            let variable = format!("CARGO_TARGET_{}_LINKER", target.to_uppercase().replace('-', "_"));
            cargo.env(variable, linker(&unpacked.root)?);
            if platform == Platform::Wasi {
                let libc = unpacked.root.join("usr/lib/wasm32-wasi");
                let libc = libc.to_str().context("the path of the workspace is not UTF-8")?;
                let flags = [
                    "-Clink-self-contained=no",
                    &format!("-Lnative={libc}"),
                    &format!("-Clink-arg={libc}/crt1-reactor.o"),
                ];
                cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
            }
        }
        Ok(cargo)
    }

    fn version(&self) -> Result<String> {
        match self {
            Self::Rustup => step::output(Command::new("rustc").arg("--version")),
            Self::Debian(unpacked) => step::output(unpacked.run("usr/bin/rustc").arg("--version")),
        }
    }
}

fn clean(command: &mut Command) {
    let outer = |name: &OsString| {
        let name = name.to_string_lossy();
        let kept = KEPT_VARIABLES.iter().any(|kept| name.starts_with(kept));
        (name.starts_with("CARGO") && !kept) || (name.starts_with("RUST") && !name.starts_with("RUSTUP"))
    };
    for (name, _) in env::vars_os().filter(|(name, _)| outer(name)) {
        command.env_remove(name);
    }
}

/// lld of whatever version was unpacked.
fn linker(root: &Path) -> Result<PathBuf> {
    let programs = root.join("usr/bin");
    for entry in fs::read_dir(&programs).with_context(|| format!("cannot read {}", programs.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("wasm-ld") {
            return Ok(entry.path());
        }
    }
    bail!("{} has no wasm-ld: delete target/toolchain and run cargo xtask setup", programs.display());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debian_version_compares_like_its_release() {
        assert_eq!(release("1.96.0+dfsg1-1~deb12u2"), Some((1, 96)));
        assert!(release("1.63.0+dfsg1-2") < release("1.95"));
        assert!(release("1.100.0") > release("1.95"));
        assert_eq!(release("unknown"), None);
    }
}
