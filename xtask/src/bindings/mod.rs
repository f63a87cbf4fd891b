//! `cargo xtask bindings`: what the SDKs for C and Go have of the generator, so that their users need no Rust.
//!
//! Each folder of bindings has a file `made-from`: the generator's version and a checksum of the interface. A test compares it with
//! `wit/`; the generator itself is needed only to make them again.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{
    languages::{self, Language},
    step, workspace,
};

/// wit-bindgen-cli of crates.io.
const GENERATOR: &str = "0.63.0";

/// What the SDKs' world adds to the interface.
const WORLD: &str = include_str!("guest.wit");

/// Short names for what would else have its whole name in every function of C.
const NAMES: [(&str, &str); 8] = [
    ("waterspout:websocket/types@0.1.0", "wit"),
    ("waterspout:websocket/handshake@0.1.0", "handshake"),
    ("waterspout:websocket/connection@0.1.0", "connection"),
    ("waterspout:websocket/client@0.1.0", "client"),
    ("waterspout:websocket/topics@0.1.0", "topics"),
    ("waterspout:websocket/handler@0.1.0", "handler"),
    ("waterspout:websocket/shared-state@0.1.0", "shared"),
    ("wasi:config/store@0.2.0-rc.1", "config"),
];

/// The Go module of the SDK.
const GO_MODULE: &str = "example.org/waterspout";

/// What the generator would have every user fetch; the SDK has its own.
const GO_RUNTIME: &str = "go.bytecodealliance.org/pkg/wit";

/// Where the SDKs have their bindings.
const C: &str = "guest-sdk/c/src/bindings";
const GO: &str = "guest-sdk/go/internal/bindings";

/// Options of `cargo xtask bindings`.
#[derive(Args)]
pub(crate) struct Bindings {
    /// Change nothing; fail if they are not what the generator makes
    #[arg(long)]
    pub(crate) check: bool,
}

/// A file below the workspace's root, and what it has to be.
type Generated = (PathBuf, Vec<u8>);

impl Bindings {
    pub(crate) fn run(&self) -> Result<()> {
        // Its gofmt makes the generated code readable.
        Language::Go.setup()?;
        let generator = install_generator()?;
        let folder = workspace::target(workspace::root()).join("bindings");
        let wit = write_wit(&folder)?;
        let mut files = c(&generator, &wit, &folder.join("c"))?;
        files.extend(go(&generator, &wit, &folder.join("go"))?);
        let mut stale = Vec::new();
        for (path, content) in files {
            let file = workspace::root().join(&path);
            if fs::read(&file).is_ok_and(|there| there == content) {
                continue;
            }
            stale.push(path.display().to_string());
            if !self.check {
                write(&file, &content)?;
            }
        }
        match (stale.as_slice(), self.check) {
            ([], _) => println!("the bindings are what the generator makes"),
            (stale, false) => println!("made again:\n{}", stale.join("\n")),
            (stale, true) => {
                bail!("not what the generator makes: {}; run `cargo xtask bindings`", stale.join(", "))
            }
        }
        Ok(())
    }
}

fn install_generator() -> Result<PathBuf> {
    let folder = workspace::target(workspace::root()).join("languages/bindings");
    let program = folder.join("bin/wit-bindgen");
    let installed = step::output(Command::new(&program).arg("--version"));
    if !installed.is_ok_and(|version| version.contains(GENERATOR)) {
        let mut cargo = Command::new("cargo");
        cargo.args(["install", "wit-bindgen-cli", "--locked", "--no-default-features", "--features", "c,go"]);
        cargo.args(["--version", GENERATOR, "--force", "--root"]).arg(&folder);
        step::run("compiling wit-bindgen", &workspace::log("wit-bindgen"), &mut cargo)?;
    }
    Ok(program)
}

/// The world with what it includes, as the generator wants it: a folder of packages.
fn write_wit(folder: &Path) -> Result<PathBuf> {
    let wit = folder.join("wit");
    if wit.exists() {
        fs::remove_dir_all(&wit).with_context(|| format!("cannot delete {}", wit.display()))?;
    }
    write(&wit.join("guest.wit"), WORLD.as_bytes())?;
    for (name, content) in interface()? {
        write(&wit.join("deps/websocket").join(name), &content)?;
    }
    Ok(wit)
}

/// The interface's files with their names, in order.
fn interface() -> Result<Vec<(String, Vec<u8>)>> {
    let folder = workspace::root().join("wit");
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wit") {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.push((name, fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?));
        }
    }
    files.sort();
    Ok(files)
}

/// What a folder of bindings was made from.
fn made_from() -> Result<String> {
    let mut checksum = Checksum::new();
    checksum.add(WORLD.as_bytes());
    for (name, content) in interface()? {
        checksum.add(name.as_bytes());
        checksum.add(&content);
    }
    Ok(format!("wit-bindgen {GENERATOR}\nwit {:016x}\n", checksum.0))
}

fn c(generator: &Path, wit: &Path, folder: &Path) -> Result<Vec<Generated>> {
    let mut command = Command::new(generator);
    command
        .arg("c")
        .arg(wit)
        .args(["--world", "guest", "--autodrop-borrows", "yes", "--out-dir"])
        .arg(folder);
    for (interface, name) in NAMES {
        command.args(["--rename", &format!("{interface}={name}")]);
    }
    step::quietly(&workspace::log("bindings-c"), &mut command)?;
    let read =
        |name: &str| fs::read(folder.join(name)).with_context(|| format!("the generator made no {name}"));
    let (section, content) = component_type(&read("guest_component_type.o")?)
        .context("the generator's object has no component-type section")?;
    let to = |name: &str| Path::new(C).join(name);
    Ok(vec![
        (to("guest.h"), read("guest.h")?),
        (to("guest.c"), read("guest.c")?),
        (to("component_type.c"), section_in_c(&section, &content).into()),
        (to("made-from"), made_from()?.into()),
    ])
}

/// The name and content of the section that says which world an object implements (WebAssembly, 5.5.3).
fn component_type(object: &[u8]) -> Option<(String, Vec<u8>)> {
    let mut rest = object.get(8..)?;
    while let Some((&kind, after)) = rest.split_first() {
        let (size, after) = leb128(after)?;
        let (section, after) = after.split_at_checked(size)?;
        rest = after;
        if kind == 0 {
            let (length, section) = leb128(section)?;
            let (name, content) = section.split_at_checked(length)?;
            let name = str::from_utf8(name).ok()?;
            if name.starts_with("component-type") {
                return Some((name.to_owned(), content.to_vec()));
            }
        }
    }
    None
}

fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().enumerate().take(5) {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

/// As text, so that the repository has no binary and a compiler of C is all that is needed.
fn section_in_c(name: &str, content: &[u8]) -> String {
    let mut text = format!(
        "// What the component is: the section that `wit-bindgen` {GENERATOR} writes as an object file. DO NOT EDIT!\n\n\
         __asm__(\n    \".section \\\".custom_section.{name}\\\",\\\"\\\",@\\n\"\n"
    );
    for line in content.chunks(32) {
        let escaped: String = line.iter().map(|byte| format!("\\\\{byte:03o}")).collect();
        text += &format!("    \"\\t.ascii \\\"{escaped}\\\"\\n\"\n");
    }
    text + ");\n\nvoid __component_type_object_force_link_guest(void) {}\n"
}

fn go(generator: &Path, wit: &Path, folder: &Path) -> Result<Vec<Generated>> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot delete {}", folder.display()))?;
    }
    let mut command = Command::new(generator);
    command.arg("go").arg(wit).args(["--world", "guest", "--pkg-name"]);
    command.arg(format!("{GO_MODULE}/internal/bindings")).arg("--out-dir").arg(folder);
    command.env("PATH", languages::path_with_gofmt()?);
    step::quietly(&workspace::log("bindings-go"), &mut command)?;
    let mut files = Vec::new();
    for path in files_below(folder)? {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let text = without_finalizers(&text.replace(GO_RUNTIME, &format!("{GO_MODULE}/internal/wit")));
        let inside = path.strip_prefix(folder).context("it is below that")?;
        files.push((Path::new(GO).join(inside), text.into()));
    }
    files.push((Path::new(GO).join("made-from"), made_from()?.into()));
    Ok(files)
}

/// Handles are given back, and handlers kept alive, by the SDK: as finalizers, thousands of them would run in whichever event the
/// collector is started in, and take longer than an event may.
fn without_finalizers(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut in_cleanup = false;
    for line in text.lines() {
        in_cleanup |= line.trim_start().starts_with("runtime.AddCleanup(");
        let pins = line.ends_with(".pinner.Pin(self)") || line.ends_with(".pinner.Unpin()");
        if !in_cleanup && !pins {
            kept += line;
            kept.push('\n');
        }
        in_cleanup &= line.trim() != "}, 0)";
    }
    kept
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn write(file: &Path, content: &[u8]) -> Result<()> {
    let folder = file.parent().context("a file lies in a folder")?;
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(file, content))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// FNV-1a with 64 bits: against forgetting, not against anybody.
struct Checksum(u64);

impl Checksum {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Where one piece ends and the next one begins counts, too.
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().chain(&(bytes.len() as u64).to_le_bytes()) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_bindings_are_those_of_the_interface_as_it_is() {
        let expected = made_from().expect("the interface can be read");
        for folder in [C, GO] {
            let file = workspace::root().join(folder).join("made-from");
            let stamp = fs::read_to_string(&file).expect("bindings have a stamp");
            assert_eq!(stamp, expected, "run `cargo xtask bindings`: {folder} is of another interface");
        }
    }

    #[test]
    fn the_section_of_the_world_is_found_and_written_as_text() {
        // A type section, and two custom ones.
        let object = b"\0asm\x01\0\0\0\x01\x01\x00\x00\x03\x01aX\x00\x12\x10component-type:g\x07";
        let (name, content) = component_type(object).expect("it is there");
        assert_eq!((name.as_str(), content.as_slice()), ("component-type:g", &b"\x07"[..]));
        let text = section_in_c(&name, &content);
        assert!(text.contains(r#"".section \".custom_section.component-type:g\",\"\",@\n""#), "{text}");
        assert!(
            text.contains(r#"".ascii \"\\007\"\n""#) || text.contains(r#"\t.ascii \"\\007\"\n"#),
            "{text}"
        );
        for cut in 0..object.len() {
            assert_eq!(component_type(&object[..cut]), None, "{cut} bytes");
        }
    }

    #[test]
    fn generated_go_is_rid_of_finalizers_and_of_nothing_else() {
        let generated = "a\n\truntime.AddCleanup(value, func(_ int) {\n\t\tdrop()\n\t}, 0)\n\tself.pinner.Pin(self)\n\tpinner.Unpin()\nb\n";
        assert_eq!(without_finalizers(generated), "a\n\tpinner.Unpin()\nb\n");
    }

    #[test]
    fn a_checksum_tells_pieces_apart() {
        let of = |pieces: &[&str]| {
            let mut checksum = Checksum::new();
            pieces.iter().for_each(|piece| checksum.add(piece.as_bytes()));
            checksum.0
        };
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["a"]), of(&["b"]));
        assert_eq!(of(&["a"]), of(&["a"]));
    }
}
