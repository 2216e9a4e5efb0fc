//! What secret, config map, downward API and projected volumes contain.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::atomic::{File, Files};
use crate::json::{flag, int, list, pairs, text};
use crate::resource::{CONFIGMAPS, Resource, SECRETS};
use crate::store::{Key, Store};

/// The files of a volume that the kubelet writes itself; `None` if it is of another kind.
/// `Err` is the kubelet's message why the volume cannot be set up yet.
pub(crate) fn files(store: &Store, pod: &Value, volume: &Value) -> Option<Result<Files, String>> {
    let mode = |source: &Value| mode_of(source, "/defaultMode").unwrap_or(0o644);
    if let Some(source) = volume.get("secret") {
        let source = with_name(source, "secretName");
        return Some(keyed(store, pod, &SECRETS, &source, mode(&source)));
    }
    if let Some(source) = volume.get("configMap") {
        return Some(keyed(store, pod, &CONFIGMAPS, source, mode(source)));
    }
    if let Some(source) = volume.get("downwardAPI") {
        return Some(downward(pod, source, mode(source)));
    }
    let projected = volume.get("projected")?;
    let mode = mode(projected);
    let mut all = Files::new();
    for source in list(projected, "/sources") {
        let part = if let Some(source) = source.get("secret") {
            keyed(store, pod, &SECRETS, source, mode)
        } else if let Some(source) = source.get("configMap") {
            keyed(store, pod, &CONFIGMAPS, source, mode)
        } else if let Some(source) = source.get("downwardAPI") {
            downward(pod, source, mode)
        } else {
            continue; // service account tokens: there is nobody to verify them
        };
        match part {
            Ok(part) => all.extend(part),
            Err(message) => return Some(Err(message)),
        }
    }
    Some(Ok(all))
}

fn with_name(source: &Value, key: &str) -> Value {
    let mut source = source.clone();
    source["name"] = json!(text(&source, &format!("/{key}")));
    source
}

fn mode_of(source: &Value, pointer: &str) -> Option<u32> {
    u32::try_from(int(source, pointer)?).ok()
}

/// The decoded entries of a secret or config map.
pub(crate) type Data = Vec<(String, Vec<u8>)>;

/// The data of a secret or config map; `None` if there is no such object.
pub(crate) fn data(store: &Store, resource: &'static Resource, namespace: &str, name: &str) -> Option<Data> {
    let object = store.get(&Key { resource, namespace: namespace.to_owned(), name: name.to_owned() })?;
    let encoded = if std::ptr::eq(resource, &SECRETS) { "/data" } else { "/binaryData" };
    let decode = |value: &str| STANDARD.decode(value).unwrap_or_default();
    let mut data: Vec<_> =
        pairs(&object, encoded).into_iter().map(|(key, value)| (key.to_owned(), decode(value))).collect();
    if std::ptr::eq(resource, &CONFIGMAPS) {
        let plain = pairs(&object, "/data").into_iter();
        data.extend(plain.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())));
    }
    Some(data)
}

fn keyed(
    store: &Store,
    pod: &Value,
    resource: &'static Resource,
    source: &Value,
    default_mode: u32,
) -> Result<Files, String> {
    let (namespace, name) = (text(pod, "/metadata/namespace"), text(source, "/name"));
    let optional = flag(source, "/optional");
    let Some(data) = data(store, resource, namespace, name) else {
        if optional {
            return Ok(Files::new());
        }
        let kind = resource.kind.to_lowercase();
        return Err(format!("{kind} \"{name}\" not found"));
    };
    let items = list(source, "/items");
    if items.is_empty() {
        let file = |content| File { content, mode: default_mode };
        return Ok(data.into_iter().map(|(key, value)| (key, file(value))).collect());
    }
    let mut files = Files::new();
    for item in items {
        let key = text(item, "/key");
        let Some((_, content)) = data.iter().find(|(k, _)| k == key) else {
            if optional {
                continue;
            }
            return Err(format!("references non-existent {} key: {key}", resource.kind.to_lowercase()));
        };
        let file = File { content: content.clone(), mode: mode_of(item, "/mode").unwrap_or(default_mode) };
        files.insert(text(item, "/path").to_owned(), file);
    }
    Ok(files)
}

fn downward(pod: &Value, source: &Value, default_mode: u32) -> Result<Files, String> {
    let mut files = Files::new();
    for item in list(source, "/items") {
        let path = text(item, "/fieldRef/fieldPath");
        let content = if path.is_empty() {
            resource_field(text(item, "/resourceFieldRef/resource")).to_owned()
        } else {
            field(pod, path).ok_or_else(|| format!("unsupported fieldPath: {path}"))?
        };
        let file = File { content: content.into_bytes(), mode: mode_of(item, "/mode").unwrap_or(default_mode) };
        files.insert(text(item, "/path").to_owned(), file);
    }
    Ok(files)
}

/// A container's resources are those of the machine: nothing is limited here.
pub(crate) fn resource_field(resource: &str) -> &'static str {
    match resource {
        "limits.cpu" | "requests.cpu" => "1",
        _ => "0",
    }
}

/// The text of a pod field as `fieldRef` gives it; `None` if the path is not one that it knows.
pub(crate) fn field(pod: &Value, path: &str) -> Option<String> {
    if let Some((map, key)) = path.strip_suffix("']").and_then(|p| p.split_once("['")) {
        let pointer = match map {
            "metadata.labels" => "/metadata/labels",
            "metadata.annotations" => "/metadata/annotations",
            _ => return None,
        };
        let value = pod.pointer(pointer).and_then(|map| map[key].as_str());
        return Some(value.unwrap_or_default().to_owned());
    }
    Some(match path {
        "metadata.labels" => lines(&pairs(pod, "/metadata/labels")),
        "metadata.annotations" => lines(&pairs(pod, "/metadata/annotations")),
        "status.hostIPs" | "status.podIPs" => "127.0.0.1".to_owned(),
        "metadata.name"
        | "metadata.namespace"
        | "metadata.uid"
        | "spec.nodeName"
        | "spec.serviceAccountName"
        | "status.hostIP"
        | "status.podIP" => text(pod, &format!("/{}", path.replace('.', "/"))).to_owned(),
        _ => return None,
    })
}

/// `key="value"` lines, sorted, without a newline at the end.
fn lines(pairs: &[(&str, &str)]) -> String {
    let lines: Vec<_> = pairs.iter().map(|(key, value)| format!("{key}={}", quote(value))).collect();
    lines.join("\n")
}

/// Go's `%q`: a double-quoted string with Go escapes.
fn quote(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::from("\"");
    for char in text.chars() {
        // Writing to a String cannot fail.
        let _ = match char {
            '"' => write!(out, "\\\""),
            '\\' => write!(out, "\\\\"),
            '\x07' => write!(out, "\\a"),
            '\x08' => write!(out, "\\b"),
            '\x0c' => write!(out, "\\f"),
            '\n' => write!(out, "\\n"),
            '\r' => write!(out, "\\r"),
            '\t' => write!(out, "\\t"),
            '\x0b' => write!(out, "\\v"),
            ' '..='~' => write!(out, "{char}"),
            '\0'..='\x7f' => write!(out, "\\x{:02x}", u32::from(char)),
            _ if is_printable(char) => write!(out, "{char}"),
            '\u{80}'..='\u{ffff}' => write!(out, "\\u{:04x}", u32::from(char)),
            _ => write!(out, "\\U{:08x}", u32::from(char)),
        };
    }
    out.push('"');
    out
}

/// Close to Go's `strconv.IsPrint` beyond ASCII: no controls, no spaces, no invisible marks.
fn is_printable(char: char) -> bool {
    !char.is_control()
        && !char.is_whitespace()
        && !matches!(char,
            '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{e000}'..='\u{f8ff}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}'..='\u{ffff}'
            | '\u{e0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_are_quoted_as_go_does_it() {
        for (value, expected) in [
            ("plain", r#""plain""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("1\n2\t3\r", r#""1\n2\t3\r""#),
            ("\0\x1b\x7f", r#""\x00\x1b\x7f""#),
            ("é…😀", r#""é…😀""#),
            ("\u{a0}\u{feff}\u{85}", r#""\u00a0\ufeff\u0085""#),
        ] {
            assert_eq!(quote(value), expected);
        }
    }

    #[test]
    fn fields_of_the_pod_read_as_the_kubelet_writes_them() {
        let pod = json!({"metadata": {"name": "p", "uid": "u", "labels": {"b": "2", "a": "1"},
            "annotations": {"x/y": "v"}}});
        for (path, expected) in [
            ("metadata.labels", Some("a=\"1\"\nb=\"2\"")),
            ("metadata.annotations['x/y']", Some("v")),
            ("metadata.annotations['gone']", Some("")),
            ("metadata.name", Some("p")),
            ("spec.image", None),
        ] {
            assert_eq!(field(&pod, path).as_deref(), expected, "{path}");
        }
    }
}
