//! Whether a project's sources have changed: looked at again and again, as the server looks at handlers.
//!
//! Only what its language builds from counts. A log, a state folder, whatever else grows with each build or each deployment may lie
//! beside it: if that counted, one build would cause the next.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Language, Project};

/// Folders that builds write, or that hold what others wrote.
const NOT_SOURCES: [&str; 6] = ["target", "node_modules", "venv", "__pycache__", "build", "dist"];

/// What a virtual environment of Python's has at its top, whatever it is called (PEP 405).
const VIRTUAL_ENVIRONMENT: &str = "pyvenv.cfg";

/// Folders within folders beyond this are not looked at: links may lead far.
const MAX_DEPTH: usize = 12;

/// How many changed files are named.
const MOST_NAMED: usize = 3;

/// What the files of a project were at one moment.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cli) struct Sources {
    /// By their paths within the project.
    files: BTreeMap<PathBuf, (u64, Option<SystemTime>)>,
}

impl Sources {
    /// Looks at what `project` is built from, but for hidden files and folders that hold no sources. What cannot be read is not
    /// there.
    pub(in crate::cli) fn of(project: &Project) -> Self {
        Self::below(&project.folder, project.language)
    }

    fn below(folder: &Path, language: Language) -> Self {
        let mut search = Search { root: folder, language, folders: HashSet::new(), files: BTreeMap::new() };
        search.folder(folder, MAX_DEPTH);
        Self { files: search.files }
    }

    /// Names what is not in both: `src/lib.rs, src/room.rs and 4 more`.
    pub(in crate::cli) fn difference(&self, other: &Self) -> String {
        let differs = |path: &&PathBuf| self.files.get(*path) != other.files.get(*path);
        let mut paths: Vec<&PathBuf> = self.files.keys().chain(other.files.keys()).filter(differs).collect();
        paths.sort_unstable();
        paths.dedup();
        let names: Vec<String> =
            paths.iter().take(MOST_NAMED).map(|path| path.display().to_string()).collect();
        match paths.len() - names.len() {
            0 => names.join(", "),
            more => format!("{} and {more} more", names.join(", ")),
        }
    }
}

/// A walk through a project's folders.
struct Search<'p> {
    root: &'p Path,
    language: Language,
    /// Which were entered, by device and inode: links may lead in circles.
    folders: HashSet<(u64, u64)>,
    files: BTreeMap<PathBuf, (u64, Option<SystemTime>)>,
}

impl Search<'_> {
    fn folder(&mut self, folder: &Path, depth: usize) {
        let Ok(about) = fs::metadata(folder) else { return };
        if !self.folders.insert((about.dev(), about.ino())) || folder.join(VIRTUAL_ENVIRONMENT).exists() {
            return;
        }
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with('.') || NOT_SOURCES.contains(&name.as_ref()) || name.ends_with(".egg-info") {
                continue;
            }
            let path = entry.path();
            let Ok(about) = fs::metadata(&path) else { continue };
            if about.is_dir() {
                if depth > 0 {
                    self.folder(&path, depth - 1);
                }
            } else if self.language.builds_from(&path) {
                let path = path.strip_prefix(self.root).map_or_else(|_| path.clone(), Path::to_owned);
                self.files.insert(path, (about.len(), about.modified().ok()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder of its own, removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let path = std::env::temp_dir()
                .join(format!("waterspout-sources-{}", getrandom::u64().expect("random")));
            fs::create_dir(&path).expect("a new folder");
            Self(path)
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().expect("in a folder")).expect("writable");
            fs::write(path, text).expect("writable");
        }

        fn sources(&self) -> Sources {
            Sources::below(&self.0, Language::Rust)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_changed_source_is_noticed_and_named() {
        let folder = Folder::new();
        folder.write("src/lib.rs", "one");
        let before = folder.sources();
        folder.write("src/lib.rs", "longer");
        let changed = folder.sources();
        assert_eq!(changed.difference(&before), "src/lib.rs");
        for name in ["a", "b", "c", "d"] {
            folder.write(&format!("src/{name}.rs"), "");
        }
        assert_eq!(folder.sources().difference(&changed), "src/a.rs, src/b.rs, src/c.rs and 1 more");
        assert_eq!(changed.difference(&folder.sources()), "src/a.rs, src/b.rs, src/c.rs and 1 more");
    }

    #[test]
    fn what_a_build_or_a_server_writes_is_no_source() {
        let folder = Folder::new();
        folder.write("src/lib.rs", "one");
        let before = folder.sources();
        for made in [
            "dev.log",
            "nohup.out",
            "state/default.chat/manifest.json",
            "Cargo.lock",
            "tide.wasm",
            "tide.wasm.partial",
            "target/debug/build/out/made.rs",
            "node_modules/x/build.rs",
            ".git/index.rs",
        ] {
            folder.write(made, "made");
        }
        assert_eq!(folder.sources(), before);
    }

    #[test]
    fn a_virtual_environment_is_none_whatever_it_is_called() {
        let folder = Folder::new();
        folder.write("env/lib/x.py", "");
        assert_ne!(Sources::below(&folder.0, Language::Python), Sources { files: BTreeMap::new() });
        folder.write("env/pyvenv.cfg", "");
        assert_eq!(Sources::below(&folder.0, Language::Python), Sources { files: BTreeMap::new() });
    }

    #[test]
    fn links_that_lead_in_circles_are_followed_once() {
        let folder = Folder::new();
        folder.write("src/lib.rs", "");
        for name in ["one", "other"] {
            symlink(&folder.0, folder.0.join("src").join(name)).expect("a link");
        }
        let paths: Vec<PathBuf> = folder.sources().files.into_keys().collect();
        assert_eq!(paths, [Path::new("src/lib.rs")]);
    }
}
