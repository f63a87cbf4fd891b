//! Whether a project's sources have changed: looked at again and again, as the server looks at handlers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Folders that builds write, or that hold what others wrote.
const NOT_SOURCES: [&str; 6] = ["target", "node_modules", "venv", "__pycache__", "build", "dist"];

/// Folders within folders beyond this are not looked at: links may lead in circles.
const MAX_DEPTH: usize = 12;

/// What the files of a project were at one moment.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cli) struct Sources {
    files: BTreeMap<PathBuf, (u64, Option<SystemTime>)>,
}

impl Sources {
    /// Looks at all files below `folder` but for hidden ones, components, and folders that hold no sources. What cannot be read
    /// is not there.
    pub(in crate::cli) fn of(folder: &Path) -> Self {
        let mut files = BTreeMap::new();
        collect(folder, MAX_DEPTH, &mut files);
        Self { files }
    }
}

fn collect(folder: &Path, depth: usize, files: &mut BTreeMap<PathBuf, (u64, Option<SystemTime>)>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let path = entry.path();
        let Ok(about) = fs::metadata(&path) else { continue };
        if name.starts_with('.') || NOT_SOURCES.contains(&name.as_ref()) || name.ends_with(".egg-info") {
            continue;
        }
        if about.is_dir() {
            if depth > 0 {
                collect(&path, depth - 1, files);
            }
        } else if path.extension().is_none_or(|extension| extension != "wasm") {
            files.insert(path, (about.len(), about.modified().ok()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_source_is_noticed_and_what_a_build_writes_is_not() {
        let folder =
            std::env::temp_dir().join(format!("waterspout-sources-{}", getrandom::u64().expect("random")));
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().expect("in a folder")).expect("writable");
            fs::write(path, text).expect("writable");
        };
        write("src/lib.rs", "one");
        let before = Sources::of(&folder);
        for made in [
            "tide.wasm",
            "target/debug/tide.d",
            "node_modules/x/index.js",
            ".git/index",
            "src/__pycache__/a.pyc",
        ] {
            write(made, "made");
        }
        assert_eq!(Sources::of(&folder), before);
        write("src/lib.rs", "longer");
        let changed = Sources::of(&folder);
        assert_ne!(changed, before);
        write("src/new.rs", "");
        assert_ne!(Sources::of(&folder), changed);
        fs::remove_dir_all(&folder).expect("ours");
    }
}
