//! What the suite says about a run, and whether that is good enough.
//!
//! It gives a case two verdicts: `behavior`, on what was exchanged, and `behaviorClose`, on how the connection ended. Each case
//! is judged by both. So a run of all 517 passes with at least 512 OK, 3 INFORMATIONAL and at most 2 NON-STRICT.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::cases::Case;

/// What the program under test is called in reports.
pub(super) const AGENT: &str = "waterspout";

/// The suite gives these no other verdict: RFC 6455 leaves open what happens.
const INFORMATIONAL: [&str; 3] = ["7.1.6", "7.13.1", "7.13.2"];

/// Text that is not UTF-8, in pieces of one frame: OK needs a close as soon as the wrong piece is there, while the standard
/// allows to wait for the frame's end.
const NON_STRICT: [&str; 2] = ["6.4.3", "6.4.4"];

/// The suite's own order of seriousness, for the table.
const BEHAVIORS: [&str; 5] = ["OK", "INFORMATIONAL", "NON-STRICT", "UNIMPLEMENTED", "FAILED"];

/// The outcomes of a run, and the cases that it should have had.
pub(super) struct Report {
    folder: PathBuf,
    outcomes: BTreeMap<Case, Outcome>,
    missing: Vec<Case>,
}

/// A case's line in index.json.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    behavior: String,
    behavior_close: String,
    remote_close_code: Option<u16>,
    reportfile: PathBuf,
}

/// A case's own report, in words.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    result: String,
    result_close: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Fine,
    /// Not OK, and known not to be.
    Known,
    Wrong,
}

impl Outcome {
    fn verdict(&self, case: &Case) -> Verdict {
        let is_one_of = |names: &[&str]| names.contains(&case.to_string().as_str());
        match (self.behavior.as_str(), self.behavior_close.as_str()) {
            ("OK", "OK") => Verdict::Fine,
            ("INFORMATIONAL", "OK" | "INFORMATIONAL") if is_one_of(&INFORMATIONAL) => Verdict::Known,
            ("NON-STRICT", "OK" | "INFORMATIONAL") if is_one_of(&NON_STRICT) => Verdict::Known,
            ("OK", "INFORMATIONAL") => Verdict::Known,
            _ => Verdict::Wrong,
        }
    }
}

impl Report {
    /// Reads what the suite left in `folder` after it ran `cases`.
    pub(super) fn read(folder: &Path, cases: &BTreeSet<Case>) -> Result<Self> {
        let file = folder.join("index.json");
        let text = fs::read_to_string(&file)
            .with_context(|| format!("the suite has left no report: cannot read {}", file.display()))?;
        Self::parse(folder, &text, cases).with_context(|| format!("cannot understand {}", file.display()))
    }

    fn parse(folder: &Path, text: &str, cases: &BTreeSet<Case>) -> Result<Self> {
        let mut agents: BTreeMap<String, BTreeMap<String, Outcome>> = serde_json::from_str(text)?;
        let named = agents.remove(AGENT).unwrap_or_default().into_iter();
        let outcomes: BTreeMap<Case, Outcome> =
            named.map(|(name, outcome)| Ok((name.parse()?, outcome))).collect::<Result<_>>()?;
        let missing = cases.iter().filter(|case| !outcomes.contains_key(case)).cloned().collect();
        Ok(Self { folder: folder.to_owned(), outcomes, missing })
    }

    /// Whether every case is there and none is wrong.
    pub(super) fn passes(&self) -> bool {
        self.missing.is_empty()
            && self.outcomes.iter().all(|(case, outcome)| outcome.verdict(case) != Verdict::Wrong)
    }

    /// Counts, then every case that is not OK, the wrong ones with the suite's reasons.
    pub(super) fn print(&self) {
        let count = |of: &str| self.outcomes.values().filter(|outcome| outcome.behavior == of).count();
        for behavior in BEHAVIORS {
            println!("  {behavior:<13} {:>3}", count(behavior));
        }
        let others: usize = self.outcomes.len() - BEHAVIORS.map(count).iter().sum::<usize>();
        for (name, number) in [("other", others), ("missing", self.missing.len())] {
            if number > 0 {
                println!("  {name:<13} {number:>3}");
            }
        }
        let not_ok = |(case, outcome): &(&Case, &Outcome)| outcome.verdict(case) != Verdict::Fine;
        for (case, outcome) in self.outcomes.iter().filter(not_ok) {
            let code = outcome.remote_close_code.map_or("no code".into(), |code| code.to_string());
            println!("  {case:<8} {}, close: {} ({code})", outcome.behavior, outcome.behavior_close);
            if let Some(detail) = self.detail(case, outcome) {
                println!("           {} {}", detail.result, detail.result_close);
            }
        }
        if !self.missing.is_empty() {
            let missing: Vec<_> = self.missing.iter().map(Case::to_string).collect();
            println!("  not in the report: {}", missing.join(", "));
        }
    }

    /// The suite's reason for a case that is wrong; of one that was never begun it has none.
    fn detail(&self, case: &Case, outcome: &Outcome) -> Option<Detail> {
        if outcome.verdict(case) != Verdict::Wrong || outcome.behavior == "UNIMPLEMENTED" {
            return None;
        }
        serde_json::from_str(&fs::read_to_string(self.folder.join(&outcome.reportfile)).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::Selection;
    use super::*;

    fn cases(list: &str) -> BTreeSet<Case> {
        list.parse::<Selection>().expect("a selection").0
    }

    /// A report with an outcome for each case that `outcome` says one for.
    fn report(list: &str, outcome: impl Fn(&str) -> Option<(&'static str, &'static str)>) -> Report {
        let cases = cases(list);
        let line = |case: &Case| {
            let (behavior, close) = outcome(&case.to_string())?;
            Some((
                case.to_string(),
                serde_json::json!({
                    "behavior": behavior,
                    "behaviorClose": close,
                    "duration": 3,
                    "remoteCloseCode": if close == "OK" { Some(1000) } else { None },
                    "reportfile": "waterspout_case.json",
                }),
            ))
        };
        let lines: serde_json::Map<_, _> = cases.iter().filter_map(line).collect();
        let index = serde_json::json!({ AGENT: lines }).to_string();
        Report::parse(Path::new("."), &index, &cases).expect("a report")
    }

    fn best(case: &str) -> Option<(&'static str, &'static str)> {
        Some(match case {
            "7.1.6" | "7.13.1" | "7.13.2" => ("INFORMATIONAL", "INFORMATIONAL"),
            "6.4.3" | "6.4.4" => ("NON-STRICT", "OK"),
            _ => ("OK", "OK"),
        })
    }

    fn passes_with(case: &str, behavior: &'static str, close: &'static str) -> bool {
        report("1-13", |other| if other == case { Some((behavior, close)) } else { best(other) }).passes()
    }

    #[test]
    fn a_run_passes_with_512_ok_3_informational_and_2_non_strict() {
        let report = report("1-13", best);
        assert!(report.passes());
        assert_eq!(report.outcomes.values().filter(|outcome| outcome.behavior == "OK").count(), 512);
    }

    #[test]
    fn the_two_that_may_be_non_strict_may_be_ok() {
        assert!(passes_with("6.4.3", "OK", "OK"));
    }

    #[test]
    fn one_case_that_is_wrong_fails_the_run() {
        for behavior in ["FAILED", "UNIMPLEMENTED", "NON-STRICT", "INFORMATIONAL", "NO_CLOSE", ""] {
            assert!(!passes_with("12.1.1", behavior, "OK"), "{behavior}");
        }
        assert!(!passes_with("6.4.3", "INFORMATIONAL", "OK"));
        assert!(!passes_with("7.1.6", "FAILED", "INFORMATIONAL"));
    }

    #[test]
    fn one_unclean_end_fails_the_run() {
        for close in ["UNCLEAN", "WRONG CODE", "FAILED", "FAILED BY CLIENT", ""] {
            assert!(!passes_with("9.1.6", "OK", close), "{close}");
            assert!(!passes_with("6.4.4", "NON-STRICT", close), "{close}");
            assert!(!passes_with("7.13.1", "INFORMATIONAL", close), "{close}");
        }
    }

    #[test]
    fn a_report_that_lacks_a_case_fails() {
        let lacking = report("2", |case| best(case).filter(|_| case != "2.7"));
        assert!(!lacking.passes());
        assert_eq!(lacking.missing, cases("2.7").into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn an_empty_report_fails() {
        for index in ["{}", r#"{"waterspout": {}}"#, r#"{"another": {}}"#] {
            let report = Report::parse(Path::new("."), index, &cases("1")).expect("JSON");
            assert!(!report.passes(), "{index}");
        }
        assert!(Report::parse(Path::new("."), "", &cases("1")).is_err());
    }
}
