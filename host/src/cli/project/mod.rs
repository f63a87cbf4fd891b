//! A handler's sources on somebody's disk: which language they are in, what the handler is called, how it is built.
//!
//! # Layout
//! - `language`: what is known of each language: how a project of it is recognised and named
//! - `toolchain`: which programs build it, and what to install where one is missing
//! - `templates`: the projects that `waterspout new` writes
//! - `sources`: whether anything has changed

mod language;
mod sources;
mod templates;
mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

pub(super) use self::language::Language;
pub(super) use self::sources::Sources;
pub(super) use self::templates::{Template, write};

/// A configuration of the host's in a project: `waterspout dev` serves with it.
pub(super) const CONFIGURATION: &str = "waterspout.toml";

/// A folder with the sources of one handler.
pub(super) struct Project {
    pub(super) folder: PathBuf,
    pub(super) language: Language,
    /// As its language's manifest says.
    pub(super) name: String,
}

impl Project {
    /// The project in `folder`; in which language, tell its manifests, unless the user does.
    ///
    /// # Errors
    /// There is no manifest of any language, or several, or it names no project.
    pub(super) fn at(folder: &Path, language: Option<Language>) -> anyhow::Result<Self> {
        let language = match language {
            Some(language) => language,
            None => recognise(folder)?,
        };
        let manifest = folder.join(language.manifest());
        let text =
            fs::read_to_string(&manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
        let name = language
            .project_name(&text)
            .with_context(|| format!("{} names no project: {}", manifest.display(), language.naming()))?;
        Ok(Self { folder: folder.to_owned(), language, name })
    }

    /// Where the component is when it is built: `NAME.wasm` in the project's folder, in every language.
    pub(super) fn component(&self) -> PathBuf {
        self.folder.join(&self.name).with_added_extension("wasm")
    }

    /// Builds the component by the language's own tools, which say themselves what is wrong with the sources.
    ///
    /// # Errors
    /// A tool is missing (the error says how to install it) or fails.
    pub(super) fn build(&self) -> anyhow::Result<()> {
        toolchain::build(self)?;
        let component = self.component();
        if !component.is_file() {
            bail!(
                "the build has made no {}: let it write the component there, or name the project after what it writes",
                component.display()
            );
        }
        Ok(())
    }
}

fn recognise(folder: &Path) -> anyhow::Result<Language> {
    if !folder.as_os_str().is_empty() && !folder.is_dir() {
        bail!("there is no folder {}", folder.display());
    }
    let mut found: Vec<Language> =
        Language::ALL.into_iter().filter(|language| folder.join(language.manifest()).is_file()).collect();
    // Projects in all languages have Makefiles: for chores, beside the manifest that says more.
    if found.len() > 1 {
        found.retain(|language| *language != Language::C);
    }
    match found[..] {
        [language] => Ok(language),
        [] => {
            let manifests = Language::ALL.map(Language::manifest).join(", ");
            bail!(
                "{} is no handler's project: it has none of {manifests}. `waterspout new NAME --lang rust` makes one",
                folder.display()
            )
        }
        _ => {
            let flags: Vec<String> = found.iter().map(|language| format!("`--lang {language}`")).collect();
            bail!("{} has manifests of several languages: say {}", folder.display(), flags.join(" or "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own, removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn with(files: &[(&str, &str)]) -> Self {
            let folder = std::env::temp_dir()
                .join(format!("waterspout-project-{}", getrandom::u64().expect("random")));
            fs::create_dir(&folder).expect("a new folder");
            for (name, text) in files {
                fs::write(folder.join(name), text).expect("writable");
            }
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_project_is_known_by_its_manifest_and_named_by_it() {
        for (manifest, text, language) in [
            ("Cargo.toml", "[package]\nname = \"tide\"\n", Language::Rust),
            ("package.json", "{\"name\": \"tide\"}", Language::JavaScript),
            ("pyproject.toml", "[project]\nname = \"tide\"\n", Language::Python),
            ("Makefile", "# A handler\nNAME := tide\nall: $(NAME).wasm\n", Language::C),
            ("go.mod", "module example.com/weather/tide\n\ngo 1.25\n", Language::Go),
        ] {
            let folder = Folder::with(&[(manifest, text)]);
            let project = Project::at(&folder.0, None).expect(manifest);
            assert_eq!((project.language, project.name.as_str()), (language, "tide"));
            assert_eq!(project.component(), folder.0.join("tide.wasm"));
        }
    }

    #[test]
    fn a_makefile_beside_another_manifest_is_for_chores() {
        let folder = Folder::with(&[("Makefile", "all:\n\tgo test .\n"), ("go.mod", "module tide\n")]);
        let project = Project::at(&folder.0, None).expect("Go");
        assert_eq!((project.language, project.name.as_str()), (Language::Go, "tide"));
        let folder = Folder::with(&[("Makefile", "NAME := tide\n"), ("package.json", "{}")]);
        let project = Project::at(&folder.0, Some(Language::C)).expect("said to be C");
        assert_eq!(project.name, "tide");
    }

    #[test]
    fn without_a_manifest_or_with_several_the_error_says_what_to_do() {
        let mistake = |files: &[(&str, &str)]| {
            let folder = Folder::with(files);
            format!("{:#}", Project::at(&folder.0, None).err().expect("a mistake"))
        };
        assert!(mistake(&[("a.txt", "")]).contains("`waterspout new NAME --lang rust` makes one"));
        let both = mistake(&[("Cargo.toml", ""), ("go.mod", "")]);
        assert!(both.contains("say `--lang rust` or `--lang go`"), "{both}");
        let three = mistake(&[("Makefile", "NAME := tide"), ("package.json", "{}"), ("go.mod", "")]);
        assert!(three.contains("say `--lang js` or `--lang go`"), "{three}");
        let unnamed = mistake(&[("package.json", "{}")]);
        assert!(unnamed.contains("names no project"), "{unnamed}");
    }
}
