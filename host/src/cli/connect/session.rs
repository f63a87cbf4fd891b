//! The loop between a person and a server.

use std::collections::VecDeque;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use waterspout::client::{ClientConnection, Event, Step, WriteError};
use waterspout::printable;

use super::command::{Command, HELP};
use super::input::Input;
use super::output::{Output, Shown};
use super::show::{self, Style};
use super::terminal::Found;

/// What waits to be shown, beyond which a person's mistakes are told no more.
const MAX_NOTES: usize = 64;

/// See the module. What it waits for: something from the server, or that what is queued has left; a line; room to show something; a signal.
pub(super) struct Session {
    connection: ClientConnection,
    lines: mpsc::Receiver<Input>,
    output: Output,
    style: Style,
    /// A person types lines; a pipe waits until one has left before it gives the next.
    interactive: bool,
    verbose: bool,
    /// What waits to be shown: nothing more is read from the server meanwhile.
    waiting: VecDeque<Shown>,
    /// Something is queued that has not left.
    sending: bool,
    /// No more lines are taken.
    silent: bool,
    /// Whoever read our output has gone.
    deaf: bool,
    interrupts: u32,
    signals: [Signal; 2],
    /// The terminal on which lines are edited.
    found: Option<Found>,
}

/// How [`Session::run`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Closed,
    /// By a second ctrl-c.
    Interrupted,
}

/// What the loop woke up for.
enum Woken {
    Step(Step),
    Input(Option<Input>),
    /// The output has room, or is closed.
    Shown(bool),
    Signal,
}

/// ctrl-c and SIGTERM, from now on. To be called before lines are edited: who edits them puts back what was there for SIGINT before.
pub(super) fn signals() -> anyhow::Result<[Signal; 2]> {
    let caught = |kind| signal(kind).context("cannot wait for signals");
    Ok([caught(SignalKind::interrupt())?, caught(SignalKind::terminate())?])
}

impl Session {
    /// A person types where there is a terminal that was found.
    pub(super) fn new(
        connection: ClientConnection,
        lines: mpsc::Receiver<Input>,
        output: Output,
        style: Style,
        found: Option<Found>,
        verbose: bool,
        signals: [Signal; 2],
    ) -> Self {
        Self {
            connection,
            lines,
            output,
            style,
            interactive: found.is_some(),
            verbose,
            waiting: VecDeque::new(),
            sending: false,
            silent: false,
            deaf: false,
            interrupts: 0,
            signals,
            found,
        }
    }

    /// Says that the connection is open.
    pub(super) fn greet(&mut self, url: &str) {
        self.message(self.style.open(&self.connection));
        if self.verbose {
            let headers: Vec<_> = show::headers(&self.connection).collect();
            for [name, value] in headers {
                self.note(format_args!("{name}: {}", printable(value.as_bytes())));
            }
        }
        if self.interactive {
            let subprotocol = self.connection.selected_subprotocol().map(|name| format!(", {name}"));
            let compressed = if self.connection.is_compressed() { ", compressed" } else { "" };
            let url = printable(url.as_bytes());
            self.note(format_args!(
                "connected to {url}{}{compressed}; /help tells the commands",
                subprotocol.unwrap_or_default()
            ));
        }
    }

    /// Until the connection has ended.
    pub(super) async fn run(&mut self) -> Ended {
        loop {
            match self.woken().await {
                Woken::Step(Step::Event(event)) => self.on_event(&event),
                Woken::Step(Step::Flushed) => self.sending = false,
                Woken::Step(Step::Ended) => return Ended::Closed,
                Woken::Input(Some(Input::Interrupt)) | Woken::Signal => {
                    self.interrupts += 1;
                    if self.interrupts > 1 {
                        return Ended::Interrupted;
                    }
                    self.close(1001);
                }
                Woken::Input(Some(input)) => self.on_input(input),
                Woken::Input(None) => self.silent = true,
                Woken::Shown(true) => {}
                Woken::Shown(false) => {
                    self.deaf = true;
                    self.waiting.clear();
                    self.close(1000);
                }
            }
        }
    }

    async fn woken(&mut self) -> Woken {
        let Self { connection, lines, output, waiting, signals, deaf, .. } = self;
        let [interrupt, terminate] = signals;
        // What a person types is taken at once. The line's thread must never wait for the one that shows, which waits for it.
        let takes_lines = !self.silent && (self.interactive || (!self.sending && waiting.is_empty()));
        tokio::select! {
            biased;
            _ = interrupt.recv() => Woken::Signal,
            _ = terminate.recv() => Woken::Signal,
            room = output.sender.reserve(), if !waiting.is_empty() => match (room, waiting.pop_front()) {
                (Ok(room), Some(shown)) => {
                    room.send(shown);
                    Woken::Shown(true)
                }
                _ => Woken::Shown(false),
            },
            () = output.sender.closed(), if !*deaf => Woken::Shown(false),
            input = lines.recv(), if takes_lines => Woken::Input(input),
            step = step(connection, self.sending), if waiting.is_empty() => Woken::Step(step),
        }
    }

    fn on_event(&mut self, event: &Event) {
        if self.verbose && self.style != Style::Json {
            match event {
                Event::Ping(data) => self.note(format_args!("ping< {}", show::text_or_hex(data))),
                Event::Pong(data) => self.note(format_args!("pong< {}", show::text_or_hex(data))),
                Event::Message(_) => {}
            }
        }
        self.message(self.style.event(event));
    }

    fn on_input(&mut self, input: Input) {
        match input {
            Input::Line(line) => match Command::of(line) {
                Ok(command) => self.on_command(command),
                Err(why) => {
                    self.note(format_args!("{}", printable(why.as_bytes())));
                    self.note(HELP);
                }
            },
            Input::Bad(why) => self.note(why),
            Input::End | Input::Interrupt => self.close(1000),
        }
    }

    fn on_command(&mut self, command: Command) {
        let done = match command {
            Command::Send(message) => self.connection.queue_message(message),
            Command::Ping(data) => self.connection.queue_ping(&data),
            Command::Close(code, reason) => {
                let closed = self.connection.queue_close(code, reason.as_deref());
                self.silent |= closed.is_ok() && !self.interactive;
                closed
            }
            Command::Help => {
                self.note(HELP);
                Ok(())
            }
        };
        match done {
            Ok(()) => self.sending = true,
            Err(WriteError::BufferFull) => {
                self.note("nothing sent: the server takes nothing; try again later")
            }
            Err(error) => self.note(format_args!("nothing sent: {error}")),
        }
    }

    /// What is queued still leaves, and what still arrives is shown.
    fn close(&mut self, code: u16) {
        self.silent |= !self.interactive;
        self.sending = true;
        self.connection.queue_close(Some(code), None).expect("1000 and 1001 may be sent");
    }

    fn message(&mut self, text: Option<String>) {
        if let Some(text) = text
            && !self.deaf
        {
            self.waiting.push_back(Shown::Message(text));
        }
    }

    fn note(&mut self, text: impl std::fmt::Display) {
        if self.waiting.len() < MAX_NOTES && !self.deaf {
            self.waiting.push_back(Shown::Note(format!("{text}\n")));
        }
    }

    /// Shows what is left to be shown. None if a second ctrl-c came first; no connection if nobody reads what is shown.
    pub(super) async fn end(mut self, ended: Ended) -> Option<Option<ClientConnection>> {
        let ended = if ended == Ended::Closed { self.show_the_end().await } else { ended };
        if let Some(found) = &self.found {
            found.restore();
        }
        (ended == Ended::Closed).then(|| (!self.deaf).then_some(self.connection))
    }

    async fn show_the_end(&mut self) -> Ended {
        let frame = self.connection.close_frame().cloned();
        self.message(self.style.close(frame.as_ref()));
        if self.interactive || self.verbose {
            let how = frame.as_ref().map_or_else(|| "without a close frame".into(), show::close_frame);
            self.note(format_args!("closed: {how}"));
        }
        let Self {
            output,
            waiting,
            signals: [interrupt, terminate],
            lines,
            interrupts,
            deaf,
            interactive,
            ..
        } = self;
        let sender = std::mem::replace(&mut output.sender, mpsc::channel(1).0);
        let shown = async {
            for shown in waiting.drain(..) {
                *deaf |= sender.send(shown).await.is_err();
            }
            drop(sender);
            let _ = (&mut output.done).await;
        };
        tokio::pin!(shown);
        loop {
            tokio::select! {
                () = &mut shown => return Ended::Closed,
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                // The thread that shows needs the one that edits, which must not wait.
                Some(input) = lines.recv(), if *interactive => if input != Input::Interrupt { continue },
            }
            *interrupts += 1;
            if *interrupts > 1 {
                return Ended::Interrupted;
            }
        }
    }
}

/// While something is queued, that it has left is worth knowing.
async fn step(connection: &mut ClientConnection, sending: bool) -> Step {
    if sending {
        return connection.next_step().await;
    }
    connection.next_event().await.map_or(Step::Ended, Step::Event)
}
