//! What all handlers of one instance share.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use waterspout_guest::client::ClientConnection;
use waterspout_guest::{Connection, Shared, publish};

use crate::wasi::Pollable;

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Instance {
    handlers: u32,
    /// Every connection that opened, by its handler's number; ended ones, too.
    connections: BTreeMap<u32, Connection>,
    /// The numbers of those that are open.
    open: Vec<u32>,
    watchers: Vec<u32>,
    history: Vec<String>,
    count: u32,
    /// Kept so that it is not given back.
    #[serde(skip)]
    memory: Vec<Vec<u8>>,
    #[serde(skip)]
    handles: Vec<Pollable>,
    /// The connection that each handler opened last.
    upstreams: BTreeMap<u32, ClientConnection>,
    /// Those before.
    earlier: Vec<ClientConnection>,
}

impl Instance {
    pub(crate) fn next_number(&mut self) -> u32 {
        self.handlers += 1;
        self.handlers
    }

    /// Adds a line to the history, and tells those who watch, and the topic if there is one.
    pub(crate) fn record(number: u32, topic: Option<&String>, line: &str) {
        let mut instance = Self::shared();
        instance.history.push(line.to_owned());
        for watcher in instance.watchers.iter().filter(|watcher| **watcher != number) {
            // Whoever watches reads, or misses lines.
            let _ = instance.connections[watcher].write_message(format!("history {line}"));
        }
        if let Some(topic) = topic {
            publish(topic, line).expect("the topic's name is as it must be");
        }
    }

    pub(crate) fn opened(&mut self, number: u32, conn: &Connection) {
        self.connections.insert(number, conn.clone());
        self.open.push(number);
    }

    /// A handler's own connection, once it has opened.
    pub(crate) fn connection_of(&self, number: u32) -> Option<Connection> {
        self.connections.get(&number).cloned()
    }

    pub(crate) fn closed(&mut self, number: u32) {
        self.open.retain(|other| *other != number);
        self.watchers.retain(|other| *other != number);
    }

    pub(crate) fn watch(&mut self, number: u32) {
        self.watchers.push(number);
    }

    pub(crate) fn history(&self) -> &[String] {
        &self.history
    }

    pub(crate) fn count(&mut self) -> u32 {
        self.count += 1;
        self.count
    }

    /// The ids of open connections, in the order in which they opened.
    pub(crate) fn peers(&self) -> String {
        let ids: Vec<_> = self.open.iter().map(|number| self.connections[number].id()).collect();
        ids.join(" ")
    }

    /// A connection by its id, also if it has ended.
    pub(crate) fn connection(&self, id: &str) -> Option<Connection> {
        self.connections.values().find(|conn| conn.id() == id).cloned()
    }

    /// Takes so much more memory and keeps it; false if there is none.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let mut memory = Vec::new();
        let grown = memory.try_reserve_exact(bytes).is_ok();
        self.memory.push(memory);
        grown
    }

    pub(crate) fn keep_upstream(&mut self, number: u32, connection: ClientConnection) {
        self.earlier.extend(self.upstreams.insert(number, connection));
    }

    pub(crate) fn upstream(&self, number: u32) -> Option<ClientConnection> {
        self.upstreams.get(&number).cloned()
    }

    /// Drops the handles, all of them.
    pub(crate) fn forget_upstreams(&mut self) {
        self.upstreams.clear();
        self.earlier.clear();
    }

    pub(crate) fn hold(&mut self, handle: Pollable) {
        self.handles.push(handle);
    }
}

/// At most 60 characters of a text.
pub(crate) fn shortened(text: &str) -> &str {
    text.char_indices().nth(60).map_or(text, |(at, _)| &text[..at])
}
