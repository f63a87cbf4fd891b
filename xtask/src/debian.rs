//! Debian packages unpacked into a folder: for what neither cargo nor the system has.
//!
//! apt works on a private state (lists, cache, a copy of dpkg's status) with the machine's own sources, or another release of
//! Debian from the same mirror, and only downloads; `dpkg -x` unpacks. So neither root nor a change of the system is needed, no
//! maintainer script runs, and programs must be told where their libraries are: [`Unpacked::run`] does it. Nothing looks for
//! newer versions later: delete the folder for that.

use std::{
    collections::BTreeSet,
    env,
    ffi::OsString,
    fmt::Write as _,
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{step, workspace};

/// In an unpacked folder: what was asked for (first line), then the files of all packages in it.
const STAMP: &str = ".packages";

/// A folder beside apt's `archives` that nothing is downloaded to.
const EMPTY_CACHE: &str = "none";

/// The keys of all of Debian's releases, where Debian puts them. apt itself trusts only those that it has been told to.
const DEBIAN_KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// How deep below `lib` and `usr/lib` shared libraries lie (usr/lib/x86_64-linux-gnu/pulseaudio).
const LIBRARY_DEPTH: usize = 2;

/// A second C library cannot be brought in through LD_LIBRARY_PATH: the program loader and it belong together.
const NEVER_UNPACKED: [&str; 2] = ["libc6_", "libc-bin_"];

/// Whether this system has the tools.
pub(crate) fn is_available() -> bool {
    let runs =
        |tool: &str| Command::new(tool).arg("--version").output().is_ok_and(|out| out.status.success());
    ["apt-get", "apt-cache", "dpkg"].into_iter().all(runs)
}

/// Unpacks `packages`, and what of their dependencies this system lacks, into the folder `into`. Does nothing if that has
/// been done. May be interrupted: `into` appears when it is complete.
pub(crate) fn unpack(packages: &[&str], into: &Path) -> Result<Unpacked> {
    unpack_chosen(into, |_| Ok(packages.iter().map(ToString::to_string).collect()))
}

/// The same with the packages of a certain release of Debian, whichever this system is.
pub(crate) fn unpack_from(release: &str, packages: &[&str], into: &Path) -> Result<Unpacked> {
    unpack_chosen(into, |archive| {
        archive.switch_to(release)?;
        Ok(packages.iter().map(ToString::to_string).collect())
    })
}

/// The same for packages that depend on what the archive has: `choose` is asked unless `into` exists already.
pub(crate) fn unpack_chosen(
    into: &Path,
    choose: impl FnOnce(&Archive) -> Result<Vec<String>>,
) -> Result<Unpacked> {
    if let Some(unpacked) = Unpacked::at(into)? {
        return Ok(unpacked);
    }
    if !is_available() {
        bail!(
            "{} is made from Debian packages, and this system has no apt-get, apt-cache or dpkg",
            into.display()
        );
    }
    if let Some(folder) = into.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let _alone = lock(&into.with_added_extension("lock"))?;
    if let Some(unpacked) = Unpacked::at(into)? {
        return Ok(unpacked);
    }

    let partial = into.with_added_extension("partial");
    let archive = Archive::update(partial.join("apt"))?;
    let packages = choose(&archive)?;
    let files = archive.download(&packages)?;
    let root = partial.join("root");
    remove(&root)?;
    let title = format!("unpacking {} packages", files.len());
    step::show(&title, || files.iter().try_for_each(|file| dpkg_extract(file, &root)))?;
    let names = files.iter().filter_map(|file| file.file_name()).map(|name| name.to_string_lossy());
    let stamp = names.fold(packages.join(" "), |all, name| all + "\n" + &name);
    fs::write(root.join(STAMP), stamp + "\n")?;

    remove(into)?;
    fs::rename(&root, into).with_context(|| format!("cannot create {}", into.display()))?;
    fs::remove_dir_all(partial)?;
    Unpacked::at(into)?.context("the folder just made has vanished")
}

/// A folder of unpacked packages: their `/`.
#[derive(Debug)]
pub(crate) struct Unpacked {
    pub(crate) root: PathBuf,
    /// For LD_LIBRARY_PATH.
    pub(crate) library_path: OsString,
}

impl Unpacked {
    /// What an earlier `unpack` made, if it did.
    pub(crate) fn at(root: &Path) -> Result<Option<Self>> {
        if !root.join(STAMP).is_file() {
            return Ok(None);
        }
        let mut library_path = BTreeSet::new();
        for folder in ["lib", "usr/lib"] {
            library_folders(&root.join(folder), LIBRARY_DEPTH, &mut library_path)?;
        }
        let library_path =
            env::join_paths(library_path).context("a path with a colon cannot be searched for libraries")?;
        Ok(Some(Self { root: root.to_owned(), library_path }))
    }

    /// The unpacked program at `path` (as in `usr/bin/NAME`), ready to find its libraries.
    pub(crate) fn run(&self, path: &str) -> Command {
        let mut command = Command::new(self.root.join(path));
        // Whatever is there is the outer toolchain's (cargo sets it for what it runs).
        command.env("LD_LIBRARY_PATH", &self.library_path);
        command
    }
}

/// What the machine's package sources offer now.
#[derive(Debug)]
pub(crate) struct Archive {
    folder: PathBuf,
}

impl Archive {
    fn update(folder: PathBuf) -> Result<Self> {
        for name in ["lists", "cache/archives", &format!("cache/{EMPTY_CACHE}")] {
            fs::create_dir_all(folder.join(name).join("partial"))?;
        }
        let archive = Self { folder };
        archive.write_configuration(None)?;
        archive.write_status(&[])?;
        archive.read_lists("reading the Debian package lists");
        Ok(archive)
    }

    fn read_lists(&self, title: &str) {
        // One source of several that cannot be reached is no failure: the others may have what we want.
        if let Err(error) = step::run(title, &workspace::log("apt-update"), self.apt("apt-get").arg("update"))
        {
            eprintln!("{error:#}");
        }
    }

    /// From now on the packages of `release` and no others, from where this system gets its Debian.
    fn switch_to(&self, release: &str) -> Result<()> {
        let mut targets = self.apt("apt-get");
        targets.args(["indextargets", "--format", "$(REPO_URI)"]);
        targets.args(["Created-By: Packages", "Origin: Debian", "Label: Debian"]);
        let mirrors = step::output(&mut targets)?;
        let mirrors: BTreeSet<&str> = mirrors.lines().collect();
        if mirrors.is_empty() {
            bail!("the package sources of this system name no mirror of Debian that could have {release}");
        }
        let keys = Path::new(DEBIAN_KEYS).is_file().then_some(DEBIAN_KEYS);
        let sources = self.folder.join("sources.list");
        fs::write(&sources, sources_list(&mirrors, release, keys))
            .with_context(|| format!("cannot write {}", sources.display()))?;
        self.write_configuration(Some(&sources))?;
        self.read_lists(&format!("reading the package lists of Debian {release}"));
        Ok(())
    }

    /// The version that would be installed.
    pub(crate) fn candidate(&self, package: &str) -> Result<Option<String>> {
        let policy = step::output(self.apt("apt-cache").args(["policy", package]))?;
        let candidate = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
        Ok(candidate.filter(|version| *version != "(none)").map(ToOwned::to_owned))
    }

    /// `package` and everything it depends on, installed or not.
    pub(crate) fn dependencies(&self, package: &str) -> Result<Vec<String>> {
        let no = ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"]
            .map(|kind| format!("--no-{kind}"));
        let tree = step::output(self.apt("apt-cache").args(["depends", "--recurse"]).args(no).arg(package))?;
        Ok(tree.lines().filter(|line| !line.starts_with([' ', '<', '|'])).map(ToOwned::to_owned).collect())
    }

    fn download(&self, packages: &[String]) -> Result<Vec<PathBuf>> {
        self.write_status(packages)?;
        let install = || {
            let mut command = self.apt("apt-get");
            command.args(["install", "--yes", "--no-install-recommends"]).args(packages);
            command
        };
        // Asked with an empty cache, because apt leaves out what an interrupted run has downloaded already.
        let nothing = format!("Dir::Cache::archives={EMPTY_CACHE}");
        let uris = step::output(install().args(["-qq", "--print-uris", "--option", &nothing]))
            .with_context(|| format!("apt cannot put together {}", packages.join(" ")))?;
        let title = format!("downloading {} and what they need", packages.join(", "));
        step::run(&title, &workspace::log("apt-download"), install().arg("--download-only"))?;

        // 'URI' FILE SIZE HASH
        let names = uris.lines().filter_map(|line| line.split_whitespace().nth(1));
        let files: BTreeSet<_> = names.map(|name| self.folder.join("cache/archives").join(name)).collect();
        let unpackable = |file: &PathBuf| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            !NEVER_UNPACKED.iter().any(|prefix| name.starts_with(prefix))
        };
        Ok(files.into_iter().filter(unpackable).collect())
    }

    fn apt(&self, tool: &str) -> Command {
        let mut command = Command::new(tool);
        command.arg("--config-file").arg(self.folder.join("apt.conf")).env("LC_ALL", "C");
        command
    }

    /// `sources` stands for the machine's own.
    fn write_configuration(&self, sources: Option<&Path>) -> Result<()> {
        const UTF_8: &str = "apt needs the path of the workspace to be UTF-8";
        let folder = self.folder.to_str().context(UTF_8)?;
        let mut text = String::new();
        for (key, value) in [
            ("Dir::State::lists", format!("{folder}/lists")),
            ("Dir::State::status", format!("{folder}/status")),
            ("Dir::Cache", format!("{folder}/cache")),
            ("Dir::Cache::archives", "archives".to_owned()),
            ("APT::Keep-Downloaded-Packages", "true".to_owned()),
            // The private folders belong to whoever runs this, not to apt's own user.
            ("APT::Sandbox::User", String::new()),
            ("Debug::NoLocking", "true".to_owned()),
            ("Acquire::Languages", "none".to_owned()),
            ("Acquire::Retries", "2".to_owned()),
        ] {
            writeln!(text, "{key} \"{value}\";")?;
        }
        if let Some(sources) = sources {
            let sources = sources.to_str().context(UTF_8)?;
            writeln!(text, "Dir::Etc::sourcelist \"{sources}\";\nDir::Etc::sourceparts \"-\";")?;
        }
        // Hooks are for the real system: they would clean its caches or need its rights.
        for hook in
            ["APT::Update::Pre-Invoke", "APT::Update::Post-Invoke", "APT::Update::Post-Invoke-Success"]
        {
            writeln!(text, "#clear {hook};")?;
        }
        for hook in ["DPkg::Pre-Invoke", "DPkg::Post-Invoke", "DPkg::Pre-Install-Pkgs"] {
            writeln!(text, "#clear {hook};")?;
        }
        let file = self.folder.join("apt.conf");
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    /// What apt shall take for installed: everything that is, except `wanted` and what was built from the same sources (these
    /// must come together), and without relations, so that what is left out breaks nothing.
    fn write_status(&self, wanted: &[String]) -> Result<()> {
        let mut sources = BTreeSet::new();
        if !wanted.is_empty() {
            let shown = step::output(self.apt("apt-cache").args(["show", "--no-all-versions"]).args(wanted))?;
            sources.extend(shown.split("\n\n").filter_map(source).map(ToOwned::to_owned));
        }
        let installed = step::output(Command::new("dpkg-query").args(["--show", "--showformat", STANZA]))?;
        let kept = |stanza: &&str| {
            stanza.contains("\nStatus: install ok installed")
                && !source(stanza).is_some_and(|source| sources.contains(source))
                && !field(stanza, "Package").is_some_and(|package| wanted.iter().any(|name| name == package))
        };
        let mut status = String::new();
        for stanza in installed.split("\n\n").filter(kept) {
            // apt cannot parse a field without a value.
            for line in stanza.lines().filter(|line| !line.trim_end().ends_with(':')) {
                writeln!(status, "{line}")?;
            }
            status.push('\n');
        }
        let file = self.folder.join("status");
        fs::write(&file, status).with_context(|| format!("cannot write {}", file.display()))
    }
}

/// A sources.list of one release's main part. Without `keys` apt's own are asked; what they do not vouch for is refused.
fn sources_list(mirrors: &BTreeSet<&str>, release: &str, keys: Option<&str>) -> String {
    let options = keys.map(|keys| format!("[signed-by={keys}] ")).unwrap_or_default();
    mirrors.iter().map(|mirror| format!("deb {options}{mirror} {release} main\n")).collect()
}

/// A stanza of dpkg's status, for `dpkg-query`.
const STANZA: &str = "Package: ${Package}\nStatus: ${Status}\nSource: ${source:Package}\nVersion: ${Version}\n\
    Architecture: ${Architecture}\nMulti-Arch: ${Multi-Arch}\nProvides: ${Provides}\nMaintainer: -\nDescription: -\n\n";

fn field<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::trim)
}

/// The source package: its own name where none is given; a version may follow.
fn source(stanza: &str) -> Option<&str> {
    let named = field(stanza, "Source").filter(|source| !source.is_empty());
    named.or_else(|| field(stanza, "Package"))?.split_whitespace().next()
}

fn dpkg_extract(file: &Path, root: &Path) -> Result<()> {
    fs::create_dir_all(root)?;
    step::quietly(&workspace::log("dpkg"), Command::new("dpkg").arg("-x").arg(file).arg(root))
}

fn library_folders(folder: &Path, depth: usize, found: &mut BTreeSet<PathBuf>) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", folder.display())),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if entry.file_type()?.is_dir() {
            if depth > 0 {
                library_folders(&entry.path(), depth - 1, found)?;
            }
        } else if name.starts_with("lib") && name.contains(".so") {
            found.insert(folder.to_owned());
        }
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot delete {}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stanza_names_its_source_or_is_its_own() {
        assert_eq!(source("Package: libstd-rust-web-dev\nSource: rustc-web (1.96)"), Some("rustc-web"));
        assert_eq!(source("Package: wasi-libc\nSource: \nVersion: 0"), Some("wasi-libc"));
        assert_eq!(source("Version: 0"), None);
    }

    #[test]
    fn a_release_is_read_from_every_mirror_with_debians_keys() {
        let mirrors = BTreeSet::from(["http://a.example/debian/", "http://b.example/debian/"]);
        assert_eq!(
            sources_list(&mirrors, "bullseye", Some("/keys.gpg")),
            "deb [signed-by=/keys.gpg] http://a.example/debian/ bullseye main\n\
             deb [signed-by=/keys.gpg] http://b.example/debian/ bullseye main\n"
        );
        assert_eq!(
            sources_list(&BTreeSet::from(["http://a.example/debian/"]), "bullseye", None),
            "deb http://a.example/debian/ bullseye main\n"
        );
    }
}
