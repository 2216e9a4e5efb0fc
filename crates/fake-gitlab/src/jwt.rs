//! JSON Web Tokens with HS256, as GitLab and its Workhorse sign what they tell each other.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde_json::Value;
use sha2::Sha256;

/// The claims of a token that was signed with this secret and has not expired; none otherwise.
pub(crate) fn verified(token: &str, secret: &str, now: std::time::SystemTime) -> Option<Value> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let read = |part: &str| -> Option<Value> { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok() };
    if read(header)?["alg"] != "HS256" {
        return None;
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(signed.as_bytes());
    mac.verify_slice(&URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
    let claims = read(claims)?;
    let now = now.duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?.as_secs();
    match claims.get("exp").and_then(Value::as_u64) {
        Some(expiry) if expiry <= now => None,
        _ => Some(claims),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    /// `{"alg":"HS256","typ":"JWT"}` and `{"iss":"gitlab-workhorse","exp":1000}`, signed with `secret` by another program.
    const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJnaXRsYWItd29ya2hvcnNlIiwiZXhwIjoxMDAwfQ.PYMiHmgB5oZNpesU_esB8QnevQKn2R4psLeGXTTU_6o";

    #[test]
    fn only_the_right_secret_and_time_verify() {
        let early = SystemTime::UNIX_EPOCH + Duration::from_secs(999);
        assert_eq!(verified(TOKEN, "secret", early).unwrap()["iss"], "gitlab-workhorse");
        assert!(verified(TOKEN, "other", early).is_none());
        assert!(verified(TOKEN, "secret", early + Duration::from_secs(1)).is_none());
        assert!(verified("a.b", "secret", early).is_none());
    }
}
