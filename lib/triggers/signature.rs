//! The signature of a webhook request: HMAC-SHA-256 of its body, with a secret that the API knows.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Whether `header` is the signature of `body`, in hexadecimal or Base64, with or without `sha256=` before it.
pub fn is_signed(body: &[u8], header: &str, secret: &str) -> bool {
    let signature = header.trim();
    let signature = signature.strip_prefix("sha256=").unwrap_or(signature);
    let Some(signature) =
        from_hex(signature).or_else(|| base64_simd::STANDARD.decode_to_vec(signature).ok())
    else {
        return false;
    };
    // HMAC accepts a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return false;
    };
    mac.update(body);
    // Compares in constant time.
    mac.verify_slice(&signature).is_ok()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 {
        return None;
    }
    (0..64)
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::is_signed;

    /// RFC 4231, case 2.
    const BODY: &[u8] = b"what do ya want for nothing?";
    const HEX: &str = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    const BASE64: &str = "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=";

    #[test]
    fn a_signature_is_valid_in_each_encoding_for_its_body_only() {
        for header in [
            HEX,
            BASE64,
            &format!("sha256={HEX}"),
            &format!(" sha256={BASE64}"),
            &HEX.to_uppercase(),
        ] {
            assert!(is_signed(BODY, header, "Jefe"), "{header}");
            assert!(!is_signed(BODY, header, "jefe"), "{header}");
            assert!(
                !is_signed(b"what do ya want for nothing!", header, "Jefe"),
                "{header}"
            );
        }
        for header in [
            "",
            "sha256=",
            &HEX[..62],
            &HEX.replace('5', "6"),
            "é",
            &"é".repeat(32),
        ] {
            assert!(!is_signed(BODY, header, "Jefe"), "{header}");
        }
    }
}
