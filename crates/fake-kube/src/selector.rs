//! Label and field selectors of list, watch and deletecollection.

use serde_json::Value;

use crate::json::{pairs, text};
use crate::resource::Resource;
use crate::status::ApiError;

/// Both selectors of one request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<(String, String, bool)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

impl Selector {
    /// Parses `labelSelector` and `fieldSelector`; empty strings match everything.
    pub(crate) fn parse(resource: &Resource, labels: &str, fields: &str) -> Result<Self, ApiError> {
        Ok(Self {
            labels: split_terms(labels)
                .into_iter()
                .map(|term| Requirement::parse(&term))
                .collect::<Option<_>>()
                .ok_or_else(|| ApiError::bad_request(format!("unable to parse requirement: {labels}")))?,
            fields: fields
                .split(',')
                .filter(|term| !term.is_empty())
                .map(|term| parse_field(resource, term))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Whether the object is selected.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        let labels = pairs(object, "/metadata/labels");
        let label = |key: &str| labels.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
        self.labels.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => label(key).is_some_and(|value| values.iter().any(|v| v == value)),
            Requirement::NotIn(key, values) => label(key).is_none_or(|value| values.iter().all(|v| v != value)),
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::Absent(key) => label(key).is_none(),
        }) && self.fields.iter().all(|(path, value, equal)| {
            let pointer = format!("/{}", path.replace('.', "/"));
            (text(object, &pointer) == value) == *equal
        })
    }
}

impl Requirement {
    fn parse(term: &str) -> Option<Self> {
        let term = term.trim();
        let key = |key: &str| {
            let key = key.trim();
            (!key.is_empty() && !key.contains(char::is_whitespace)).then(|| key.to_owned())
        };
        if let Some((left, values)) = term.split_once('(') {
            let values = values.strip_suffix(')')?;
            let values = values.split(',').map(|v| v.trim().to_owned()).collect();
            let (name, operator) = left.trim().rsplit_once(char::is_whitespace)?;
            return match operator {
                "in" => Some(Self::In(key(name)?, values)),
                "notin" => Some(Self::NotIn(key(name)?, values)),
                _ => None,
            };
        }
        let one = |value: &str| vec![value.trim().to_owned()];
        if let Some((name, value)) = term.split_once("!=") {
            return Some(Self::NotIn(key(name)?, one(value)));
        }
        if let Some((name, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
            return Some(Self::In(key(name)?, one(value)));
        }
        match term.strip_prefix('!') {
            Some(name) => Some(Self::Absent(key(name)?)),
            None => Some(Self::Exists(key(term)?)),
        }
    }
}

/// Splits at commas outside parentheses.
fn split_terms(selector: &str) -> Vec<String> {
    let (mut terms, mut depth) = (vec![String::new()], 0);
    for char in selector.chars() {
        match char {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if char == ',' && depth == 0 {
            terms.push(String::new());
        } else if let Some(last) = terms.last_mut() {
            last.push(char);
        }
    }
    terms.retain(|term| !term.trim().is_empty());
    terms
}

fn parse_field(resource: &Resource, term: &str) -> Result<(String, String, bool), ApiError> {
    let (path, value, equal) = if let Some((path, value)) = term.split_once("!=") {
        (path, value, false)
    } else if let Some((path, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        (path, value, true)
    } else {
        return Err(ApiError::bad_request(format!("invalid field selector: {term:?}")));
    };
    let path = path.trim();
    if !["metadata.name", "metadata.namespace"].contains(&path) && !resource.fields.contains(&path) {
        return Err(ApiError::bad_request(format!("field label not supported: {path}")));
    }
    Ok((path.to_owned(), value.trim().to_owned(), equal))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::PODS;

    #[test]
    fn label_selectors_select_as_documented() {
        let pod = json!({"metadata": {"name": "p", "labels": {"app": "web", "tier": "front", "empty": ""}}});
        for (selector, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            ("app = web , tier = front", true),
            ("app=db", false),
            ("app!=db", true),
            ("nokey!=db", true),
            ("app!=web", false),
            ("app in (web, db)", true),
            ("app in (db)", false),
            ("app notin (db),tier in (front,back)", true),
            ("nokey notin (db)", true),
            ("app notin (web)", false),
            ("app", true),
            ("nokey", false),
            ("!nokey", true),
            ("!app", false),
            ("empty=", true),
        ] {
            let parsed = Selector::parse(&PODS, selector, "").unwrap();
            assert_eq!(parsed.matches(&pod), expected, "{selector}");
        }
    }

    #[test]
    fn wrong_selectors_are_refused() {
        for (labels, fields) in [
            ("app in web", ""),
            ("app within (web)", ""),
            ("=x", ""),
            ("", "spec.secretThing=1"),
            ("", "metadata.name"),
        ] {
            let error = Selector::parse(&PODS, labels, fields).unwrap_err();
            assert_eq!(error.code, 400, "{labels} {fields}");
        }
    }

    #[test]
    fn field_selectors_compare_text() {
        let pod = json!({"metadata": {"name": "p"}, "status": {"phase": "Running"}});
        for (selector, expected) in [
            ("metadata.name=p", true),
            ("metadata.name!=p", false),
            ("status.phase=Running,metadata.name=p", true),
            ("spec.nodeName=", true),
        ] {
            let parsed = Selector::parse(&PODS, "", selector).unwrap();
            assert_eq!(parsed.matches(&pod), expected, "{selector}");
        }
    }
}
