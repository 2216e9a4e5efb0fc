//! `DeleteOptions`, from the query or the body.

use serde_json::Value;

use super::Call;
use crate::delete::Deletion;
use crate::json::{int, list, text};
use crate::status::ApiError;
use crate::store::Commit;

pub(super) async fn read(call: Call) -> Result<Deletion, ApiError> {
    let mut deletion = Deletion {
        grace_seconds: call.query.number("gracePeriodSeconds")?,
        propagation: call.query.get("propagationPolicy").to_owned(),
        dry_run: call.query.commit()? == Commit::DryRun,
        ..Deletion::default()
    };
    let media = call.media_type();
    let bytes = call.bytes().await?;
    if !bytes.is_empty() {
        if media != "application/json" {
            return Err(ApiError::unsupported_media_type("application/json"));
        }
        let body: Value = serde_json::from_slice(&bytes)
            .map_err(|error| ApiError::bad_request(format!("couldn't parse DeleteOptions: {error}")))?;
        let given = |pointer: &str| Some(text(&body, pointer).to_owned()).filter(|t| !t.is_empty());
        deletion.grace_seconds = int(&body, "/gracePeriodSeconds").or(deletion.grace_seconds);
        deletion.uid = given("/preconditions/uid");
        deletion.version = given("/preconditions/resourceVersion");
        deletion.dry_run |= list(&body, "/dryRun").iter().any(|value| value == "All");
        if let Some(propagation) = given("/propagationPolicy") {
            deletion.propagation = propagation;
        }
    }
    if !["", "Orphan", "Background", "Foreground"].contains(&deletion.propagation.as_str()) {
        return Err(ApiError::bad_request(format!("invalid propagationPolicy {:?}", deletion.propagation)));
    }
    Ok(deletion)
}
