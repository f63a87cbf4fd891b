//! Prometheus' text format, version 0.0.4, read as strictly as it is specified: what a forgiving reader overlooks fails a test.

use std::collections::{BTreeMap, BTreeSet};

/// One exposition.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// By family: its type.
    types: BTreeMap<String, String>,
    samples: BTreeMap<Sample, f64>,
}

/// A sample's name and labels.
type Sample = (String, BTreeMap<String, String>);

impl Metrics {
    /// Reads an exposition.
    ///
    /// # Panics
    /// It breaks the format: a family without help or type, or in two places; a sample there twice, or outside of its family; a name, a label or
    /// a number that is none; a histogram whose buckets fall, or whose count is not its last bucket.
    pub fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line ends");
        let mut metrics = Self { types: BTreeMap::new(), samples: BTreeMap::new() };
        let mut family = String::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap_or_else(|| panic!("no help: {line}"));
                assert!(!help.is_empty() && is_name(name), "{line}");
                let kind = lines.next().unwrap_or_default();
                let kind = kind.strip_prefix(&format!("# TYPE {name} "));
                let kind = kind.unwrap_or_else(|| panic!("no type behind: {line}"));
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{name}: {kind}");
                let twice = metrics.types.insert(name.to_owned(), kind.to_owned());
                assert_eq!(twice, None, "{name} is there twice");
                name.clone_into(&mut family);
                continue;
            }
            let (sample, value) = read_sample(line);
            let suffixes: &[&str] = match metrics.types.get(&family).map(String::as_str) {
                Some("histogram") => &["_bucket", "_sum", "_count"],
                Some(_) => &[""],
                None => panic!("a sample before any family: {line}"),
            };
            assert!(
                suffixes.iter().any(|suffix| sample.0 == format!("{family}{suffix}")),
                "not of {family}: {line}"
            );
            assert_eq!(metrics.samples.insert(sample, value), None, "twice: {line}");
        }
        metrics.check_histograms();
        metrics
    }

    fn check_histograms(&self) {
        for family in self.types.iter().filter(|(_, kind)| *kind == "histogram").map(|(name, _)| name) {
            let mut series: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
            for ((name, labels), count) in &self.samples {
                if *name == format!("{family}_bucket") {
                    let mut labels = labels.clone();
                    let bound = labels.remove("le").expect("a bucket has a bound");
                    series.entry(labels).or_default().push((read_number(&bound), *count));
                }
            }
            for (labels, mut buckets) in series {
                buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
                assert!(
                    buckets.is_sorted_by(|one, other| one.1 <= other.1),
                    "{family} {labels:?}: {buckets:?}"
                );
                let last = buckets.last().expect("there is one");
                assert!(last.0.is_infinite(), "{family} {labels:?} has no bucket +Inf");
                let count = self.samples.get(&(format!("{family}_count"), labels.clone()));
                assert_eq!(count, Some(&last.1), "{family} {labels:?}");
                assert!(
                    self.samples.contains_key(&(format!("{family}_sum"), labels.clone())),
                    "{family} {labels:?}"
                );
            }
        }
    }

    /// The sum of all samples of this name that have at least these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let matches = |sample: &Sample| {
            sample.0 == name
                && labels
                    .iter()
                    .all(|(label, value)| sample.1.get(*label).is_some_and(|other| other == value))
        };
        self.samples.iter().filter(|(sample, _)| matches(sample)).map(|(_, value)| value).sum()
    }

    /// The names of the families.
    pub fn families(&self) -> BTreeSet<&str> {
        self.types.keys().map(String::as_str).collect()
    }

    /// Counters that are less than they were.
    pub fn fallen_since(&self, earlier: &Self) -> Vec<String> {
        let is_counter = |name: &str| self.types.get(name).is_some_and(|kind| kind == "counter");
        let counters = earlier.samples.iter().filter(|((name, _), _)| is_counter(name));
        let fallen =
            counters.filter(|(sample, before)| self.samples.get(sample).is_none_or(|now| now < before));
        fallen.map(|((name, labels), before)| format!("{name}{labels:?} was {before}")).collect()
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn read_number(text: &str) -> f64 {
    if text == "+Inf" {
        return f64::INFINITY;
    }
    let digits = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | '-' | '+');
    assert!(text.chars().all(digits), "`{text}` is no number");
    text.parse().unwrap_or_else(|_| panic!("`{text}` is no number"))
}

/// `name{label="value",...} number`.
fn read_sample(line: &str) -> (Sample, f64) {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no sample: {line}"));
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "no name: {line}");
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
            assert!(is_name(label), "no label: {line}");
            let mut value = String::new();
            let mut characters = after.char_indices();
            let end = loop {
                match characters.next().unwrap_or_else(|| panic!("a label does not end: {line}")) {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match characters.next().map(|(_, c)| c) {
                        Some('n') => '\n',
                        Some(c @ ('"' | '\\')) => c,
                        other => panic!("`\\{other:?}` is no escape: {line}"),
                    }),
                    (_, c) => value.push(c),
                }
            };
            assert_eq!(labels.insert(label.to_owned(), value), None, "a label twice: {line}");
            rest = &after[end + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').unwrap_or_else(|| panic!("labels do not end: {line}"));
    }
    let number = rest.strip_prefix(' ').unwrap_or_else(|| panic!("no space: {line}"));
    ((name.to_owned(), labels), read_number(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_exposition_is_read() {
        let metrics = Metrics::parse(
            "# HELP a_total What.\n# TYPE a_total counter\na_total{b=\"x\\\"\\n,}\"} 3\na_total 1e-05\n",
        );
        assert_eq!(metrics.sum("a_total", &[("b", "x\"\n,}")]), 3.0);
    }

    #[test]
    #[should_panic(expected = "is there twice")]
    fn a_family_in_two_places_is_a_mistake() {
        Metrics::parse("# HELP a b\n# TYPE a gauge\na 1\n# HELP a b\n# TYPE a gauge\n");
    }

    #[test]
    #[should_panic(expected = "no bucket +Inf")]
    fn a_histogram_without_an_end_is_a_mistake() {
        Metrics::parse("# HELP a b\n# TYPE a histogram\na_bucket{le=\"1\"} 1\na_sum 1\na_count 1\n");
    }
}
