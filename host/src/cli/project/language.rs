//! The languages whose projects this program knows.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use clap::ValueEnum;

/// A language with an SDK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Language {
    Rust,
    #[value(name = "js", alias = "javascript")]
    JavaScript,
    Python,
    C,
    Go,
}

impl Language {
    pub(super) const ALL: [Self; 5] = [Self::Rust, Self::JavaScript, Self::Python, Self::C, Self::Go];

    /// The file that makes a folder a project of this language.
    pub(super) fn manifest(self) -> &'static str {
        match self {
            Self::Rust => "Cargo.toml",
            Self::JavaScript => "package.json",
            Self::Python => "pyproject.toml",
            Self::C => "Makefile",
            Self::Go => "go.mod",
        }
    }

    /// Whether a file is one that this language's tools build from: a source, by its extension, or what tells how to build. Data that a
    /// program takes in, and lock files, which builds write, are not.
    pub(super) fn builds_from(self, file: &Path) -> bool {
        let (extensions, files): (&[&str], &[&str]) = match self {
            Self::Rust => (&["rs"], &["Cargo.toml"]),
            Self::JavaScript => (
                &["js", "mjs", "cjs", "jsx", "ts", "mts", "cts", "tsx"],
                &["package.json", "package-lock.json", "tsconfig.json"],
            ),
            Self::Python => (&["py", "pyi"], &["pyproject.toml", "requirements.txt"]),
            Self::C => (&["c", "h", "cc", "cpp", "cxx", "hh", "hpp", "inc", "mk"], &["Makefile"]),
            Self::Go => (&["go", "s"], &["go.mod", "go.sum"]),
        };
        let is_one_of = |name: Option<&OsStr>, all: &[&str]| {
            name.and_then(|name| name.to_str()).is_some_and(|name| all.contains(&name))
        };
        is_one_of(file.extension(), extensions)
            || is_one_of(file.extension(), &["wit"])
            || is_one_of(file.file_name(), files)
    }

    /// Where in its manifest a project has its name.
    pub(super) fn naming(self) -> &'static str {
        match self {
            Self::Rust => "`[package]` has a `name`",
            Self::JavaScript => "it has a `name`",
            Self::Python => "`[project]` has a `name`",
            Self::C => "a line such as `NAME := echo` does",
            Self::Go => "a line such as `module example.com/echo` does",
        }
    }

    /// The name that a manifest gives its project.
    pub(super) fn project_name(self, manifest: &str) -> Option<String> {
        let name = match self {
            Self::Rust => name_in_toml(manifest, "package")?,
            Self::Python => name_in_toml(manifest, "project")?,
            Self::JavaScript => {
                let manifest: serde_json::Value = serde_json::from_str(manifest).ok()?;
                let name = manifest.get("name")?.as_str()?;
                // Behind its owner's: @owner/name.
                name.rsplit('/').next()?.to_owned()
            }
            Self::C => manifest.lines().find_map(make_variable)?.to_owned(),
            Self::Go => {
                let module = manifest.lines().find_map(|line| line.trim().strip_prefix("module "))?;
                module.trim().trim_matches('"').rsplit('/').next()?.to_owned()
            }
        };
        // It becomes the name of a file.
        (!name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\'])).then_some(name)
    }
}

impl fmt::Display for Language {
    /// As it is written after `--lang`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rust => "rust",
            Self::JavaScript => "js",
            Self::Python => "python",
            Self::C => "c",
            Self::Go => "go",
        })
    }
}

fn name_in_toml(manifest: &str, table: &str) -> Option<String> {
    let manifest: toml::Table = manifest.parse().ok()?;
    Some(manifest.get(table)?.get("name")?.as_str()?.to_owned())
}

/// `NAME`, assigned in any of make's ways.
fn make_variable(line: &str) -> Option<&str> {
    let (variable, value) = line.split_once('=')?;
    (variable.trim_end_matches([':', '?']).trim() == "NAME").then(|| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_languages_sources_and_what_tells_how_to_build_is_built_from_and_nothing_else() {
        for (language, files) in [
            (Language::Rust, ["src/lib.rs", "Cargo.toml", "wit/own.wit"]),
            (Language::JavaScript, ["src/handler.js", "src/rooms.ts", "package.json"]),
            (Language::Python, ["handler.py", "pyproject.toml", "requirements.txt"]),
            (Language::C, ["chat.c", "sdk/include/waterspout.h", "sdk/waterspout.mk"]),
            (Language::Go, ["main.go", "go.mod", "go.sum"]),
        ] {
            assert!(language.builds_from(Path::new(language.manifest())), "{language}");
            for file in files {
                assert!(language.builds_from(Path::new(file)), "{language}: {file}");
            }
            for file in
                ["dev.log", "log", "out.txt", "state/manifest.json", "Cargo.lock", "tide.wasm", "words.csv"]
            {
                assert!(!language.builds_from(Path::new(file)), "{language}: {file}");
            }
        }
    }

    #[test]
    fn names_that_are_no_file_names_are_not_taken() {
        for (language, manifest) in [
            (Language::Rust, "[package]\nname = \"../up\""),
            (Language::C, "NAME := .hidden"),
            (Language::C, "NAMES = a"),
            (Language::Go, "module "),
            (Language::JavaScript, "{\"name\": 1}"),
            (Language::Python, "no TOML"),
        ] {
            assert_eq!(language.project_name(manifest), None, "{manifest}");
        }
        assert_eq!(
            Language::JavaScript.project_name("{\"name\": \"@sea/tide\"}").as_deref(),
            Some("tide"),
            "an owner is not part of a file's name"
        );
    }
}
