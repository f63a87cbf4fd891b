//! What one host logged: its threads have a tracing subscriber of their own, so that tests can run side by side.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Level, Metadata, Subscriber};

/// One log record.
#[derive(Debug, Clone)]
pub struct Record {
    /// How loud.
    pub level: Level,
    /// `guest` for what a guest printed, else the host's module.
    pub target: String,
    /// The record's sentence, or what the guest printed.
    pub message: String,
    /// Everything else, by name.
    pub fields: BTreeMap<String, String>,
}

impl Record {
    /// The value of a field; empty if the record has none.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// A guest printed it, to stdout (info) or stderr (warn).
    pub fn is_guest(&self) -> bool {
        self.target == "guest"
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.level, self.target, self.message)?;
        self.fields.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

/// The records of one host, growing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Logs {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    records: Mutex<Vec<Record>>,
    grown: Notify,
}

impl Logs {
    fn lock(&self) -> MutexGuard<'_, Vec<Record>> {
        self.inner.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn all(&self) -> Vec<Record> {
        self.lock().clone()
    }

    /// The first record that `wanted` takes, once there is one.
    pub(crate) async fn find(&self, wanted: impl Fn(&Record) -> bool) -> Record {
        loop {
            let grown = self.inner.grown.notified();
            tokio::pin!(grown);
            grown.as_mut().enable();
            if let Some(record) = self.lock().iter().find(|record| wanted(record)) {
                return record.clone();
            }
            grown.await;
        }
    }
}

impl Subscriber for Logs {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && (metadata.target().starts_with("waterspout") || metadata.target() == "guest")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut record = Record {
            level: *metadata.level(),
            target: metadata.target().to_owned(),
            message: String::new(),
            fields: BTreeMap::new(),
        };
        event.record(&mut record);
        self.lock().push(record);
        self.inner.grown.notify_waiters();
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

impl Visit for Record {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => drop(self.fields.insert(name.to_owned(), value.to_owned())),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}
