//! `spec:inputs`, the header of a definition, and `$[[ inputs.x ]]`, the places where they go.

use crate::variables::expand_known;

use super::expression::Known;
use super::node::{Members, Node};

/// Most functions in one place.
const FUNCTION_LIMIT: usize = 3;

/// The definition of a text whose header has been taken off and whose inputs are put in.
///
/// # Errors
///
/// What GitLab says of wrong inputs, for the whole file.
pub(super) fn apply(documents: Vec<Node>, given: &Members, known: &Known) -> Result<Node, String> {
    let mut documents = documents.into_iter();
    let (first, second) = (documents.next(), documents.next());
    if documents.next().is_some() {
        return Err("only a header and one document are supported".to_owned());
    }
    let (header, content) = match (first, second) {
        (Some(header), Some(content)) if header.get("spec").is_some() => (Some(header), content),
        (Some(_), Some(_)) => return Err("header:spec config missing".to_owned()),
        (content, _) => (None, content.unwrap_or(Node::Null)),
    };
    let Some(header) = header else {
        return match given.is_empty() {
            true => Ok(content),
            false => {
                Err("Given inputs not defined in the `spec` section of the included configuration file".to_owned())
            }
        };
    };
    let inputs = values(&header, given)?;
    content.try_map(&mut |node| match node {
        Node::Text(text) => interpolated(&text, &inputs, known),
        other => Ok(other),
    })
}

/// Refuses members that are not among `allowed`.
fn check_keys(members: Option<&Members>, allowed: &[&str], place: &str) -> Result<(), String> {
    let keys = members.into_iter().flatten().map(|(key, _)| key.as_str());
    match keys.filter(|key| !allowed.contains(key)).collect::<Vec<_>>()[..] {
        [] => Ok(()),
        ref unknown => Err(format!("{place} config contains unknown keys: {}", unknown.join(", "))),
    }
}

/// The inputs' values, given or by default.
fn values(header: &Node, given: &Members) -> Result<Members, String> {
    check_keys(header.members(), &["spec"], "header")?;
    let spec = header.get("spec").unwrap_or(&Node::Null);
    check_keys(spec.members(), &["inputs"], "header:spec")?;
    let none = Members::new();
    let specs = spec.get("inputs").and_then(Node::members).unwrap_or(&none);
    let is_known = |name: &str| specs.iter().any(|(known, _)| known == name);
    let unknown: Vec<&str> = given.iter().map(|(key, _)| key.as_str()).filter(|key| !is_known(key)).collect();
    if !unknown.is_empty() {
        return Err(format!("unknown input arguments: {}", unknown.join(", ")));
    }
    let mut values = Members::new();
    for (name, spec) in specs {
        let keys = ["type", "default", "options", "regex", "description"];
        check_keys(spec.members(), &keys, &format!("header:spec:inputs:{name}"))?;
        let value = given.iter().find(|(key, _)| key == name).map(|(_, value)| value).or_else(|| spec.get("default"));
        let value = value.ok_or_else(|| format!("`{name}` input: required value has not been provided"))?;
        check(name, spec, value)?;
        values.push((name.clone(), value.clone()));
    }
    Ok(values)
}

fn check(name: &str, spec: &Node, value: &Node) -> Result<(), String> {
    let kind = spec.get("type").and_then(Node::scalar).unwrap_or_else(|| "string".to_owned());
    let fits = match kind.as_str() {
        "string" => value.scalar().is_some() || value.is_null(),
        "number" => matches!(value, Node::Number(_)),
        "boolean" => matches!(value, Node::Bool(_)),
        "array" => matches!(value, Node::List(_)),
        _ => {
            return Err(format!(
                "unknown input specification for `{name}` (valid types: array, boolean, number, string)"
            ));
        }
    };
    if !fits {
        return Err(format!("`{name}` input: provided value is not a {kind}"));
    }
    let text = value.scalar().unwrap_or_default();
    if let Some(options) = spec.get("options").and_then(Node::items) {
        let is_allowed = options.iter().any(|option| option == value || option.scalar() == value.scalar());
        if !is_allowed {
            return Err(format!(
                "`{name}` input: `{text}` cannot be used because it is not in the list of allowed options"
            ));
        }
    }
    let pattern = spec.get("regex").and_then(Node::scalar);
    let fits = pattern.is_none_or(|pattern| regex::Regex::new(&pattern).is_ok_and(|regex| regex.is_match(&text)));
    if !fits {
        return Err(format!("`{name}` input: provided value does not match required RegEx pattern"));
    }
    Ok(())
}

/// A text with its places filled. One that is a place and nothing else becomes the value itself.
fn interpolated(text: &str, inputs: &Members, known: &Known) -> Result<Node, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("$[[") {
        let Some((place, after)) = after.split_once("]]") else { break };
        let value = filled(place, inputs, known)?;
        if before.is_empty() && out.is_empty() && after.is_empty() {
            return Ok(value);
        }
        out.push_str(before);
        out.push_str(&match &value {
            Node::Null => String::new(),
            other => other.scalar().unwrap_or_else(|| other.to_json().to_string()),
        });
        rest = after;
    }
    out.push_str(rest);
    Ok(Node::Text(out))
}

/// `inputs.name | function | function(1, 2)`.
fn filled(place: &str, inputs: &Members, known: &Known) -> Result<Node, String> {
    let mut parts = place.split('|').map(str::trim);
    let access = parts.next().unwrap_or_default();
    let unknown = || format!("unknown interpolation key: `{access}`");
    let name = access.strip_prefix("inputs.").ok_or_else(unknown)?;
    let mut value = inputs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()).ok_or_else(unknown)?;
    for (index, function) in parts.enumerate() {
        if index == FUNCTION_LIMIT {
            return Err("too many functions in interpolation block".to_owned());
        }
        let text = value
            .scalar()
            .ok_or_else(|| format!("error in `{function}` function: invalid input type: value is no string"))?;
        value = Node::Text(call(function, &text, known)?);
    }
    Ok(value)
}

fn call(function: &str, text: &str, known: &Known) -> Result<String, String> {
    let no_match =
        || format!("no function matching `{function}`: check that the function name, arguments, and types are correct");
    match function.split_once('(') {
        None if function == "expand_vars" => Ok(expand_known(text, known)),
        None if function == "posix_escape" => Ok(posix_escape(text)),
        Some(("truncate", arguments)) => {
            let arguments = arguments.strip_suffix(')').and_then(|arguments| arguments.split_once(','));
            let (offset, length) = arguments.ok_or_else(no_match)?;
            let number = |text: &str| text.trim().parse::<usize>().map_err(|_| no_match());
            Ok(text.chars().skip(number(offset)?).take(number(length)?).collect())
        }
        _ => Err(no_match()),
    }
}

/// The text as one word of a POSIX shell.
fn posix_escape(text: &str) -> String {
    if text.is_empty() {
        return "''".to_owned();
    }
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '\n' => out.push_str("'\n'"),
            letter if letter.is_ascii_alphanumeric() || "_-.,:+/@".contains(letter) => out.push(letter),
            letter => out.extend(['\\', letter]),
        }
    }
    out
}
