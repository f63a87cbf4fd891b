//! `waterspout check`: is this a handler that this host can run? And with `--config`: what does a configuration come to?

use std::path::{Path, PathBuf};

use clap::Args;
use waterspout::config::Config;
use waterspout::handler::inspect::Inspection;
use waterspout::{
    CompileLimits, HandlerSource, Limits, Loader, Route, Runtime, RuntimeOptions, Tenant, migration_hindrance,
};

use super::progress::with_progress;

/// The arguments of `waterspout check`.
#[derive(Args)]
pub(super) struct Check {
    /// A component, a core module with a component-type section, or WebAssembly text
    #[arg(required_unless_present = "config", conflicts_with = "config")]
    handler: Option<PathBuf>,
    /// A configuration file: tell every limit that it comes to, and whether each route's handler can be run under its own
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match (self.handler, self.config) {
            (Some(handler), _) => check_handler(HandlerSource::File(handler)),
            (None, Some(file)) => check_config(&file),
            (None, None) => unreachable!("clap requires one of them"),
        }
    }
}

pub(super) fn check_handler(source: HandlerSource) -> anyhow::Result<()> {
    let named = |error| anyhow::anyhow!("{source} {error}");
    let compiler = super::compiler(CompileLimits::default(), false)?;
    let inspection =
        with_progress(&source.to_string(), || Inspection::of(&source, &compiler)).map_err(named)?;
    super::say(&source);
    super::say(inspection.to_string().trim_end());
    let limits = Limits::default();
    let options =
        RuntimeOptions { max_instances: super::PLACES_OF_ONE, compiler, ..RuntimeOptions::default() };
    let runtime = runtime(&options, [&limits])?;
    with_progress(&source.to_string(), || runtime.load(&source, &limits)).map_err(named)?;
    super::say(format_args!("ok       `waterspout serve {source}` runs it"));
    Ok(())
}

fn runtime<'a>(
    options: &RuntimeOptions,
    limits: impl IntoIterator<Item = &'a Limits>,
) -> anyhow::Result<Runtime> {
    Ok(Runtime::new(options, limits).map_err(|error| super::Internal(format!("{error:#}")))?)
}

/// Says in the file's own language what it comes to. Handlers come last, because they take time.
fn check_config(file: &Path) -> anyhow::Result<()> {
    let config = Config::from_file(file)?;
    super::say(format_args!("# {}", file.display()));
    say_keys(config.shown_limits());
    say_table("compile", config.compile.shown());
    let mut told: Vec<&Tenant> = Vec::new();
    for (route, source) in &config.routes {
        if !told.contains(&&route.tenant) {
            told.push(&route.tenant);
            say_table(&format!("tenant.{}.total", route.tenant.name), route.tenant.total.shown());
        }
        say_route(route, source);
    }
    let max_instances = config.runtime.max_instances.min(super::PLACES_OF_ONE);
    let mut options = RuntimeOptions { max_instances, ..config.runtime };
    options.compiler = super::compiler(config.compile, config.sandbox)?;
    let runtime = runtime(&options, config.routes.iter().map(|(route, _)| &route.limits))?;
    let mut loader = Loader::new(&runtime);
    if config.routes.len() > 1 {
        let handlers = config.routes.iter().map(|(route, source)| (source, &route.limits));
        with_progress("the handlers", || loader.compile_ahead(handlers));
    }
    let (mut missing, mut hindrances) = (Vec::new(), Vec::new());
    for (route, source) in &config.routes {
        match with_progress(&source.to_string(), || loader.load(source, &route.limits)) {
            Ok(handler) => {
                let hindrance = migration_hindrance(&route.policy, route.swap.on_swap, &handler);
                hindrances.extend(hindrance.map(|hindrance| (route, source, hindrance)));
            }
            Err(error) => missing.push((route, error)),
        }
    }
    for (route, source, hindrance) in hindrances {
        let name = &route.name;
        super::say(format_args!("\n# note: `on-swap = \"migrate\"` of route.{name}: {source} {hindrance}"));
    }
    if !missing.is_empty() {
        let missing = missing.iter().map(|(route, error)| (*route, error));
        return Err(super::not_loaded(Some(file), missing));
    }
    super::say(format_args!("\n# ok: `waterspout serve --config {}` runs it", file.display()));
    Ok(())
}

fn say_route(route: &Route, source: &HandlerSource) {
    let tenant = &route.tenant.name;
    super::say(format_args!("\n# {} for {source}, of tenant {tenant}", route.pattern.as_str()));
    if !route.connect.is_empty() {
        super::say(format_args!("# its handlers may connect to {}", route.connect));
    }
    say_lines(
        &format!("route.{}", route.name),
        vec![("spare-instances".into(), route.spare_instances.to_string())],
    );
    say_lines(&format!("route.{}.limits", route.name), route.limits.shown());
}

fn say_table(name: &str, lines: Vec<(String, String)>) {
    super::say("");
    say_lines(name, lines);
}

fn say_lines(name: &str, lines: Vec<(String, String)>) {
    super::say(format_args!("[{name}]"));
    say_keys(lines);
}

fn say_keys(lines: Vec<(String, String)>) {
    for (key, value) in lines {
        if value.starts_with('`') {
            // Another key's value, which is no value itself.
            super::say(format_args!("# {key} is {value}"));
            continue;
        }
        let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
        let quote = if is_number { "" } else { "\"" };
        super::say(format_args!("{key} = {quote}{value}{quote}"));
    }
}
