//! Prometheus' text format, version 0.0.4: every family once, with its help and type, then its samples.
//!
//! By hand: libraries that write it want to keep the counts, too, as shared atomics behind labels, which is what the hot path must not
//! have; and to hand one the finished numbers takes more lines than are here.

use std::fmt::{Display, Write};

use super::Family;

/// The format's media type.
pub(crate) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is being written.
#[derive(Debug, Default)]
pub(crate) struct Exposition(String);

impl Exposition {
    pub(crate) const MEDIA_TYPE: &str = MEDIA_TYPE;

    /// Begins a family; its samples follow.
    pub(crate) fn family(&mut self, family: &'static Family) -> Samples<'_> {
        let Family { name, kind, help, .. } = family;
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        push(&mut self.0, format_args!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.label()));
        Samples { text: &mut self.0, family }
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

/// One family's samples.
pub(crate) struct Samples<'a> {
    text: &'a mut String,
    family: &'static Family,
}

impl Samples<'_> {
    /// A sample whose labels have these values, in the order of the family's.
    pub(crate) fn add(&mut self, values: &[&str], value: impl Display) {
        self.add_with("", values, None, value);
    }

    /// One of a histogram's series: `_bucket` with its upper bound, `_sum` or `_count`.
    pub(crate) fn add_with(
        &mut self,
        suffix: &str,
        values: &[&str],
        bound: Option<&str>,
        value: impl Display,
    ) {
        debug_assert_eq!(values.len(), self.family.labels.len(), "{}", self.family.name);
        push(self.text, format_args!("{}{suffix}", self.family.name));
        let labels = self.family.labels.iter().copied().zip(values.iter().copied());
        let mut open = '{';
        for (label, value) in labels.chain(bound.map(|bound| ("le", bound))) {
            push(self.text, format_args!("{open}{label}=\"{}\"", escaped(value)));
            open = ',';
        }
        if open == ',' {
            self.text.push('}');
        }
        push(self.text, format_args!(" {value}\n"));
    }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a String takes everything");
}

/// As a label's value stands between quotes.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{CONNECTIONS_OPEN, PROCESS_OPEN_FDS};

    #[test]
    fn what_an_operator_writes_cannot_end_a_label() {
        let mut exposition = Exposition::default();
        exposition.family(&CONNECTIONS_OPEN).add(&["a\"b\\c\nd", "é"], 1);
        let text = exposition.into_text();
        let sample = text.lines().last().expect("a sample");
        assert_eq!(sample, r#"waterspout_connections_open{tenant="a\"b\\c\nd",route="é"} 1"#);
    }

    #[test]
    fn without_labels_there_are_no_braces() {
        let mut exposition = Exposition::default();
        exposition.family(&PROCESS_OPEN_FDS).add(&[], 12);
        assert!(exposition.into_text().ends_with("\nprocess_open_fds 12\n"));
    }
}
