//! `waterspout check`: is this a handler that this host can run?

use std::path::PathBuf;

use clap::Args;
use waterspout::inspect::Inspection;
use waterspout::{CompileLimits, HandlerSource, Limits, Runtime, RuntimeOptions};

use super::progress::with_progress;

/// The arguments of `waterspout check`.
#[derive(Args)]
pub(super) struct Check {
    /// A component, a core module with a component-type section, or WebAssembly text
    handler: PathBuf,
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let source = HandlerSource::File(self.handler);
        let named = |error| anyhow::anyhow!("{source} {error}");
        let compiler = super::compiler(CompileLimits::default(), false)?;
        let inspection =
            with_progress(&source.to_string(), || Inspection::of(&source, &compiler)).map_err(named)?;
        super::say(&source);
        super::say(inspection.to_string().trim_end());
        let limits = Limits::default();
        // One instance: nothing is run here.
        let options = RuntimeOptions { max_instances: 1, compiler, ..RuntimeOptions::default() };
        let runtime =
            Runtime::new(&options, [&limits]).map_err(|error| super::Internal(format!("{error:#}")))?;
        with_progress(&source.to_string(), || runtime.load(&source, &limits)).map_err(named)?;
        super::say(format_args!("ok       `waterspout serve {source}` runs it"));
        Ok(())
    }
}
