//! The signature of a webhook request: HMAC-SHA-256 of its body, or of a text with its body and a time, with a secret that
//! the API knows.

use super::{
    signed_text::{SignedText, elements},
    webhook_request::Received,
};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::Sha256;

/// How a request has to be signed. One signature that is valid is enough, among all that its headers have.
pub struct Signatures<'a> {
    /// Each may have signed the request.
    pub secrets: Vec<&'a str>,
    /// The names of headers with signatures, separated by commas.
    pub headers: &'a str,
    pub text: &'a SignedText,
    /// How many seconds a signed time may be before or after now.
    pub tolerance: u64,
}

impl Signatures<'_> {
    /// Checks a request at the time `now`, in seconds since 1970.
    ///
    /// # Errors
    /// Returns what is wrong, without anything from the request.
    pub fn check(&self, request: &Received, now: i64) -> Result<(), String> {
        let names = self.headers.split(',').map(str::trim);
        let mut wrong = None;
        for header in names.flat_map(|name| request.header(name)) {
            match self.check_header(&header.replace(['"', '\''], ""), request, now) {
                Ok(()) => return Ok(()),
                Err(reason) => wrong = wrong.or(Some(reason)),
            }
        }
        Err(wrong.unwrap_or_else(|| self.missing()))
    }

    fn missing(&self) -> String {
        format!(
            "the signature in {} is missing or wrong",
            self.headers.to_lowercase()
        )
    }

    fn check_header(&self, header: &str, request: &Received, now: i64) -> Result<(), String> {
        let pieces = self.text.pieces(request, header)?;
        for time in self.text.times(request, header)? {
            let seconds = seconds(time).ok_or("its time cannot be read")?;
            if seconds.abs_diff(now) > self.tolerance {
                return Err("its time is too far from now".to_owned());
            }
        }
        let candidates: Vec<_> = elements(header).flat_map(candidates).collect();
        let mut macs = self.secrets.iter().flat_map(|secret| macs(secret, &pieces));
        // `verify_slice` compares in constant time.
        let is_valid = macs.any(|mac| {
            let mut candidates = candidates.iter();
            candidates.any(|candidate| mac.clone().verify_slice(candidate).is_ok())
        });
        if is_valid {
            Ok(())
        } else {
            Err(self.missing())
        }
    }
}

/// Whether the texts are equal, in a time that does not depend on where they differ.
pub fn is_equal(a: &str, b: &str) -> bool {
    let mac = |text: &str| mac(b"comparison", &[text.as_bytes()]).map(Mac::finalize);
    // `CtOutput` compares in constant time.
    mac(a).is_some() && mac(a) == mac(b)
}

/// The HMAC-SHA-256 of a text.
pub fn hmac(secret: &str, text: &str) -> Option<Vec<u8>> {
    let mac = mac(secret.as_bytes(), &[text.as_bytes()])?;
    Some(mac.finalize().into_bytes().to_vec())
}

/// The MACs of a text with a secret: with its bytes, and with what they encode if it is a secret of Standard Webhooks. The
/// secrets of Stripe look alike and are used as they are.
fn macs(secret: &str, pieces: &[&[u8]]) -> impl Iterator<Item = Hmac<Sha256>> {
    let decoded = secret.strip_prefix("whsec_").and_then(from_base64);
    let keys = [Some(secret.as_bytes().to_vec()), decoded];
    keys.into_iter()
        .flatten()
        .filter_map(|key| mac(&key, pieces))
}

fn mac(key: &[u8], pieces: &[&[u8]]) -> Option<Hmac<Sha256>> {
    // HMAC accepts a key of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    pieces.iter().for_each(|piece| mac.update(piece));
    Some(mac)
}

/// What an element of the header can encode at its end, whatever is before it (`sha256=`, `v1=`).
fn candidates(element: &str) -> impl Iterator<Item = Vec<u8>> {
    let tail = |text: &str, length| {
        let start = text.len().checked_sub(length)?;
        text.get(start..).map(str::to_owned)
    };
    let hex = tail(element, 64).and_then(|text| from_hex(&text));
    let base64 = tail(element.trim_end_matches('='), 43).and_then(|text| from_base64(&text));
    hex.into_iter().chain(base64)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.chars().map(|digit| digit.to_digit(16));
    let digits: Vec<u32> = digits.collect::<Option<_>>()?;
    let bytes = digits
        .chunks_exact(2)
        .map(|pair| (pair[0] << 4 | pair[1]) as u8);
    Some(bytes.collect())
}

/// Decodes either alphabet of Base64 (RFC 4648 §4 and §5), with or without padding.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let text = text
        .trim_end_matches('=')
        .replace('+', "-")
        .replace('/', "_");
    base64_simd::URL_SAFE_NO_PAD.decode_to_vec(text).ok()
}

/// Reads a time in seconds or milliseconds since 1970, or as in RFC 3339.
fn seconds(text: &str) -> Option<i64> {
    /// As seconds, this is the year 5138; as milliseconds, 1973.
    const FIRST_MILLISECONDS: i64 = 100_000_000_000;
    match text.parse::<i64>() {
        Ok(time) if time < FIRST_MILLISECONDS => Some(time),
        Ok(time) => Some(time / 1000),
        Err(_) => text.parse::<Timestamp>().ok().map(Timestamp::as_second),
    }
}

#[cfg(test)]
mod tests;
