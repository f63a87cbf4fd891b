//! What is kept of a route, as it is written.

use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::handler::file::{Seen, any_path};
use crate::swap::{Origin, Version};

/// The layout that this program writes and reads.
pub(crate) const FORMAT: u32 = 1;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) format: u32,
    /// For who looks into the folder: whose it is.
    pub(crate) tenant: String,
    pub(crate) route: String,
    /// The route's file, when it was last decided what is served.
    pub(crate) file: Option<Seen>,
    pub(crate) current: KeptVersion,
    pub(crate) previous: Option<KeptVersion>,
    /// No later version has a number that one of these has had.
    pub(crate) latest_number: u32,
    pub(crate) pinned: bool,
    /// The version that some newcomers get on trial.
    pub(crate) canary: Option<KeptCanary>,
}

/// One version; its bytes are in a file of the digest's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptVersion {
    pub(crate) number: u32,
    pub(crate) sha256: String,
    pub(crate) source: KeptOrigin,
    #[serde(serialize_with = "write_time", deserialize_with = "read_time")]
    pub(crate) since: SystemTime,
}

/// Where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum KeptOrigin {
    Program,
    Embedded,
    File(#[serde(with = "any_path")] PathBuf),
    Deployed,
}

/// A version on trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptCanary {
    pub(crate) candidate: KeptVersion,
    /// How many of a hundred newcomers get it.
    pub(crate) percent: u8,
}

impl Manifest {
    /// The digests of all versions.
    pub(crate) fn digests(&self) -> impl Iterator<Item = &str> {
        let candidate = self.canary.as_ref().map(|canary| &canary.candidate);
        let versions = [Some(&self.current), self.previous.as_ref(), candidate];
        versions.into_iter().flatten().map(|version| version.sha256.as_str())
    }

    /// What cannot be, in a manifest that can be read.
    pub(super) fn contradiction(&self) -> Option<&'static str> {
        // Digests become names of files.
        let is_digest = |digest: &str| {
            digest.len() == 64
                && digest.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        };
        if !self.digests().all(is_digest) {
            return Some("`sha256` must be 64 hexadecimal digits");
        }
        let candidate = self.canary.as_ref().map(|canary| &canary.candidate);
        let numbers = [Some(&self.current), self.previous.as_ref(), candidate].into_iter().flatten();
        if numbers.map(|version| version.number).any(|number| number == 0 || number > self.latest_number) {
            return Some("the numbers of versions are from 1 to `latest_number`");
        }
        if self.latest_number > u32::MAX / 2 {
            return Some("`latest_number` is larger than deployments can make it");
        }
        if self.canary.as_ref().is_some_and(|canary| !(1..=99).contains(&canary.percent)) {
            return Some("a canary gets 1 to 99 percent");
        }
        None
    }
}

impl From<&Version> for KeptVersion {
    fn from(version: &Version) -> Self {
        let source = match &version.origin {
            Origin::Program => KeptOrigin::Program,
            Origin::Embedded => KeptOrigin::Embedded,
            Origin::File(file) => KeptOrigin::File(file.clone()),
            Origin::Deployed => KeptOrigin::Deployed,
        };
        let Version { number, since, .. } = *version;
        Self { number, sha256: version.handler.digest().into(), source, since }
    }
}

impl From<KeptOrigin> for Origin {
    fn from(source: KeptOrigin) -> Self {
        match source {
            KeptOrigin::Program => Self::Program,
            KeptOrigin::Embedded => Self::Embedded,
            KeptOrigin::File(file) => Self::File(file),
            KeptOrigin::Deployed => Self::Deployed,
        }
    }
}

fn write_time<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let time = (*time).max(SystemTime::UNIX_EPOCH);
    serializer.collect_str(&humantime::format_rfc3339_nanos(time))
}

fn read_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_rfc3339(&text).map_err(D::Error::custom)
}
