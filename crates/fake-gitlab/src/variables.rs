//! The variables of a job: what GitLab predefines, in GitLab's order, and the expansion of
//! references among them.

use std::collections::{BTreeMap, BTreeSet};

use url::Url;

use crate::clock::stamp;
use crate::job::Job;
use crate::plan::{Variable, When};
use crate::project::{MergeRequest, Pipeline, Project};
use crate::runner::Runner;

/// The GitLab version the server claims to be.
pub(crate) const VERSION: &str = "19.4.0";
/// The revision the server claims to be built from.
pub(crate) const REVISION: &str = "fa4e91ab000";
/// The only user.
pub(crate) const USER_NAME: &str = "Administrator";
/// The only user's login.
pub(crate) const USER_LOGIN: &str = "root";
/// The only user's address.
pub(crate) const USER_EMAIL: &str = "admin@example.com";

/// Everything the predefined variables speak of.
pub(crate) struct Scope<'a> {
    pub(crate) external_url: &'a str,
    pub(crate) project: &'a Project,
    pub(crate) pipeline: &'a Pipeline,
    pub(crate) job: &'a Job,
    pub(crate) runner: &'a Runner,
    /// Clone address with the job token inside.
    pub(crate) repository_url: &'a str,
}

/// Lower case, everything but letters and digits a dash, at most 63 characters, no dash at the
/// ends: GitLab's `*_SLUG`.
pub(crate) fn slug(text: &str) -> String {
    let dashed: String = text
        .chars()
        .map(|character| match character.to_ascii_lowercase() {
            letter @ ('a'..='z' | '0'..='9') => letter,
            _ => '-',
        })
        .take(63)
        .collect();
    dashed.trim_matches('-').to_owned()
}

/// What is predefined before a pipeline is there: what its definition may ask for.
pub(crate) fn predefined_before(external_url: &str, project: &Project, pipeline: &Pipeline) -> Vec<Variable> {
    let mut variables = Vec::with_capacity(60);
    of_server(external_url, &mut variables);
    of_project(external_url, project, &mut variables);
    of_pipeline(external_url, project, pipeline, &mut variables);
    variables.retain(|variable| variable.key != "CI_PIPELINE_IID" && variable.key != "CI_PIPELINE_CREATED_AT");
    variables
}

/// The predefined variables of a job, lowest in precedence (GitLab: predefined CI/CD variables).
pub(crate) fn predefined(scope: &Scope<'_>) -> Vec<Variable> {
    let mut variables = Vec::with_capacity(80);
    of_job(scope, &mut variables);
    of_server(scope.external_url, &mut variables);
    of_project(scope.external_url, scope.project, &mut variables);
    of_pipeline(scope.external_url, scope.project, scope.pipeline, &mut variables);
    variables
}

fn of_job(scope: &Scope<'_>, out: &mut Vec<Variable>) {
    let Scope { job, project, runner, .. } = scope;
    let web = format!("{}/{}", scope.external_url, project.path);
    let tags = serde_json::to_string(&runner.spec.tags).unwrap_or_default().replace("\",\"", "\", \"");
    let mut add = |key: &str, value: String| out.push(Variable::new(key, value));
    add("CI_PIPELINE_ID", job.pipeline.to_string());
    add("CI_PIPELINE_URL", format!("{web}/-/pipelines/{}", job.pipeline));
    add("CI_JOB_ID", job.id.to_string());
    add("CI_JOB_URL", format!("{web}/-/jobs/{}", job.id));
    if let Some(at) = job.started_at {
        add("CI_JOB_STARTED_AT", humantime::format_rfc3339_seconds(at).to_string());
    }
    out.push(Variable::new("CI_JOB_TOKEN", job.token.as_str()).masked());
    out.push(Variable::new("CI_REPOSITORY_URL", scope.repository_url).private());
    let mut add = |key: &str, value: String| out.push(Variable::new(key, value));
    add("CI_JOB_NAME", job.plan.name.clone());
    add("CI_JOB_NAME_SLUG", slug(&job.plan.name));
    add("CI_JOB_GROUP_NAME", if job.plan.group.is_empty() { job.plan.name.clone() } else { job.plan.group.clone() });
    add("CI_JOB_STAGE", job.plan.stage.clone());
    if job.plan.when == When::Manual {
        add("CI_JOB_MANUAL", "true".into());
    }
    let (index, total) = job.plan.part.unzip();
    if let Some(index) = index {
        add("CI_NODE_INDEX", index.to_string());
    }
    add("CI_NODE_TOTAL", total.unwrap_or(1).to_string());

    add("CI_RUNNER_ID", runner.id.to_string());
    add("CI_RUNNER_DESCRIPTION", runner.spec.description.clone());
    add("CI_RUNNER_TAGS", tags);
    add("GITLAB_USER_ID", "1".into());
    add("GITLAB_USER_EMAIL", USER_EMAIL.into());
    add("GITLAB_USER_LOGIN", USER_LOGIN.into());
    add("GITLAB_USER_NAME", USER_NAME.into());
}

fn of_server(external_url: &str, out: &mut Vec<Variable>) {
    let mut add = |key: &str, value: &str| out.push(Variable::new(key, value));
    add("CI", "true");
    add("GITLAB_CI", "true");
    add("GITLAB_FEATURES", "");
    add("CI_SERVER_URL", external_url);
    if let Ok(url) = Url::parse(external_url) {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or(80).to_string();
        let fqdn = url.port().map_or(host.to_owned(), |port| format!("{host}:{port}"));
        add("CI_SERVER_HOST", host);
        add("CI_SERVER_FQDN", &fqdn);
        add("CI_SERVER_PORT", &port);
        add("CI_SERVER_PROTOCOL", url.scheme());
        add("CI_SERVER_SHELL_SSH_HOST", host);
        add("CI_SERVER_SHELL_SSH_PORT", "22");
    }
    add("CI_SERVER_NAME", "GitLab");
    add("CI_SERVER_VERSION", VERSION);
    let mut parts = VERSION.split('.');
    add("CI_SERVER_VERSION_MAJOR", parts.next().unwrap_or_default());
    add("CI_SERVER_VERSION_MINOR", parts.next().unwrap_or_default());
    add("CI_SERVER_VERSION_PATCH", parts.next().unwrap_or_default());
    add("CI_SERVER_REVISION", REVISION);
    add("CI_API_V4_URL", &format!("{external_url}/api/v4"));
    add("CI_API_GRAPHQL_URL", &format!("{external_url}/api/graphql"));
}

fn of_project(external_url: &str, project: &Project, out: &mut Vec<Variable>) {
    let root = project.path.split('/').next().unwrap_or_default();
    let mut add = |key: &str, value: &str| out.push(Variable::new(key, value));
    add("CI_PROJECT_ID", &project.id.to_string());
    add("CI_PROJECT_NAME", project.name());
    add("CI_PROJECT_TITLE", project.name());
    add("CI_PROJECT_DESCRIPTION", "");
    add("CI_PROJECT_PATH", &project.path);
    add("CI_PROJECT_PATH_SLUG", &slug(&project.path));
    add("CI_PROJECT_NAMESPACE", project.namespace());
    add("CI_PROJECT_NAMESPACE_ID", &project.namespace_id.to_string());
    add("CI_PROJECT_NAMESPACE_SLUG", &slug(project.namespace()));
    add("CI_PROJECT_ROOT_NAMESPACE", root);
    add("CI_PROJECT_URL", &format!("{external_url}/{}", project.path));
    add("CI_PROJECT_VISIBILITY", "private");
    add("CI_PROJECT_REPOSITORY_LANGUAGES", "");
    add("CI_PROJECT_CLASSIFICATION_LABEL", "");
    add("CI_DEFAULT_BRANCH", &project.default_branch);
    add("CI_CONFIG_PATH", ".gitlab-ci.yml");
}

fn of_pipeline(external_url: &str, project: &Project, pipeline: &Pipeline, out: &mut Vec<Variable>) {
    let commit = &pipeline.commit;
    let mut add = |key: &str, value: &str| out.push(Variable::new(key, value));
    add("CI_PIPELINE_IID", &pipeline.iid.to_string());
    add("CI_PIPELINE_SOURCE", pipeline.source);
    add("CI_PIPELINE_CREATED_AT", &stamp(pipeline.created_at));
    add("CI_COMMIT_SHA", &commit.sha);
    add("CI_COMMIT_SHORT_SHA", commit.sha.get(..8).unwrap_or(&commit.sha));
    add("CI_COMMIT_BEFORE_SHA", &"0".repeat(40));
    let number = pipeline.merge_request;
    let request = project.merge_requests.iter().find(|request| Some(request.iid) == number);
    let ref_name = request.map_or(&pipeline.ref_name, |request| &request.source_branch);
    add("CI_COMMIT_REF_NAME", ref_name);
    add("CI_COMMIT_REF_SLUG", &slug(ref_name));
    add("CI_COMMIT_REF_PROTECTED", if pipeline.is_protected { "true" } else { "false" });
    add("CI_COMMIT_TIMESTAMP", &commit.committed_at);
    if let Some(name) = &pipeline.name {
        add("CI_PIPELINE_NAME", name);
    }
    if pipeline.source == "trigger" {
        add("CI_PIPELINE_TRIGGERED", "true");
    }
    match request {
        Some(request) => of_merge_request(external_url, project, &pipeline.ref_name, request, out),
        None if pipeline.is_tag => add("CI_COMMIT_TAG", &pipeline.ref_name),
        None => add("CI_COMMIT_BRANCH", &pipeline.ref_name),
    }
    // Free text may hold dollar signs that are no references.
    let mut add_raw = |key: &str, value: &str| out.push(Variable::new(key, value).raw());
    add_raw("CI_COMMIT_MESSAGE", &commit.message);
    add_raw("CI_COMMIT_TITLE", &commit.title);
    add_raw("CI_COMMIT_DESCRIPTION", commit.description());
    add_raw("CI_COMMIT_AUTHOR", &format!("{} <{}>", commit.author_name, commit.author_email));
    if let Some(message) = &pipeline.tag_message {
        add_raw("CI_COMMIT_TAG_MESSAGE", message);
    }
}

fn of_merge_request(
    external_url: &str,
    project: &Project,
    ref_path: &str,
    request: &MergeRequest,
    out: &mut Vec<Variable>,
) {
    let mut add = |key: &str, value: &str| out.push(Variable::new(key, value));
    add("CI_MERGE_REQUEST_ID", &request.id.to_string());
    add("CI_MERGE_REQUEST_IID", &request.iid.to_string());
    add("CI_MERGE_REQUEST_REF_PATH", ref_path);
    add("CI_MERGE_REQUEST_EVENT_TYPE", "detached");
    for side in ["", "SOURCE_"] {
        add(&format!("CI_MERGE_REQUEST_{side}PROJECT_ID"), &project.id.to_string());
        add(&format!("CI_MERGE_REQUEST_{side}PROJECT_PATH"), &project.path);
        add(&format!("CI_MERGE_REQUEST_{side}PROJECT_URL"), &format!("{external_url}/{}", project.path));
    }
    add("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", &request.source_branch);
    add("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", &request.target_branch);
    out.push(Variable::new("CI_MERGE_REQUEST_TITLE", &request.title).raw());
}

/// Replaces references among the variables by their values, as GitLab does before it sends a job.
///
/// References to unknown names and to file variables stay for the runner; raw variables are left
/// alone; the members of a cycle stay as they are.
pub(crate) fn expand(variables: Vec<Variable>) -> Vec<Variable> {
    let last: BTreeMap<&str, &Variable> = variables.iter().map(|variable| (variable.key.as_str(), variable)).collect();
    variables
        .iter()
        .map(|variable| {
            let mut path = BTreeSet::from([variable.key.as_str()]);
            let value = if variable.raw { None } else { expand_text(&variable.value, &last, &mut path) };
            Variable { value: value.unwrap_or_else(|| variable.value.clone()), ..variable.clone() }
        })
        .collect()
}

/// The text with its references replaced by what is known; the others become nothing.
pub(crate) fn expand_known(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let (token, name) = reference(&rest[at..]);
        match name {
            Some(name) => out.push_str(known.get(name).map_or("", String::as_str)),
            None => out.push_str(token),
        }
        rest = &rest[at + token.len()..];
    }
    out.push_str(rest);
    out
}

/// The text with its references replaced; none when one of them leads back to a name in `path`.
fn expand_text<'a>(
    text: &'a str,
    known: &BTreeMap<&'a str, &'a Variable>,
    path: &mut BTreeSet<&'a str>,
) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let tail = &rest[at..];
        let (token, name) = reference(tail);
        rest = &tail[token.len()..];
        match name.and_then(|name| known.get(name).map(|variable| (name, variable))) {
            Some((name, variable)) if !variable.file => {
                if variable.raw {
                    out.push_str(&variable.value);
                    continue;
                }
                if !path.insert(name) {
                    return None;
                }
                out.push_str(&expand_text(&variable.value, known, path)?);
                path.remove(name);
            }
            _ => out.push_str(token),
        }
    }
    out.push_str(rest);
    Some(out)
}

/// Splits a text that starts with `$` after its first token: `$$`, `$NAME`, `${NAME}` or a lone
/// `$`. The name is given for references.
fn reference(text: &str) -> (&str, Option<&str>) {
    let after = &text[1..];
    if after.starts_with('$') {
        return (&text[..2], None);
    }
    let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    if let Some(braced) = after.strip_prefix('{') {
        let length = braced.find(|character| !is_name(character)).unwrap_or(braced.len());
        if length > 0 && braced[length..].starts_with('}') {
            return (&text[..length + 3], Some(&braced[..length]));
        }
        return (&text[..1], None);
    }
    let length = after.find(|character| !is_name(character)).unwrap_or(after.len());
    if length == 0 || after.starts_with(|first: char| first.is_ascii_digit()) {
        return (&text[..1], None);
    }
    (&text[..=length], Some(&after[..length]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(variables: &[(&str, &str)]) -> Vec<String> {
        let variables = variables.iter().map(|(key, value)| Variable::new(*key, *value)).collect();
        expand(variables).into_iter().map(|variable| variable.value).collect()
    }

    #[test]
    fn nested_references_are_replaced_whatever_their_order() {
        assert_eq!(expanded(&[("A", "$B/x"), ("B", "${C}y"), ("C", "1")]), ["1y/x", "1y", "1"]);
    }

    #[test]
    fn unknown_names_and_escapes_stay_for_the_runner() {
        for text in ["$UNKNOWN", "${UNKNOWN}", "$$A", "${A", "5$", "$1"] {
            assert_eq!(expanded(&[("X", text), ("A", "1")])[0], text);
        }
    }

    #[test]
    fn the_members_of_a_cycle_stay_as_they_are() {
        assert_eq!(expanded(&[("A", "$B"), ("B", "$A"), ("C", "$C")]), ["$B", "$A", "$C"]);
    }

    #[test]
    fn raw_variables_are_copied_and_file_variables_stay_references() {
        let variables = vec![
            Variable::new("RAW", "$A").raw(),
            Variable::new("FILE", "content").file(),
            Variable::new("X", "$RAW $FILE"),
            Variable::new("A", "1"),
        ];
        assert_eq!(expand(variables)[2].value, "$A $FILE");
    }

    #[test]
    fn slugs_are_short_lower_case_and_without_dashes_at_the_ends() {
        assert_eq!(slug("Feature/Ünit_1-"), "feature--nit-1");
        assert_eq!(slug(&"x".repeat(80)).len(), 63);
    }
}
