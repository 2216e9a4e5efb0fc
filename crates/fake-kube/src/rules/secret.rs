//! Rules of secrets and config maps.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{holds_data, syntax};
use crate::cause::Cause;
use crate::json::{flag, pairs};
use crate::resource::{Resource, SECRETS};

/// Data of one object together, in bytes.
const MAX_DATA: usize = 1024 * 1024;

/// Folds `stringData` into `data`, and sets the type.
pub(super) fn complete(resource: &'static Resource, object: &mut Value) {
    if resource != &SECRETS {
        return;
    }
    let Some(fields) = object.as_object_mut() else { return };
    fields.entry("type").or_insert(json!("Opaque"));
    if let Some(Value::Object(plain)) = fields.remove("stringData") {
        let data = fields.entry("data").or_insert(json!({}));
        for (key, value) in plain {
            data[key] = STANDARD.encode(value.as_str().unwrap_or_default()).into();
        }
    }
}

/// Key syntax, base64 and size.
pub(super) fn check(resource: &'static Resource, object: &Value) -> Vec<Cause> {
    if !holds_data(resource) {
        return Vec::new();
    }
    let mut causes = Vec::new();
    let mut size = 0;
    let encoded = if resource == &SECRETS { "data" } else { "binaryData" };
    for field in ["data", "binaryData"] {
        for (key, value) in pairs(object, &format!("/{field}")) {
            let name = format!("{field}[{key}]");
            if let Err(why) = syntax::data_key(key) {
                causes.push(Cause::invalid(&name, key, &why));
            }
            if field != encoded {
                size += value.len();
                continue;
            }
            match STANDARD.decode(value) {
                Ok(bytes) => size += bytes.len(),
                Err(error) => causes.push(Cause::invalid(&name, value, &format!("illegal base64 data: {error}"))),
            }
        }
    }
    if size > MAX_DATA {
        let field = if resource == &SECRETS { "data" } else { "" };
        causes.push(Cause::too_long(field, MAX_DATA));
    }
    if resource == &SECRETS && object["type"] == "kubernetes.io/dockerconfigjson" {
        match object["data"][".dockerconfigjson"].as_str().map(|value| STANDARD.decode(value)) {
            None => causes.push(Cause::required("data[.dockerconfigjson]", "")),
            Some(Ok(bytes)) if serde_json::from_slice::<Value>(&bytes).is_err() => {
                let why = "invalid character in .dockerconfigjson";
                causes.push(Cause::invalid("data[.dockerconfigjson]", "<secret contents redacted>", why));
            }
            Some(_) => {}
        }
    }
    causes
}

/// What of a secret cannot change.
pub(super) fn check_change(resource: &'static Resource, old: &Value, next: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if resource == &SECRETS && old["type"] != next["type"] {
        causes.push(Cause::invalid("type", next["type"].clone(), "field is immutable"));
    }
    if holds_data(resource) && flag(old, "/immutable") {
        for field in ["data", "binaryData", "immutable"] {
            if old.get(field) != next.get(field) {
                causes.push(Cause::forbidden(field, "field is immutable when `immutable` is set"));
            }
        }
    }
    causes
}
