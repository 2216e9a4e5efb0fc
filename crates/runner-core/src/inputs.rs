//! Job inputs: `${{ job.inputs.NAME }}` in the texts of a job becomes the value of that input.
//!
//! Between the braces stands a path: the input's name, then fields (`.f`, `["f"]`) and elements (`[0]`). Source: GitLab's job
//! inputs as GitLab Runner interpolates them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::job::Payload;

const OPEN: &str = "${{";
const CLOSE: &str = "}}";

/// Where references are read, by the payload's fields: below the first name, in each element if it is a list.
const PLACES: &[(&str, &[&str])] = &[
    ("image", OF_IMAGE),
    ("services", OF_IMAGE),
    ("artifacts", &["name", "paths", "exclude", "when", "expire_in"]),
    ("cache", &["key", "policy", "paths", "when", "fallback_keys"]),
];
const OF_IMAGE: &[&str] = &["name", "command", "entrypoint", "pull_policy", "executor_opts"];

/// Steps whose commands are read; commands of other steps stay as they are.
const STEPS: &[&str] = &["script", "after_script"];

/// Why a job's inputs cannot be put in; a configuration error. No text quotes a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// An input is not as it should be.
    #[error("input {0:?} is not of its type")]
    Type(String),
    /// An input has no name.
    #[error("an input without a name")]
    NoName,
    /// The text between the braces is no reference.
    #[error("{0:?} is not a reference to a job input")]
    Syntax(String),
    /// There is no such input, field or element.
    #[error("{0:?} does not exist")]
    Unknown(String),
    /// The value must not be shown.
    #[error("sensitive inputs are unsupported in interpolations yet")]
    Sensitive,
    /// What came out is no job any more.
    #[error("{0}")]
    Payload(#[from] crate::line::LineError),
}

#[derive(Debug, Deserialize)]
struct Input {
    #[serde(default)]
    key: String,
    value: InputValue,
}

#[derive(Debug, Deserialize)]
struct InputValue {
    #[serde(rename = "type")]
    kind: String,
    content: Value,
    #[serde(default)]
    sensitive: bool,
}

impl InputValue {
    fn fits(&self) -> bool {
        match self.kind.as_str() {
            "string" => self.content.is_string(),
            "number" => self.content.is_number(),
            "boolean" => self.content.is_boolean(),
            "array" => self.content.is_array(),
            "struct" => self.content.is_object(),
            _ => false,
        }
    }
}

/// `payload`, read from `raw`, with its inputs put in; `None` if it has none: then its texts stay, whatever they hold.
pub fn interpolated(raw: &RawValue, payload: &Payload) -> Result<Option<Payload>, InputError> {
    if payload.inputs.is_empty() {
        return Ok(None);
    }
    let inputs = payload.inputs.iter().map(read).collect::<Result<BTreeMap<_, _>, _>>()?;
    // On the untyped form, because a reference may stand where only some words are a value.
    let mut whole: Value = serde_json::from_str(raw.get()).map_err(crate::line::malformed)?;
    for &(place, fields) in PLACES {
        for object in objects(&mut whole[place]) {
            for field in fields {
                put_in(&mut object[field], &inputs)?;
            }
        }
    }
    for step in objects(&mut whole["steps"]).filter(|step| step["name"].as_str().is_some_and(|n| STEPS.contains(&n))) {
        put_in(&mut step["script"], &inputs)?;
    }
    serde_json::from_value(whole).map(Some).map_err(|err| InputError::Payload(crate::line::malformed(err)))
}

fn read(input: &Value) -> Result<(String, InputValue), InputError> {
    let name = input["key"].as_str().unwrap_or_default().to_owned();
    let Ok(Input { key, value }) = Input::deserialize(input) else { return Err(InputError::Type(name)) };
    match () {
        () if key.is_empty() => Err(InputError::NoName),
        () if !value.fits() => Err(InputError::Type(key)),
        () => Ok((key, value)),
    }
}

/// The object itself, or those of a list; nothing else has fields.
fn objects(value: &mut Value) -> impl Iterator<Item = &mut Value> {
    let list = match value {
        Value::Array(list) => list.as_mut_slice(),
        one => std::slice::from_mut(one),
    };
    list.iter_mut().filter(|value| value.is_object())
}

/// Replaces the references in all texts below `value`.
fn put_in(value: &mut Value, inputs: &BTreeMap<String, InputValue>) -> Result<(), InputError> {
    match value {
        Value::String(text) if text.contains(OPEN) => *text = replaced(text, inputs)?,
        Value::Array(list) => list.iter_mut().try_for_each(|value| put_in(value, inputs))?,
        Value::Object(fields) => fields.values_mut().try_for_each(|value| put_in(value, inputs))?,
        _ => {}
    }
    Ok(())
}

fn replaced(text: &str, inputs: &BTreeMap<String, InputValue>) -> Result<String, InputError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(OPEN) {
        out.push_str(&rest[..at]);
        let inside = &rest[at + OPEN.len()..];
        let end = inside.find(CLOSE).ok_or_else(|| InputError::Syntax(inside.trim().to_owned()))?;
        let reference = inside[..end].trim();
        match look_up(reference, inputs)? {
            Value::String(text) => out.push_str(text),
            value => out.push_str(&value.to_string()),
        }
        rest = &inside[end + CLOSE.len()..];
    }
    out.push_str(rest);
    Ok(out)
}

fn look_up<'a>(reference: &str, inputs: &'a BTreeMap<String, InputValue>) -> Result<&'a Value, InputError> {
    let syntax = || InputError::Syntax(reference.to_owned());
    let unknown = || InputError::Unknown(reference.to_owned());
    let path = reference.strip_prefix("job.inputs").ok_or_else(syntax)?;
    let mut steps = Steps { rest: path };
    let Some(Step::Field(name)) = steps.next().transpose().map_err(|_bad| syntax())? else { return Err(syntax()) };
    let input = inputs.get(name).ok_or_else(unknown)?;
    if input.sensitive {
        return Err(InputError::Sensitive);
    }
    let mut value = &input.content;
    for step in steps {
        let found = match step.map_err(|_bad| syntax())? {
            Step::Field(name) => value.get(name),
            Step::Element(index) => value.get(index),
        };
        value = found.ok_or_else(unknown)?;
    }
    Ok(value)
}

/// One step of a path.
enum Step<'a> {
    /// `.name` or `["name"]`.
    Field(&'a str),
    /// `[0]`.
    Element(usize),
}

/// No path.
struct Malformed;

/// The steps of a path.
struct Steps<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Steps<'a> {
    type Item = Result<Step<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let step = self.step();
        if step.is_none() {
            self.rest = "";
        }
        Some(step.ok_or(Malformed))
    }
}

impl<'a> Steps<'a> {
    fn step(&mut self) -> Option<Step<'a>> {
        if let Some(rest) = self.rest.strip_prefix('.') {
            let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
            let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
            self.rest = &rest[end..];
            return (end > 0).then(|| Step::Field(&rest[..end]));
        }
        let inside = self.rest.strip_prefix('[')?;
        if let Some(quoted) = inside.strip_prefix('"') {
            let (name, rest) = quoted.split_once("\"]")?;
            self.rest = rest;
            return Some(Step::Field(name));
        }
        let (index, rest) = inside.split_once(']')?;
        self.rest = rest;
        index.trim().parse().ok().map(Step::Element)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(fields: Value) -> Result<Payload, String> {
        let mut whole = json!({"id": 1, "token": "t", "inputs": [
            {"key": "name", "value": {"type": "string", "content": "x y", "sensitive": false}},
            {"key": "dashed-name", "value": {"type": "string", "content": "d"}},
            {"key": "n", "value": {"type": "number", "content": 1.5}},
            {"key": "b", "value": {"type": "boolean", "content": true}},
            {"key": "a", "value": {"type": "array", "content": ["one", 2]}},
            {"key": "s", "value": {"type": "struct", "content": {"f": "field", "deep": [{"g": "h"}]}}},
            {"key": "secret", "value": {"type": "string", "content": "hush", "sensitive": true}},
        ]});
        whole.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let raw = RawValue::from_string(whole.to_string()).unwrap();
        let payload = Payload::parse(&raw).unwrap();
        interpolated(&raw, &payload).map(|new| new.unwrap_or(payload)).map_err(|err| err.to_string())
    }

    fn command(text: &str) -> Result<String, String> {
        job(json!({"steps": [{"name": "script", "script": [text]}]})).map(|job| job.steps[0].script[0].clone())
    }

    #[test]
    fn j156_references_become_values() {
        for (text, expected) in [
            ("echo ${{ job.inputs.name }}", "echo x y"),
            ("${{job.inputs.n}}${{ job.inputs.b }}", "1.5true"),
            ("${{ job.inputs.a }} ${{ job.inputs.s }}", r#"["one",2] {"deep":[{"g":"h"}],"f":"field"}"#),
            ("${{ job.inputs.a[0] }} ${{ job.inputs.a[1] }}", "one 2"),
            ("${{ job.inputs.s.f }} ${{ job.inputs.s.deep[0].g }}", "field h"),
            ("${{ job.inputs[\"dashed-name\"] }}${{ job.inputs.dashed-name }}", "dd"),
            ("$HOME ${HOME} $${ {{ }} plain", "$HOME ${HOME} $${ {{ }} plain"),
        ] {
            assert_eq!(command(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn j156_bad_references_and_sensitive_inputs_fail() {
        for (text, expected) in [
            ("${{ job.inputs.none }}", "\"job.inputs.none\" does not exist"),
            ("${{ job.inputs.a[7] }}", "\"job.inputs.a[7]\" does not exist"),
            ("${{ job.inputs.s.none }}", "\"job.inputs.s.none\" does not exist"),
            ("${{ env.X }}", "\"env.X\" is not a reference to a job input"),
            ("${{ job.inputs }}", "\"job.inputs\" is not a reference to a job input"),
            ("${{ job.inputs.a[x] }}", "\"job.inputs.a[x]\" is not a reference to a job input"),
            ("${{ job.inputs.a b }}", "\"job.inputs.a b\" is not a reference to a job input"),
            ("${{ job.inputs.name", "\"job.inputs.name\" is not a reference to a job input"),
            ("${{ job.inputs.secret }}", "sensitive inputs are unsupported in interpolations yet"),
        ] {
            assert_eq!(command(text), Err(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn j156_places_are_those_of_the_contract() {
        let (reference, n) = ("${{ job.inputs.name }}", "x y");
        let image = json!({"name": reference, "alias": reference, "command": [reference], "entrypoint": [reference],
                           "pull_policy": [reference], "executor_opts": {"kubernetes": {"user": reference}}});
        let job = job(json!({
            "image": image, "services": [image],
            "steps": [{"name": "script", "script": ["a", reference]}, {"name": "after_script", "script": [reference]},
                      {"name": "release", "script": [reference]}],
            "artifacts": [{"name": reference, "paths": [reference], "exclude": [reference], "expire_in": reference}],
            "cache": [{"key": reference, "policy": reference, "paths": [reference], "fallback_keys": [reference]}],
        }))
        .unwrap();
        let scripts: Vec<_> = job.steps.iter().map(|step| step.script.last().unwrap().as_str()).collect();
        assert_eq!(scripts, [n, n, reference]);
        for image in job.image.iter().chain(&job.services) {
            assert_eq!((image.name.as_str(), image.alias.as_str()), (n, reference));
            assert_eq!([&image.command, &image.entrypoint, &image.pull_policy], [&[n.to_owned()]; 3]);
            assert_eq!(image.executor_opts["kubernetes"]["user"], n);
        }
        let artifact = &job.artifacts[0];
        assert_eq!([&artifact.name, &artifact.paths[0], &artifact.exclude[0], &artifact.expire_in], [n; 4]);
        let cache = &job.cache[0];
        assert_eq!([&cache.key, &cache.policy, &cache.paths[0], &cache.fallback_keys[0]], [n; 4]);
    }

    #[test]
    fn j156_a_job_without_inputs_is_left_as_it_is() {
        let text = "echo '${{ job.inputs.name }}' '${{'";
        let job = job(json!({"inputs": [], "steps": [{"name": "script", "script": [text]}]})).unwrap();
        assert_eq!(job.steps[0].script, [text]);
    }

    #[test]
    fn j308_an_input_must_be_of_its_type() {
        for (input, expected) in [
            (json!({"key": "x", "value": {"type": "number", "content": "1"}}), "input \"x\" is not of its type"),
            (json!({"key": "x", "value": {"type": "string", "content": null}}), "input \"x\" is not of its type"),
            (json!({"key": "x", "value": {"type": "list", "content": []}}), "input \"x\" is not of its type"),
            (json!({"key": "x"}), "input \"x\" is not of its type"),
            (json!({"key": "", "value": {"type": "string", "content": ""}}), "an input without a name"),
        ] {
            assert_eq!(job(json!({"inputs": [input]})).unwrap_err(), expected, "{input}");
        }
    }
}
