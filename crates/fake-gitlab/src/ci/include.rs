//! `include`: other files below a definition.

use serde_json::{Value, json};

use crate::variables::expand_known;

use super::Failure;
use super::conditions::Conditions;
use super::entry::{Entry, Problems};
use super::glob::Glob;
use super::keywords::{self, Rule};
use super::node::{Members, Node, merge};
use super::sources::{Sources, Tree};
use super::{inputs, yaml};

/// Most files of a definition.
const FILE_LIMIT: usize = 150;

/// Keys that say where a file is.
const PLACES: [&str; 6] = ["local", "file", "remote", "template", "component", "artifact"];

/// Reads definitions with all that they include.
pub(super) struct Includer<'a> {
    conditions: &'a Conditions<'a>,
    /// What was included, as `ci/lint` shows it.
    pub(super) included: Vec<Value>,
}

/// Where an included file is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    /// In the project of the file that includes it.
    Local,
    /// In a project that is named.
    Project,
}

/// One file to be included.
struct Wanted {
    tree: Tree,
    path: String,
    place: Place,
    inputs: Members,
}

impl<'a> Includer<'a> {
    pub(super) fn new(conditions: &'a Conditions<'a>) -> Self {
        Self { conditions, included: Vec::new() }
    }

    fn sources(&self) -> &'a dyn Sources {
        self.conditions.sources
    }

    /// A text's definition with its includes below it. `label` is the file's name in messages, none
    /// for the first one.
    pub(super) fn read(
        &mut self,
        text: &str,
        label: Option<&str>,
        tree: &Tree,
        given: &Members,
    ) -> Result<Members, Failure> {
        let named = |problem: String| match label {
            Some(label) => Failure::one(format!("`{label}`: {problem}")),
            None => Failure::one(problem),
        };
        let documents = yaml::parse(text).map_err(named)?;
        let document = inputs::apply(documents, given, &self.conditions.known(&[])).map_err(named)?;
        let Node::Map(own) = document else {
            return Err(named("Invalid configuration format".to_owned()));
        };
        let Some((_, include)) = own.iter().find(|(key, _)| key == "include") else { return Ok(own) };
        let mut all = Members::new();
        for wanted in self.wanted(include, tree)? {
            merge(&mut all, self.file(&wanted, tree)?);
        }
        merge(&mut all, own.into_iter().filter(|(key, _)| key != "include").collect());
        Ok(all)
    }

    /// The definition of an included file.
    fn file(&mut self, wanted: &Wanted, from: &Tree) -> Result<Members, Failure> {
        // A file that includes itself ends here, too.
        if self.included.len() >= FILE_LIMIT {
            return Err(Failure::one(format!("Maximum of {FILE_LIMIT} nested includes are allowed!")));
        }
        let Wanted { tree, path, place, inputs } = wanted;
        if ![".yml", ".yaml"].iter().any(|end| path.to_ascii_lowercase().ends_with(end)) {
            return Err(Failure::one(format!("Included file `{path}` does not have YAML extension!")));
        }
        let (title, kind, extra) = match place {
            Place::Local => (format!("Local file `{path}`"), "local", json!({})),
            Place::Project => {
                (format!("Project `{}` file `{path}`", tree.project), "file", json!({ "project": tree.project }))
            }
        };
        let text = self.sources().text(tree, path)?;
        let text = text.ok_or_else(|| Failure::one(format!("{title} does not exist!")))?;
        if text.trim().is_empty() {
            return Err(Failure::one(format!("{title} is empty!")));
        }
        self.included.push(json!({
            "type": kind,
            "location": path,
            "blob": null,
            "raw": null,
            "extra": extra,
            "context_project": from.project,
            "context_sha": from.sha,
        }));
        self.read(&text, Some(path), tree, inputs)
    }

    /// The files that an `include` asks for.
    fn wanted(&self, include: &Node, tree: &Tree) -> Result<Vec<Wanted>, Failure> {
        let one = std::slice::from_ref(include);
        let mut wanted = Vec::new();
        for (index, item) in include.items().unwrap_or(one).iter().enumerate() {
            match item {
                Node::Null => {}
                Node::Text(location) if location.starts_with("http://") || location.starts_with("https://") => {
                    return Err(unserved("remote", location));
                }
                Node::Text(location) => wanted.extend(self.local(location, tree, &Members::new())?),
                Node::Map(_) => wanted.extend(self.detailed(item, index, tree)?),
                _ => return Err(Failure::one("include config should be a hash or a string".to_owned())),
            }
        }
        Ok(wanted)
    }

    fn detailed(&self, item: &Node, index: usize, tree: &Tree) -> Result<Vec<Wanted>, Failure> {
        let problems = Problems::default();
        let entry = Entry::new(format!("include:{index}"), item, &problems);
        let others = ["job", "project", "ref", "rules", "inputs", "integrity", "cache"];
        entry.map_of(&[&PLACES[..], &others].concat());
        let rules = entry.member("rules").and_then(|rules| {
            keywords::rules(&rules, &["if", "exists", "when", "changes"], &["never", "always", "on_success"])
        });
        let inputs = entry.member("inputs").and_then(|inputs| inputs.map().cloned()).unwrap_or_default();
        let text = |key| entry.attribute(key).and_then(|text| text.text());
        let given: Vec<&str> = PLACES.into_iter().filter(|key| entry.attribute(key).is_some()).collect();
        let (local, project, reference) = (text("local"), text("project"), text("ref"));
        let files = entry.attribute("file").and_then(|files| files.texts_or_one());
        problems.into_result(()).map_err(Failure::Definition)?;
        if !self.is_wanted(rules.as_deref())? {
            return Ok(Vec::new());
        }
        match (given.as_slice(), local, project, files) {
            (["local"], Some(location), None, _) => self.local(&location, tree, &inputs),
            (["file"], _, Some(project), Some(files)) => {
                let known = self.conditions.known(&[]);
                let reference = reference.map(|name| expand_known(&name, &known));
                let tree = self.sources().find(&expand_known(&project, &known), reference.as_deref())?;
                let wanted = files.iter().map(|file| Wanted {
                    tree: tree.clone(),
                    path: expand_known(file, &known).trim_start_matches('/').to_owned(),
                    place: Place::Project,
                    inputs: inputs.clone(),
                });
                Ok(wanted.collect())
            }
            ([place @ ("remote" | "template" | "component" | "artifact")], ..) => {
                Err(unserved(place, &item.get(place).and_then(Node::scalar).unwrap_or_default()))
            }
            _ => Err(Failure::one(format!(
                "`{}` does not have a valid subkey for include. Valid subkeys are: `local`, `project`, `remote`, \
                 `template`, `component`, `artifact`",
                item.to_json()
            ))),
        }
    }

    /// A file of the same project, or all that fit a pattern.
    fn local(&self, location: &str, tree: &Tree, inputs: &Members) -> Result<Vec<Wanted>, Failure> {
        let location = expand_known(location, &self.conditions.known(&[]));
        let path = location.trim_start_matches('/');
        let wanted = |path: &str| Wanted {
            tree: tree.clone(),
            path: path.to_owned(),
            place: Place::Local,
            inputs: inputs.clone(),
        };
        if !path.contains('*') {
            return Ok(vec![wanted(path)]);
        }
        let pattern = Glob::new(path);
        let paths = self.sources().paths(tree)?;
        let found: Vec<Wanted> = paths.iter().filter(|path| pattern.fits(path)).map(|path| wanted(path)).collect();
        match found.is_empty() {
            true => Err(Failure::one(format!("Local file `{path}` does not exist!"))),
            false => Ok(found),
        }
    }

    fn is_wanted(&self, rules: Option<&[Rule]>) -> Result<bool, Failure> {
        let Some(rules) = rules else { return Ok(true) };
        let found = self.conditions.first(rules, &self.conditions.known(&[]))?;
        Ok(found.is_some_and(|rule| rule.when != Some("never")))
    }
}

/// What would have to come from elsewhere.
fn unserved(what: &str, location: &str) -> Failure {
    Failure::one(format!(
        "include:{what} `{location}` could not be fetched: this server has only its own projects, use `local` or \
         `project`"
    ))
}
