//! `waterspout check`: is this a handler that this host can run? And with `--config`: what does a configuration come to?

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use waterspout::config::{Config, PageChoice};
use waterspout::handler::inspect::Inspection;
use waterspout::{
    CacheFolders, Certificates, CompileLimits, HandlerSource, InstancePolicy, Limits, Loader, Page, Route,
    Runtime, RuntimeOptions, Tenant, migration_hindrance,
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
            (Some(handler), _) => check_handler(HandlerSource::File(handler), None),
            (None, Some(file)) => check_config(&file),
            (None, None) => unreachable!("clap requires one of them"),
        }
    }
}

fn check_handler(source: HandlerSource, cache: Option<CacheFolders>) -> anyhow::Result<()> {
    check_another(&source, cache, None)?;
    super::say(format_args!("ok       `waterspout serve {source}` runs it"));
    Ok(())
}

/// Tells what a handler is, unless all but its size is `known`, and whether it can be run. Returns what is known then. What it compiles is
/// kept in `cache`, for who serves it next.
pub(super) fn check_another(
    source: &HandlerSource,
    cache: Option<CacheFolders>,
    known: Option<&str>,
) -> anyhow::Result<String> {
    let named = |error| anyhow::anyhow!("{source} {error}");
    let compiler = super::compiler(CompileLimits::default(), false)?;
    let inspection =
        with_progress(&source.to_string(), || Inspection::of(source, &compiler)).map_err(named)?;
    let told = inspection.to_string();
    // Behind the form and the size.
    let kind = told.split_once('\n').map_or("", |(_, kind)| kind).to_owned();
    if known != Some(kind.as_str()) {
        super::say(source);
        super::say(told.trim_end());
    }
    let limits = Limits::default();
    let options =
        RuntimeOptions { max_instances: super::PLACES_OF_ONE, cache, compiler, ..RuntimeOptions::default() };
    let runtime = runtime(&options, [&limits])?;
    with_progress(&source.to_string(), || runtime.load(source, &limits)).map_err(named)?;
    Ok(kind)
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
            say_tenant(&route.tenant);
        }
        say_route(route, source);
    }
    check_files(&config)?;
    let max_instances = config.runtime.max_instances.min(super::PLACES_OF_ONE);
    let mut options = RuntimeOptions { max_instances, ..config.runtime };
    options.compiler = super::compiler(config.compile, config.sandbox)?;
    let runtime = runtime(&options, config.routes.iter().map(|(route, _)| &route.limits))?;
    let mut loader = Loader::new(runtime.into());
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

/// What `serve` reads beside the handlers, and refuses to start without.
fn check_files(config: &Config) -> anyhow::Result<()> {
    super::serve::check_user(config)?;
    if !config.certificates.is_empty() {
        Certificates::load(config.certificates.iter().cloned())?;
    }
    if let PageChoice::File(file) = &config.page {
        Page::from_file(file).with_context(|| format!("the page {} cannot be read", file.display()))?;
    }
    if let Some(admin) = &config.admin {
        admin.check_token().context("in `[admin]`")?;
    }
    if let Some(folder) = config.state_dir.as_deref().filter(|path| path.exists() && !path.is_dir()) {
        bail!("state-dir: {} is no folder", folder.display());
    }
    Ok(())
}

fn say_tenant(tenant: &Tenant) {
    let lines = tenant.total.shown();
    if tenant.is_default() {
        super::say("\n# the routes without a tenant, together");
        lines.iter().for_each(|(key, value)| super::say(format_args!("# {key} is {value}")));
    } else {
        say_table(&format!("tenant.{}.total", quoted(&tenant.name)), lines);
    }
}

fn say_route(route: &Route, source: &HandlerSource) {
    let mut name = format!("route.{}", quoted(&route.name));
    if !route.tenant.is_default() {
        name = format!("tenant.{}.{name}", quoted(&route.tenant.name));
    }
    super::say("");
    if !route.connect.is_empty() {
        super::say(format_args!("# its handlers may connect to {}", route.connect));
    }
    let mut lines = vec![
        ("path".into(), route.pattern.as_str().to_owned()),
        ("handler".into(), source.to_string()),
        ("instance".into(), route.policy.to_string()),
        ("spare-instances".into(), route.spare_instances.to_string()),
    ];
    lines.extend(route.swap.shown());
    if route.policy == InstancePolicy::Route {
        // It has none.
        lines.retain(|(key, _)| !key.starts_with("canary-"));
    }
    say_lines(&name, lines);
    say_lines(&format!("{name}.limits"), route.limits.shown());
}

fn say_table(name: &str, lines: Vec<(String, String)>) {
    super::say("");
    say_lines(name, lines);
}

fn say_lines(name: &str, lines: Vec<(String, String)>) {
    super::say(format_args!("[{name}]"));
    say_keys(lines);
}

/// A name in the head of a table (TOML 1.0, keys).
fn quoted(name: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !name.is_empty() && name.bytes().all(is_bare) { name.into() } else { as_text(name) }
}

/// A text in quotes.
fn as_text(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn say_keys(lines: Vec<(String, String)>) {
    for (key, value) in lines {
        if value.starts_with('`') {
            // Another key's value, which is no value itself.
            super::say(format_args!("# {key} is {value}"));
            continue;
        }
        let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
        let value = if is_number { value } else { as_text(&value) };
        super::say(format_args!("{key} = {value}"));
    }
}
