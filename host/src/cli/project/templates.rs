//! The projects that `waterspout new` writes: the repository's own examples, each with its language's SDK in `sdk/`, all of it
//! carried by this program. So a project fits the host that wrote it, and needs nothing that is not published.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use clap::ValueEnum;
use rust_embed::Embed;

use super::{CONFIGURATION, Language};

/// What the handler of a new project does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Template {
    /// It sends back what it is sent
    #[default]
    Echo,
    /// Rooms in which people talk, with a page of their own
    Chat,
}

/// The examples, by language and name.
#[derive(Embed)]
#[folder = "../example-guests"]
#[exclude = "*/target/*"]
#[exclude = "*/node_modules/*"]
#[exclude = "*/.venv/*"]
#[exclude = "*/__pycache__/*"]
#[exclude = "*.egg-info/*"]
#[exclude = "*/build/*"]
#[exclude = "*.wasm"]
struct Examples;

/// The SDKs, by language.
#[derive(Embed)]
#[folder = "../guest-sdk"]
#[exclude = "*/target/*"]
#[exclude = "*/node_modules/*"]
#[exclude = "*/.venv/*"]
#[exclude = "*/__pycache__/*"]
#[exclude = "*.egg-info/*"]
#[exclude = "*/build/*"]
#[exclude = "*/tests/*"]
struct Sdks;

/// The workspace of which the examples in Rust are members.
const WORKSPACE: &str = include_str!("../../../../Cargo.toml");

/// The SDKs' own packages: no project can be called so and need them.
const SDK_PACKAGES: [&str; 2] = ["waterspout", "waterspout-guest"];

/// Where a project has its SDK.
const SDK: &str = "sdk";

/// The chat's page, of all languages.
const CHAT_PAGE: &str = include_str!("../../../../example-guests/chat.html");

/// Paths within a project, and what is written there.
type Files = BTreeMap<String, Vec<u8>>;

/// Writes a project called `name` into `folder`, which is made.
///
/// # Errors
/// The name is none, the folder is there already, or cannot be written.
pub(in crate::cli) fn write(
    folder: &Path,
    name: &str,
    language: Language,
    template: Template,
) -> anyhow::Result<()> {
    check_name(name)?;
    if folder.exists() {
        bail!("{} is there already: choose another name, or remove it", folder.display());
    }
    for (path, content) in files(name, language, template)? {
        let file = folder.join(path);
        let parent = file.parent().unwrap_or(folder);
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&file, content))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// Every language takes such a name for a package.
fn check_name(name: &str) -> anyhow::Result<()> {
    let valid = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.ends_with('-')
        && name.len() <= 64;
    if !valid {
        bail!("`{name}` is no name for a project: lower-case letters, digits and hyphens, such as `my-chat`");
    }
    if SDK_PACKAGES.contains(&name) {
        bail!("`{name}` is what an SDK is called, which the project needs: choose another name");
    }
    Ok(())
}

fn files(name: &str, language: Language, template: Template) -> anyhow::Result<Files> {
    let mut files = Files::new();
    let example = format!("{}/{}/", folder_of(language), template_name(template));
    take::<Examples>(&example, "", &mut files);
    take::<Sdks>(&format!("{}/", folder_of(language)), &format!("{SDK}/"), &mut files);
    if language == Language::Rust {
        rust(name, &mut files)?;
    } else {
        rename(name, language, template, &mut files)?;
    }
    files.insert("README.md".into(), readme(name, language, template).into());
    files.insert(".gitignore".into(), ignored(language).into());
    if template == Template::Chat {
        files.insert("page.html".into(), CHAT_PAGE.into());
        files.insert(CONFIGURATION.into(), chat_configuration(name).into());
    }
    Ok(files)
}

fn folder_of(language: Language) -> &'static str {
    match language {
        Language::Rust => "rust",
        Language::JavaScript => "javascript",
        Language::Python => "python",
        Language::C => "c",
        Language::Go => "go",
    }
}

fn template_name(template: Template) -> &'static str {
    match template {
        Template::Echo => "echo",
        Template::Chat => "chat",
    }
}

/// Every file of `E` below `from` goes below `to`.
fn take<E: Embed>(from: &str, to: &str, files: &mut Files) {
    for path in E::iter() {
        let Some((rest, file)) = path.strip_prefix(from).zip(E::get(&path)) else { continue };
        files.insert(format!("{to}{rest}"), file.data.into_owned());
    }
}

/// Of members of our workspace: crates that stand alone.
fn rust(name: &str, files: &mut Files) -> anyhow::Result<()> {
    let workspace: toml::Table = WORKSPACE.parse().context("the workspace is no TOML")?;
    for (path, is_project) in [("Cargo.toml".to_owned(), true), (format!("{SDK}/Cargo.toml"), false)] {
        let manifest = files.get(&path).with_context(|| format!("there is no {path}"))?;
        let manifest: toml::Table =
            std::str::from_utf8(manifest)?.parse().with_context(|| format!("{path} is no TOML"))?;
        let mut manifest = stand_alone(manifest, &workspace);
        if is_project {
            set(&mut manifest, "package", "name", name.into());
            let release = workspace.get("profile").and_then(|profiles| profiles.get("guest")).cloned();
            let mut release = release.context("the workspace has no profile for guests")?;
            release.as_table_mut().map(|release| release.remove("inherits"));
            manifest.insert("profile".into(), toml::Table::from_iter([("release".into(), release)]).into());
            // Whatever it lies in, it is no member of that.
            manifest.insert("workspace".into(), toml::Table::new().into());
        }
        files.insert(path, toml::to_string(&manifest)?.into());
    }
    files.insert(".cargo/config.toml".into(), "[build]\ntarget = \"wasm32-wasip2\"\n".into());
    Ok(())
}

/// A manifest with what it has from its workspace written into it (The Cargo Book, Workspaces).
fn stand_alone(mut manifest: toml::Table, workspace: &toml::Table) -> toml::Table {
    let inherited = |of: &str, key: &str| workspace.get("workspace")?.get(of)?.get(key).cloned();
    for (table, of) in [("package", "package"), ("dependencies", "dependencies")] {
        let Some(toml::Value::Table(entries)) = manifest.get_mut(table) else { continue };
        for (key, value) in entries.iter_mut() {
            if value.get("workspace").is_some() {
                *value = inherited(of, key).unwrap_or_else(|| value.clone());
            }
        }
    }
    if manifest.get("dependencies").and_then(|all| all.get("waterspout-guest")).is_some() {
        let sdk = toml::Table::from_iter([("path".into(), SDK.into())]);
        set(&mut manifest, "dependencies", "waterspout-guest", sdk.into());
    }
    manifest.remove("lints");
    manifest
}

fn set(manifest: &mut toml::Table, table: &str, key: &str, value: toml::Value) {
    if let Some(toml::Value::Table(entries)) = manifest.get_mut(table) {
        entries.insert(key.into(), value);
    }
}

/// In a manifest of another language: the project's own name, and the SDK that lies beside it.
fn rename(name: &str, language: Language, template: Template, files: &mut Files) -> anyhow::Result<()> {
    let sdk = format!("../../../guest-sdk/{}", folder_of(language));
    let manifest = language.manifest();
    let text = files.get(manifest).with_context(|| format!("there is no {manifest}"))?;
    // Go takes a path for one only with a dot before it.
    let text = std::str::from_utf8(text)?.replace(&sdk, &format!("./{SDK}"));
    let old = language.project_name(&text).unwrap_or_else(|| template_name(template).into());
    let renamed: Vec<String> = text
        .lines()
        .map(|line| if names_project(line) { line.replace(&old, name) } else { line.into() })
        .collect();
    files.insert(manifest.into(), (renamed.join("\n") + "\n").into());
    // Python has what it needs in a file of its own.
    if let Some(requirements) = files.get_mut("requirements.txt") {
        *requirements = std::str::from_utf8(requirements)?.replace(&sdk, &format!("./{SDK}")).into();
    }
    Ok(())
}

/// Whether a line of a manifest has the project's name, or that of what it builds.
fn names_project(line: &str) -> bool {
    let line = line.trim_start();
    ["\"name\"", "name", "NAME", "module ", "\"build\""].iter().any(|start| line.starts_with(start))
}

/// Three lines: what to type.
fn readme(name: &str, language: Language, template: Template) -> String {
    let build = match language {
        Language::Rust => {
            format!(
                "cargo build --release && cp target/wasm32-wasip2/release/{}.wasm {name}.wasm",
                name.replace('-', "_")
            )
        }
        Language::JavaScript => "npm install && npm run build".into(),
        Language::Python => format!(
            "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt && .venv/bin/python -m waterspout build handler -o {name}.wasm"
        ),
        Language::C => "make".into(),
        Language::Go => format!("GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o {name}.wasm ."),
    };
    let serve = match template {
        Template::Echo => format!("waterspout serve {name}.wasm"),
        Template::Chat => format!("waterspout serve --config {CONFIGURATION}"),
    };
    format!(
        "# {name}: a WebSocket handler for Waterspout\n\
         Build it with `{build}` (or `waterspout build`, which says what is missing), and serve it with `{serve}`.\n\
         Both, and again whenever you change something: `waterspout dev`. The page is at http://127.0.0.1:8888/.\n"
    )
}

fn ignored(language: Language) -> &'static str {
    match language {
        Language::Rust => "/target\n/*.wasm\n",
        Language::JavaScript => "/node_modules\n/*.wasm\n",
        Language::Python => "/.venv\n__pycache__\n*.egg-info\n/*.wasm\n",
        Language::C => "/build\n/*.wasm\n",
        Language::Go => "/*.wasm\n",
    }
}

fn chat_configuration(name: &str) -> String {
    format!(
        "page = \"page.html\"\n\n[route.chat]\npath = \"/chat/{{room}}\"\nhandler = \"{name}.wasm\"\ninstance = \"{{room}}\"\n"
    )
}
