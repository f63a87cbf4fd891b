//! `target/languages/env`: what puts the languages' tools into a shell, for projects that lie elsewhere.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// What a language's projects need of a shell.
#[derive(Default)]
pub(crate) struct Environment {
    /// A folder whose programs come before all others.
    pub(crate) programs: Option<PathBuf>,
    pub(crate) variables: Vec<(String, String)>,
}

impl Environment {
    fn write(&self, script: &mut String) {
        if let Some(programs) = &self.programs {
            let _ = writeln!(script, "export PATH={}:\"$PATH\"", quoted(&programs.to_string_lossy()));
        }
        for (name, value) in &self.variables {
            let _ = writeln!(script, "export {name}={}", quoted(value));
        }
    }
}

/// Writes them all, for `sh`.
pub(super) fn write(environments: &[Environment], file: &Path) -> Result<()> {
    let mut script = String::from(
        "# What `cargo xtask setup --lang` has got. Into a shell with it: . target/languages/env\n",
    );
    environments.iter().for_each(|environment| environment.write(&mut script));
    let writing = || format!("cannot write {}", file.display());
    fs::create_dir_all(file.parent().with_context(writing)?).with_context(writing)?;
    fs::write(file, script).with_context(writing)
}

/// As one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_what_is_written_as_it_is() {
        let environment = Environment {
            programs: Some("/somebody's own/bin".into()),
            variables: vec![("WASI_CC".into(), "zig cc $HOME".into())],
        };
        let mut script = String::new();
        environment.write(&mut script);
        script.push_str("echo \"${PATH%%:*}\"; echo \"$WASI_CC\"");
        let mut shell = std::process::Command::new("sh");
        let said = crate::step::output(shell.args(["-c", &script])).unwrap();
        assert_eq!(said, "/somebody's own/bin\nzig cc $HOME\n");
    }
}
