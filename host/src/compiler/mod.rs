//! The compiler: whatever looks into a handler's bytes does so here, and, in the `waterspout` program, in a process of its own.
//!
//! Parsers and a code generator are large, and wasmtime's promises begin only when a guest runs: a component that a stranger has
//! written may take them minutes, gigabytes, or over. So the bytes go by pipe to a child: the same program, started again, which
//! has first given up files, network and all but the system calls of a computation, under bounds of time, memory and output.
//! What comes back is compiled code and a few facts about it, or a refusal, read as a stranger's words.
//!
//! It refuses to be a judge of what the child compiled: code that it hands back runs with the host's rights once it is loaded. A
//! child that was taken over could hand back bad code; what it cannot do is reach anything else by itself.
//!
//! - `component`: from bytes to a binary component, and what can be read off one
//! - `footprint`: what one instance of a component takes
//! - `limits`: [`CompileLimits`], and `[compile]` in a configuration file
//! - `job`: what is asked and what is answered, and the work itself, in whichever process
//! - `protocol`: both as bytes
//! - `confinement`: what a child gives up before it reads
//! - `process`: the host's side: start, pipes, bounds, refusals
//! - `worker`: the child's side
//! - `queue`: how many work at once

pub(crate) mod component;
mod confinement;
mod footprint;
mod job;
mod limits;
mod process;
mod protocol;
pub(crate) mod queue;
#[cfg(target_os = "linux")]
mod system_calls;
mod worker;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use limits::CompileLimits;
pub(crate) use limits::CompileTable;
pub use worker::{WORKER_COMMAND, worker_main};

pub(crate) use self::footprint::Footprint;
use self::job::{Answer, Job};
pub(crate) use self::job::{Compiled, Description, Form};
use self::queue::Turn;
use crate::handler::engine::CodeClass;
use crate::handler::load_error::LoadError;
use crate::units::Unit;

/// Where handlers are compiled.
#[derive(Debug, Clone, Default)]
pub enum Compiler {
    /// In this process, without bounds: for handlers that are trusted like the program itself. The library's default.
    #[default]
    InProcess,
    /// In a child process for each handler, under bounds.
    Child(ChildCompiler),
}

/// How a child is started that compiles one handler and ends.
///
/// The program starts itself again, and must answer to that before anything else:
///
/// ```no_run
/// use std::process::ExitCode;
/// use waterspout::compiler::{WORKER_COMMAND, worker_main};
/// use waterspout::{ChildCompiler, CompileLimits, Compiler, RuntimeOptions};
///
/// fn main() -> ExitCode {
///     let mut arguments = std::env::args_os().skip(1);
///     if arguments.next().is_some_and(|first| first == WORKER_COMMAND) {
///         return worker_main(arguments);
///     }
///     let child = ChildCompiler::of_this_program(CompileLimits::default()).expect("this program is a file");
///     let options = RuntimeOptions { compiler: Compiler::Child(child), ..RuntimeOptions::default() };
///     // ...
/// #   let _ = options;
///     ExitCode::SUCCESS
/// }
/// ```
#[derive(Debug, Clone)]
pub struct ChildCompiler {
    /// A program that calls [`worker_main`] when its first arguments are `arguments`; of exactly this version of Waterspout.
    pub program: PathBuf,
    /// The arguments after which the worker's own come.
    pub arguments: Vec<OsString>,
    /// What it may use.
    pub limits: CompileLimits,
    /// Refuse to compile where the kernel cannot keep the child from files and network; otherwise that is a warning in the log.
    /// Default: false.
    pub require_confinement: bool,
}

impl ChildCompiler {
    /// This program itself, which must answer to [`WORKER_COMMAND`].
    ///
    /// # Errors
    /// The system does not say which file it is.
    pub fn of_this_program(limits: CompileLimits) -> std::io::Result<Self> {
        Ok(Self {
            program: this_program()?,
            arguments: vec![WORKER_COMMAND.into()],
            limits,
            require_confinement: false,
        })
    }
}

/// Linux's link leads to the very file that runs, also after an update has put another in its place.
fn this_program() -> std::io::Result<PathBuf> {
    let link = PathBuf::from("/proc/self/exe");
    if cfg!(target_os = "linux") && link.exists() { Ok(link) } else { std::env::current_exe() }
}

impl Compiler {
    /// Bytes that a handler may have; none if it does not matter.
    pub(crate) fn max_component_bytes(&self) -> Option<usize> {
        match self {
            Self::InProcess => None,
            Self::Child(child) => Some(child.limits.max_component_bytes),
        }
    }

    /// Bytes that a handler's code may come to, as it is kept.
    pub(crate) fn max_compiled_bytes(&self) -> usize {
        match self {
            Self::InProcess => usize::MAX,
            Self::Child(child) => child.limits.max_artefact_bytes.saturating_add(Compiled::FACTS_BYTES),
        }
    }

    /// Compiles a handler for an engine class. Blocks, in a child until `timeout` has passed on the turn's clock.
    pub(crate) fn compile(
        &self,
        class: CodeClass,
        handler: &[u8],
        turn: &Turn<'_>,
    ) -> Result<Compiled, LoadError> {
        match self.answer(Job::Compile(class), handler, &|| turn.elapsed())? {
            Answer::Compiled(compiled) => Ok(compiled),
            Answer::Described(_) => Err(of_another_question()),
        }
    }

    /// Tells what a handler is, without compiling it. Blocks.
    pub(crate) fn describe(&self, handler: &[u8]) -> Result<Description, LoadError> {
        let began = Instant::now();
        match self.answer(Job::Describe, handler, &|| began.elapsed())? {
            Answer::Described(description) => Ok(description),
            Answer::Compiled(_) => Err(of_another_question()),
        }
    }

    /// How many handlers may be compiled at once.
    pub(crate) fn max_at_once(&self) -> u32 {
        match self {
            // More would have nothing to do it with.
            Self::InProcess => {
                let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
                u32::try_from(processors).unwrap_or(u32::MAX)
            }
            Self::Child(child) => child.limits.max_at_once,
        }
    }

    /// For how long a start waits for handlers to be compiled; none if for all of them.
    pub(crate) fn max_start_wait(&self) -> Option<Duration> {
        match self {
            Self::InProcess => None,
            Self::Child(child) => {
                Some(child.limits.max_start_wait).filter(|wait| *wait != Duration::unlimited())
            }
        }
    }

    fn answer(&self, job: Job, handler: &[u8], elapsed: &dyn Fn() -> Duration) -> Result<Answer, LoadError> {
        match self {
            Self::InProcess => job.run(handler),
            Self::Child(child) => process::run(child, job, handler, elapsed),
        }
    }
}

fn of_another_question() -> LoadError {
    LoadError::CompilerFailed("the compiler answered another question".into())
}
