//! The suite's cases: which there are, and which a person means.
//!
//! They are written down here, so that a report in which one is missing is noticed whatever the suite itself says.

use std::{collections::BTreeSet, fmt, str::FromStr};

use anyhow::{Error, Result, bail};

/// Autobahn 0.8.2's groups and how many cases each has, numbered from 1.
const GROUPS: &str = "1.1 8, 1.2 8, 2 11, 3 7, 4.1 5, 4.2 5, 5 20, 6.1 3, 6.2 4, 6.3 2, 6.4 4, 6.5 5, 6.6 11, 6.7 4, \
    6.8 2, 6.9 4, 6.10 3, 6.11 5, 6.12 8, 6.13 5, 6.14 10, 6.15 1, 6.16 3, 6.17 5, 6.18 5, 6.19 5, 6.20 7, 6.21 8, 6.22 34, \
    6.23 7, 7.1 6, 7.3 6, 7.5 1, 7.7 13, 7.9 9, 7.13 2, 9.1 6, 9.2 6, 9.3 9, 9.4 9, 9.5 6, 9.6 6, 9.7 6, 9.8 6, 10.1 1, \
    12.1 18, 12.2 18, 12.3 18, 12.4 18, 12.5 18, 13.1 18, 13.2 18, 13.3 18, 13.4 18, 13.5 18, 13.6 18, 13.7 18";

/// A case by its numbers, as in `6.4.3`; in the order of the suite.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Case(Vec<u32>);

/// Some of the cases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selection(pub(crate) BTreeSet<Case>);

impl Case {
    fn section(&self) -> u32 {
        self.0[0]
    }
}

impl FromStr for Case {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split('.').map(str::parse).collect() {
            Ok(numbers) => Ok(Self(numbers)),
            Err(_) => bail!("`{text}` is no case, nor a group of cases"),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<_> = self.0.iter().map(u32::to_string).collect();
        f.pad(&numbers.join("."))
    }
}

/// Every case.
fn all() -> impl Iterator<Item = Case> {
    GROUPS.split(", ").flat_map(|group| {
        let (name, count) = group.split_once(' ').expect("a group has a name and a count");
        let group: Case = name.parse().expect("a group's name is numbers");
        let count: u32 = count.parse().expect("a count is a number");
        (1..=count).map(move |number| Case([group.0.as_slice(), &[number]].concat()))
    })
}

impl FromStr for Selection {
    type Err = Error;

    /// Sections (`10`), ranges of sections (`1-8`), groups (`12.1` or `12.1.*`) and single cases (`6.4.3`), separated by commas.
    fn from_str(list: &str) -> Result<Self> {
        let mut cases = BTreeSet::new();
        for item in list.split(',').map(str::trim) {
            let before = cases.len();
            match item.split_once('-') {
                Some((first, last)) => {
                    let (Ok(first), Ok(last)) = (first.parse(), last.parse()) else {
                        bail!("`{item}` is no range of sections such as 1-8");
                    };
                    cases.extend(all().filter(|case| (first..=last).contains(&case.section())));
                }
                None => {
                    let group: Case = item.strip_suffix(".*").unwrap_or(item).parse()?;
                    cases.extend(all().filter(|case| case.0.starts_with(&group.0)));
                }
            }
            if cases.len() == before {
                bail!("`{item}` has no cases, or has been named before");
            }
        }
        Ok(Self(cases))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(list: &str) -> usize {
        list.parse::<Selection>().expect("a selection").0.len()
    }

    #[test]
    fn the_suite_has_517_cases() {
        assert_eq!(all().collect::<BTreeSet<_>>().len(), 517);
        assert_eq!(count("1-13"), 517);
    }

    #[test]
    fn a_selection_is_made_of_ranges_sections_groups_and_cases() {
        assert_eq!(count("1-8,10"), 247);
        assert_eq!(count("1-8,10,12.1,13.1"), 283);
        assert_eq!(count("12.1.*, 6.4.3"), 19);
        // Not section 10.
        assert_eq!(count("1"), 16);
        // Not 6.22.
        assert_eq!(count("6.2"), 4);
    }

    #[test]
    fn what_names_no_case_is_refused() {
        for wrong in ["", "8", "6.4.5", "12.6", "1-", "12.1-12.3", "9-3", "echo", "1,,2", "2,2.1"] {
            assert!(wrong.parse::<Selection>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn cases_are_in_the_order_of_their_numbers() {
        let Selection(cases) = "10,6.22,6.3,2.10,2.9".parse().expect("a selection");
        let shown: Vec<_> = cases.iter().map(Case::to_string).collect();
        assert_eq!(shown[..4], ["2.9", "2.10", "6.3.1", "6.3.2"]);
        assert_eq!(shown.last().map(String::as_str), Some("10.1.1"));
    }
}
