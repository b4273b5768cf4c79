//! What identifies items in snapshots: short hashes, and sets of them.

use indexmap::IndexSet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;

/// The most fingerprints in a set. When there are more, the oldest tenth is forgotten.
const MAX_LEN: usize = 1_000_000;
/// The length of a fingerprint in bytes.
const BYTES: usize = size_of::<u64>();

/// A hash that identifies an item, a version of an item, or an error. It is the same in every version of the runtime.
///
/// ```
/// use sailor::snapshot::Fingerprint;
///
/// assert_eq!(Fingerprint::of("order 7"), Fingerprint::of("order 7"));
/// assert_ne!(Fingerprint::of("order 7"), Fingerprint::of("order 8"));
/// assert_eq!(Fingerprint::of("a").to_string(), "af63dc4c8601ec8c");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of a text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        // FNV-1a with 64 bits. Among 100 000 items, two have the same one with a probability of 3 in 10 000 000 000.
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(hash)
    }
}

/// 16 hexadecimal digits.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A set of [`Fingerprint`]s that knows which of them are the newest. It holds up to a million: of more, the oldest are
/// forgotten.
///
/// In a snapshot it is one text, in which each takes 11 bytes. A list of texts of 16 hexadecimal digits can be read as well.
///
/// ```
/// use sailor::snapshot::{Fingerprint, Fingerprints};
///
/// let mut seen = Fingerprints::default();
/// assert!(seen.insert(Fingerprint::of("order 7")));
/// assert!(!seen.insert(Fingerprint::of("order 7")), "it is not new");
/// assert!(seen.contains(Fingerprint::of("order 7")));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprints(IndexSet<Fingerprint>);

impl Fingerprints {
    /// Adds a fingerprint as the newest one. Returns false if the set has it already.
    pub fn insert(&mut self, fingerprint: Fingerprint) -> bool {
        if self.0.len() == MAX_LEN {
            self.0.drain(..MAX_LEN / 10);
        }
        self.0.insert(fingerprint)
    }

    /// Returns whether the set has a fingerprint.
    #[must_use]
    pub fn contains(&self, fingerprint: Fingerprint) -> bool {
        self.0.contains(&fingerprint)
    }

    /// Returns the number of fingerprints.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether the set has no fingerprint.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the fingerprints, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = Fingerprint> {
        self.0.iter().copied()
    }

    /// Removes all fingerprints.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The newest fingerprints, at most `count`.
    pub(super) fn newest(&self, count: usize) -> Self {
        let oldest = self.0.len().saturating_sub(count);
        self.iter().skip(oldest).collect()
    }
}

impl Extend<Fingerprint> for Fingerprints {
    fn extend<I: IntoIterator<Item = Fingerprint>>(&mut self, fingerprints: I) {
        for fingerprint in fingerprints {
            self.insert(fingerprint);
        }
    }
}

impl FromIterator<Fingerprint> for Fingerprints {
    fn from_iter<I: IntoIterator<Item = Fingerprint>>(fingerprints: I) -> Self {
        let mut all = Self::default();
        all.extend(fingerprints);
        all
    }
}

impl Serialize for Fingerprints {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = self.iter().flat_map(|one| one.0.to_be_bytes()).collect();
        serializer.serialize_str(&base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes))
    }
}

impl<'de> Deserialize<'de> for Fingerprints {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Stored {
            Text(String),
            List(Vec<String>),
        }
        let fingerprints = match Stored::deserialize(deserializer)? {
            Stored::Text(text) => of_base64(&text),
            Stored::List(list) => list.iter().map(|digits| of_hex(digits)).collect(),
        };
        fingerprints.ok_or_else(|| {
            D::Error::custom("expected fingerprints, 8 bytes each, in base64url without padding")
        })
    }
}

fn of_base64(text: &str) -> Option<Fingerprints> {
    let bytes = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(text).ok()?;
    let (fingerprints, rest) = bytes.as_chunks::<BYTES>();
    let fingerprints = fingerprints.iter().map(|one| u64::from_be_bytes(*one));
    rest.is_empty()
        .then(|| fingerprints.map(Fingerprint).collect())
}

fn of_hex(digits: &str) -> Option<Fingerprint> {
    let is_hex = digits.len() == 2 * BYTES && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let hash = u64::from_str_radix(digits, 16).ok()?;
    is_hex.then_some(Fingerprint(hash))
}
