//! One job of a definition: its keywords and what it inherits.

use crate::plan::{AllowFailure, JobPlan, Variable};

use super::definition::Shared;
use super::entry::Entry;
use super::keywords::{self, Parallel, Policy, Rule};
use super::node::Node;

/// Keywords a job may have.
const KEYWORDS: &[&str] = &[
    "after_script",
    "allow_failure",
    "artifacts",
    "before_script",
    "cache",
    "coverage",
    "dependencies",
    "environment",
    "except",
    "extends",
    "hooks",
    "image",
    "inherit",
    "inputs",
    "interruptible",
    "manual_confirmation",
    "needs",
    "only",
    "parallel",
    "release",
    "resource_group",
    "retry",
    "rules",
    "run",
    "script",
    "services",
    "stage",
    "start_in",
    "tags",
    "timeout",
    "variables",
    "when",
];

/// Keywords GitLab has in jobs and this server does not.
const MISSING: &[&str] = &["dast_configuration", "id_tokens", "identity", "pages", "publish", "secrets", "trigger"];

/// Keys of a job's rule.
const RULE_KEYS: &[&str] =
    &["if", "changes", "exists", "when", "start_in", "allow_failure", "variables", "needs", "interruptible"];

/// A job as it is defined, before it is known whether it runs.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// Without `when` and what rules can change.
    pub(super) plan: JobPlan,
    pub(super) parallel: Option<Parallel>,
    /// Set where there are `rules`, which then decide alone.
    pub(super) rules: Option<Vec<Rule>>,
    pub(super) only: Option<Policy>,
    pub(super) except: Option<Policy>,
    pub(super) when: &'static str,
    pub(super) start_in: Option<u64>,
    pub(super) allow_failure: Option<AllowFailure>,
    /// Variables of the top level that it inherits; all if none.
    pub(super) inherits_variables: Option<Vec<String>>,
    pub(super) own_variables: Vec<Variable>,
}

/// Reads a job; none if it is no job at all, or cannot be one.
pub(super) fn read(name: &str, entry: &Entry<'_>, shared: &Shared<'_>) -> Option<Job> {
    let reader = Reader::new(entry, shared);
    entry.map()?;
    if let Some(keyword) = MISSING.iter().find(|keyword| entry.node.get(keyword).is_some()) {
        entry.complain(format!("uses `{keyword}`, which is not supported here"));
        return None;
    }
    entry.map_of(KEYWORDS);
    if name.len() > 255 {
        entry.complain("name is too long (maximum is 255 characters)");
    }
    let rules = entry.member("rules").and_then(|rules| {
        let when = ["on_success", "on_failure", "always", "never", "manual", "delayed"];
        keywords::rules(&rules, RULE_KEYS, &when)
    });
    if entry.attribute("rules").is_some() {
        let beside: Vec<&str> =
            ["only", "except", "start_in"].into_iter().filter(|key| entry.attribute(key).is_some()).collect();
        if !beside.is_empty() {
            entry.complain(format!("key may not be used with `rules`: {}", beside.join(", ")));
        }
    }
    let when = entry.attribute("when").and_then(|when| keywords::when(&when)).unwrap_or("on_success");
    let start_in = entry.attribute("start_in").and_then(|time| keywords::start_in(&time));
    match (when, start_in.is_some() || entry.attribute("start_in").is_some()) {
        ("delayed", false) => entry.require("start_in"),
        ("delayed", true) | (_, false) => {}
        (_, true) if rules.is_none() => entry.complain("start in must be blank"),
        _ => {}
    }
    let steps = entry.attribute("run").and_then(|run| keywords::run(&run));
    if steps.is_some() && entry.attribute("script").is_some() {
        entry.complain("these keys cannot be used together: run, script");
    }
    Some(Job {
        plan: plan(name, entry, &reader, steps),
        parallel: entry.member("parallel").and_then(|parallel| keywords::parallel(&parallel)),
        rules,
        only: entry.member("only").and_then(|policy| keywords::policy(&policy)),
        except: entry.member("except").and_then(|policy| keywords::policy(&policy)),
        when,
        start_in,
        allow_failure: entry.attribute("allow_failure").and_then(|flag| keywords::allow_failure(&flag)),
        inherits_variables: reader.inherited_variables(),
        own_variables: entry
            .member("variables")
            .and_then(|variables| keywords::variables(&variables, &["value", "expand"]))
            .unwrap_or_default(),
    })
}

/// What rules cannot change.
fn plan(name: &str, entry: &Entry<'_>, reader: &Reader<'_, '_>, steps: Option<serde_json::Value>) -> JobPlan {
    let mut script = reader.entry("before_script").and_then(|lines| lines.script()).unwrap_or_default();
    script.extend(entry.member("script").and_then(|lines| lines.script()).unwrap_or_default());
    let interruptible = reader.attribute("interruptible").and_then(|flag| flag.flag());
    entry.attribute("manual_confirmation").and_then(|text| text.text());
    JobPlan {
        name: name.to_owned(),
        group: name.to_owned(),
        stage: entry.member("stage").and_then(|stage| stage.name()).unwrap_or_else(|| "test".to_owned()),
        needs: entry.member("needs").and_then(|needs| keywords::needs(&needs)),
        dependencies: entry.attribute("dependencies").and_then(|names| names.texts()),
        tags: reader.attribute("tags").and_then(|tags| keywords::tags(&tags)).unwrap_or_default(),
        timeout: reader.attribute("timeout").and_then(|time| keywords::timeout(&time)),
        script: if steps.is_some() { Vec::new() } else { script },
        run: steps.unwrap_or_default(),
        after_script: reader.entry("after_script").and_then(|lines| lines.script()).unwrap_or_default(),
        image: reader.entry("image").and_then(|image| keywords::image(&image)).unwrap_or_default(),
        services: reader.entry("services").and_then(|list| keywords::services(&list)).unwrap_or_default(),
        artifacts: reader.entry("artifacts").and_then(|given| keywords::artifacts(&given)).unwrap_or_default(),
        artifact_access: reader.entry("artifacts").and_then(|given| keywords::access(&given)),
        cache: reader.entry("cache").and_then(|cache| keywords::cache(&cache)).unwrap_or_default(),
        retry: reader.entry("retry").and_then(|retry| keywords::retry(&retry)).unwrap_or_default(),
        interruptible: interruptible.unwrap_or(false),
        resource_group: entry.attribute("resource_group").and_then(|name| keywords::resource_group(&name)),
        environment: entry.member("environment").and_then(|place| keywords::environment(&place)),
        coverage: entry.member("coverage").and_then(|pattern| keywords::coverage(&pattern)),
        hooks: reader.entry("hooks").and_then(|hooks| keywords::hooks(&hooks)).unwrap_or_default(),
        inputs: entry.member("inputs").and_then(|inputs| keywords::inputs(&inputs)).unwrap_or_default(),
        release: entry.member("release").and_then(|release| keywords::release(&release)).unwrap_or_default(),
        ..JobPlan::default()
    }
}

/// Finds keywords in the job, or in what it inherits.
struct Reader<'a, 'b> {
    entry: &'b Entry<'a>,
    shared: &'b Shared<'a>,
    inherit: Option<Entry<'a>>,
}

impl<'a, 'b> Reader<'a, 'b> {
    fn new(entry: &'b Entry<'a>, shared: &'b Shared<'a>) -> Self {
        let inherit = entry.member("inherit").filter(|inherit| inherit.map_of(&["default", "variables"]).is_some());
        Self { entry, shared, inherit }
    }

    /// Whether `inherit:default` lets a keyword through.
    fn inherits(&self, keyword: &str) -> bool {
        let Some(default) = self.inherit.as_ref().and_then(|inherit| inherit.member("default")) else { return true };
        match default.node {
            Node::Bool(flag) => *flag,
            _ => default.texts().is_some_and(|names| names.iter().any(|name| name == keyword)),
        }
    }

    /// None for all of them.
    fn inherited_variables(&self) -> Option<Vec<String>> {
        let variables = self.inherit.as_ref()?.member("variables")?;
        match variables.node {
            Node::Bool(true) => None,
            Node::Bool(false) => Some(Vec::new()),
            _ => Some(variables.texts().unwrap_or_default()),
        }
    }

    /// An own null counts as not given and still stops the inheritance, as in GitLab.
    fn is_own(&self, keyword: &str) -> bool {
        self.entry.node.get(keyword).is_some() || !self.inherits(keyword)
    }

    fn entry(&self, keyword: &str) -> Option<Entry<'a>> {
        match self.is_own(keyword) {
            true => self.entry.member(keyword),
            false => self.shared.default(keyword),
        }
    }

    fn attribute(&self, keyword: &str) -> Option<Entry<'a>> {
        match self.is_own(keyword) {
            true => self.entry.attribute(keyword),
            false => self.shared.default(keyword),
        }
    }
}
