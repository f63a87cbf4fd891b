//! Compiling, as the program and those who embed it see it: limits, refusals, and that nothing of a child stays.

#[cfg(target_os = "linux")]
pub(crate) mod children;
#[cfg(target_os = "linux")]
mod queue;
mod routes;
pub(crate) mod wasm;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use waterspout::compiler::WORKER_COMMAND;
use waterspout::{
    Application, CacheFolders, ChildCompiler, CompileLimits, Compiler, Handler, HandlerSource, Limits,
    LoadError, Pattern, Route, Runtime, RuntimeOptions,
};

use crate::support::{Ended, Folder, Program, client, echoes, handlers, run};

/// What `serve` says of a handler under a `[compile]` table.
fn refused(folder: &Folder, handler: &[u8], compile: &str) -> Ended {
    folder.write("handler.wasm", handler);
    let config = folder.write("waterspout.toml", config(compile));
    let ended = run(folder.command().arg("serve").arg("--config").arg(config));
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{ended:?}");
    ended
}

fn served(folder: &Folder, handler: &[u8], compile: &str) {
    folder.write("handler.wasm", handler);
    let config = folder.write("waterspout.toml", config(compile));
    let program = Program::start(folder.command().arg("serve").arg("--config").arg(config));
    let mut client = client(program.address(), "/");
    echoes(&mut client, compile);
}

fn config(compile: &str) -> String {
    format!(
        "listen = '127.0.0.1:0'\n[compile]\n{compile}\n[route.stranger]\npath = '/'\nhandler = 'handler.wasm'\n"
    )
}

fn echo() -> Vec<u8> {
    handlers::echo()
}

#[test]
fn a_handler_that_compiles_for_too_long_is_refused_with_the_key() {
    let folder = Folder::new();
    let ended = refused(&folder, &wasm::slow(), "timeout = '1s'");
    let sentence = ended.sentence();
    assert!(
        sentence.contains("handler.wasm takes longer than 1s to compile: raise `timeout` of `[compile]`"),
        "{ended:?}"
    );
    assert!(sentence.contains("in route `stranger`"), "{ended:?}");
}

#[test]
fn a_handler_that_takes_too_much_memory_to_compile_is_refused_with_the_key() {
    let folder = Folder::new();
    let many = wasm::with_functions(100_000, 2);
    let ended = refused(&folder, &many, "max-memory-bytes = '64MiB'");
    assert!(
        ended
            .sentence()
            .contains("needs more than 64MiB of memory to compile: raise `max-memory-bytes` of `[compile]`"),
        "{ended:?}"
    );
    served(&folder, &wasm::with_functions(100, 2), "max-memory-bytes = '64MiB'");
}

#[test]
fn a_file_may_be_as_large_as_max_component_bytes_and_not_a_byte_larger() {
    let folder = Folder::new();
    let echo = echo();
    served(&folder, &echo, &format!("max-component-bytes = {}", echo.len()));
    let ended = refused(&folder, &echo, &format!("max-component-bytes = {}", echo.len() - 1));
    assert!(
        ended.sentence().contains("is larger than ")
            && ended.sentence().contains("raise `max-component-bytes`"),
        "{ended:?}"
    );
}

#[test]
fn compiled_code_may_be_as_large_as_max_artefact_bytes_and_not_a_byte_larger() {
    let folder = Folder::new();
    let echo = echo();
    served(&folder, &echo, "");
    // The MAC, and what an instance of it takes, stand before it.
    let artefact = fs::metadata(&folder.compiled()[0]).expect("kept").len() - 32 - 16;
    for (bytes, fits) in [(artefact, true), (artefact - 1, false)] {
        let folder = Folder::new();
        let compile = format!("max-artefact-bytes = {bytes}");
        if fits {
            served(&folder, &echo, &compile);
        } else {
            let ended = refused(&folder, &echo, &compile);
            let sentence = ended.sentence();
            assert!(
                sentence.contains("when it is compiled: raise `max-artefact-bytes` of `[compile]`"),
                "{ended:?}"
            );
        }
    }
}

#[test]
fn a_component_of_100_mb_is_refused_or_served_as_the_limit_says() {
    let folder = Folder::new();
    let large = wasm::with_custom_section(&echo(), 100_000_000);
    let ended = refused(&folder, &large, "");
    assert!(
        ended.sentence().contains("is larger than 64MiB: raise `max-component-bytes` of `[compile]`"),
        "{ended:?}"
    );
    served(&folder, &large, "max-component-bytes = '101MB'");
}

#[test]
fn a_file_without_end_is_not_read_to_its_end() {
    let folder = Folder::new();
    for command in ["serve", "check"] {
        let ended = run(folder.command().arg(command).arg("/dev/zero"));
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.sentence().contains("/dev/zero cannot be read: it is no plain file"), "{ended:?}");
    }
}

#[test]
fn a_limit_that_nothing_could_meet_is_a_mistake_of_the_file() {
    let folder = Folder::new();
    for (compile, wanted) in [
        ("timeout = '999ms'", "`timeout` must be at least 1s"),
        ("max-memory-bytes = '63MiB'", "`max-memory-bytes` must be at least 64MiB"),
        ("time-out = '2s'", "did you mean `timeout`?"),
    ] {
        let ended = refused(&folder, &echo(), compile);
        assert!(ended.sentence().contains(wanted), "{ended:?}");
    }
}

#[test]
fn the_worker_is_no_command_for_a_person() {
    let folder = Folder::new();
    for arguments in [&[WORKER_COMMAND][..], &[WORKER_COMMAND, "handler.wasm"]] {
        let ended = run(folder.command().args(arguments));
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""));
        assert!(ended.sentence().contains("the host's own use"), "{ended:?}");
    }
    assert!(!run(folder.command().arg("--help")).stdout.contains(WORKER_COMMAND));
}

// As a library.

fn child(limits: CompileLimits) -> ChildCompiler {
    ChildCompiler {
        program: env!("CARGO_BIN_EXE_waterspout").into(),
        arguments: vec![WORKER_COMMAND.into()],
        limits,
        require_confinement: cfg!(target_os = "linux"),
    }
}

fn runtime(compiler: ChildCompiler, cache: Option<CacheFolders>) -> Runtime {
    let options = RuntimeOptions {
        max_instances: 8,
        cache,
        compiler: Compiler::Child(compiler),
        ..RuntimeOptions::default()
    };
    Runtime::new(&options, [&Limits::default()]).expect("address space for eight instances")
}

fn load(runtime: &Runtime, handler: &[u8]) -> Result<Handler, LoadError> {
    runtime.load(&HandlerSource::Bytes(handler.to_vec().into()), &Limits::default())
}

#[test]
fn a_handler_that_is_in_the_cache_is_not_looked_into() {
    let folder = Folder::new();
    let cache = || Some(CacheFolders { cache: folder.path("compiled"), state: folder.path("state") });
    let in_every_form = [echo(), handlers::echo_module(), handlers::text_of(&handlers::echo_module())];
    for handler in &in_every_form {
        load(&runtime(child(CompileLimits::default()), cache()), handler).expect("compiles, confined");
    }
    let nobody =
        ChildCompiler { program: PathBuf::from("/no/such/program"), ..child(CompileLimits::default()) };
    for handler in &in_every_form {
        load(&runtime(nobody.clone(), cache()), handler).expect("kept");
        let error = load(&runtime(nobody.clone(), None), handler).expect_err("nobody compiles it");
        assert!(matches!(error, LoadError::CompilerUnavailable(_)), "{error}");
    }
}

#[test]
fn the_same_is_said_of_a_bad_handler_in_a_child_as_in_this_process() {
    let here =
        Runtime::new(&RuntimeOptions { max_instances: 8, ..RuntimeOptions::default() }, [&Limits::default()])
            .expect("address space for eight instances");
    let there = runtime(child(CompileLimits::default()), None);
    for (name, bytes, _) in crate::checking::bad_handlers() {
        let said = |runtime| load(runtime, &bytes).expect_err(name).to_string();
        assert_eq!(said(&there), said(&here), "{name}");
    }
}

/// A hostile component is loaded beside a route that goes on answering; each ends as it should.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_answers_while_a_stranger_compiles_beside_it() {
    let limits = CompileLimits { timeout: Duration::from_secs(2), ..CompileLimits::default() };
    let runtime = runtime(child(limits), None);
    let handler = runtime.load(&HandlerSource::Echo, &Limits::default()).expect("the echo");
    let route = Route::new("echo", Pattern::new("/").expect("a path"));
    let application = Application::new([(route, handler)], None);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((socket, peer)) = listener.accept().await {
            let application = application.clone();
            tokio::spawn(async move { application.serve_connection(socket, peer).await });
        }
    });
    let loading = tokio::task::spawn_blocking(move || load(&runtime, &wasm::slow()));
    let echoed = tokio::task::spawn_blocking(move || {
        let mut client = client(address, "/");
        let mut echoed = 0_u32;
        while !loading.is_finished() {
            echoes(&mut client, "still there?");
            echoed += 1;
        }
        (echoed, loading)
    });
    let (echoed, loading) = echoed.await.expect("every message came back");
    let error = loading.await.expect("no panic").expect_err("it takes longer");
    assert!(matches!(error, LoadError::CompileTimeout { .. }), "{error}");
    assert!(echoed > 0);
}
