//! Registry credentials for pulling the job's images.
//!
//! `DOCKER_AUTH_CONFIG` first, then what GitLab sent; the first entry of a registry wins. Source: GitLab Runner's Kubernetes
//! executor, "docker auth precedence". Credential helpers are not run: they are programs of another machine's user.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::LocalObjectReference;
use runner_core::config::Kubernetes;
use runner_core::job::Credential;
use runner_core::variables::Variables;
use serde_json::{Map, Value, json};

use super::{Note, PodInput};

/// What the job brings to pull images with, unless that is left to the service account.
pub(super) fn of_job(input: &PodInput<'_>, config: &Kubernetes, notes: &mut Vec<Note>) -> Option<Vec<u8>> {
    if config.use_service_account_image_pull_secrets {
        return None;
    }
    docker_config(input.variables, &input.payload.credentials, notes)
}

/// What the pod names: the runner's Secrets, then our `own`.
pub(super) fn pull_secrets(config: &Kubernetes, own: Option<&String>) -> Option<Vec<LocalObjectReference>> {
    if config.use_service_account_image_pull_secrets {
        return None;
    }
    let names = config.image_pull_secrets.iter().chain(own);
    let list: Vec<_> = names.map(|name| LocalObjectReference { name: name.clone() }).collect();
    (!list.is_empty()).then_some(list)
}

/// The text of `.dockerconfigjson`; `None` if there are no credentials.
fn docker_config(variables: &Variables, credentials: &[Credential], notes: &mut Vec<Note>) -> Option<Vec<u8>> {
    let mut auths = Auths::default();
    let text = variables.value("DOCKER_AUTH_CONFIG");
    if !text.trim().is_empty() {
        match read(&text, notes) {
            Some(entries) => entries.into_iter().for_each(|(registry, entry)| auths.add(&registry, entry)),
            None => notes.push(Note::Warning(
                "DOCKER_AUTH_CONFIG is not a JSON object with registries in `auths`; it is not used".to_owned(),
            )),
        }
    }
    for credential in credentials.iter().filter(|credential| credential.kind == "registry") {
        let (username, password) = (&credential.username, credential.password.expose());
        let auth = STANDARD.encode(format!("{username}:{password}"));
        auths.add(&credential.url, json!({"username": username, "password": password, "auth": auth}));
    }
    (!auths.entries.is_empty()).then(|| json!({"auths": auths.entries}).to_string().into_bytes())
}

/// The entries of a docker configuration.
fn read(text: &str, notes: &mut Vec<Note>) -> Option<Map<String, Value>> {
    // Not the parser's own message: it may quote what it could not read.
    let config: Value = serde_json::from_str(text).ok()?;
    let config = config.as_object()?;
    let has_helpers = ["credsStore", "credHelpers"].iter().any(|key| config.contains_key(*key));
    if has_helpers {
        let line = "DOCKER_AUTH_CONFIG names credential helpers; they are not run, only its `auths` are used";
        notes.push(Note::Warning(line.to_owned()));
    }
    match config.get("auths") {
        Some(auths) => {
            let entries = auths.as_object()?.iter().filter(|(_, entry)| entry.is_object());
            Some(entries.map(|(registry, entry)| (registry.clone(), entry.clone())).collect())
        }
        None => has_helpers.then(Map::new),
    }
}

#[derive(Default)]
struct Auths {
    entries: Map<String, Value>,
    registries: Vec<String>,
}

impl Auths {
    fn add(&mut self, registry: &str, entry: Value) {
        let known = normalised(registry);
        if !known.is_empty() && !self.registries.contains(&known) {
            self.registries.push(known);
            self.entries.insert(registry.to_owned(), entry);
        }
    }
}

/// The form in which two spellings of one registry are equal: of a URL its host; else without tag and slash at the end, the
/// host in lower case.
fn normalised(registry: &str) -> String {
    let url = registry.strip_prefix("https://").or_else(|| registry.strip_prefix("http://"));
    let path = match url {
        Some(rest) => rest.split('/').next().unwrap_or_default(),
        None => registry.trim_end_matches('/'),
    };
    let (host, rest) = path.split_at(path.find('/').unwrap_or(path.len()));
    let rest = if rest.is_empty() { rest } else { super::images::untagged(rest).0 };
    let host = host.to_ascii_lowercase();
    let host = if host == "index.docker.io" { "docker.io" } else { &host };
    format!("{host}{rest}")
}

#[cfg(test)]
mod tests {
    use runner_core::job::Variable;
    use runner_core::secret::Secret;

    use super::*;

    fn config(auth_config: &str, credentials: &[(&str, &str, &str)]) -> (Value, usize) {
        let credentials: Vec<_> = credentials
            .iter()
            .map(|&(kind, url, user)| Credential {
                kind: kind.into(),
                url: url.into(),
                username: user.into(),
                password: Secret::new("pw"),
            })
            .collect();
        let variable = Variable { raw: true, ..Variable::public("DOCKER_AUTH_CONFIG", auth_config) };
        let mut notes = Vec::new();
        let made = docker_config(&Variables::new(vec![variable], ""), &credentials, &mut notes);
        (made.map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap()), notes.len())
    }

    #[test]
    fn the_jobs_credentials_are_used_if_they_are_for_a_registry() {
        let (made, _) = config("", &[("registry", "registry.example.com", "u"), ("other", "x", "u")]);
        let expected =
            json!({"auths": {"registry.example.com": {"username": "u", "password": "pw", "auth": "dTpwdw=="}}});
        assert_eq!(made, expected);
        assert_eq!(config("", &[]), (Value::Null, 0));
    }

    #[test]
    fn the_variable_wins_for_a_registry_however_it_is_spelled() {
        for spelled in ["https://Registry.Example.com/v2/", "registry.example.com", "registry.example.com/"] {
            let text = json!({"auths": {spelled: {"auth": "mine"}, "other": {"auth": "x"}}}).to_string();
            let (made, warnings) =
                config(&text, &[("registry", "registry.example.com", "u"), ("registry", "third", "u")]);
            let keys: Vec<_> = made["auths"].as_object().unwrap().keys().map(String::as_str).collect();
            let mut expected = vec![spelled, "other", "third"];
            expected.sort_unstable();
            assert_eq!((keys, warnings), (expected, 0));
            assert_eq!(made["auths"][spelled], json!({"auth": "mine"}));
        }
    }

    #[test]
    fn registries_are_equal_by_host_and_path() {
        for (a, b) in [
            ("https://index.docker.io/v1/", "docker.io"),
            ("HOST:5000/a/b:tag", "host:5000/a/b"),
            ("http://h:5000/x", "h:5000"),
        ] {
            assert_eq!(normalised(a), normalised(b));
        }
        assert_ne!(normalised("h/a"), normalised("h/b"));
        assert_ne!(normalised("h:5000"), normalised("h"));
    }

    #[test]
    fn a_variable_that_cannot_be_used_is_a_warning_and_the_rest_still_is() {
        for text in [
            "not json",
            "[]",
            r#"{"auths": []}"#,
            "{}",
            r#"{"credsStore": "desktop"}"#,
            r#"{"credHelpers": {"a": "b"}, "auths": {}}"#,
        ] {
            let (made, warnings) = config(text, &[("registry", "r", "u")]);
            assert_eq!((made["auths"].as_object().unwrap().len(), warnings), (1, 1), "{text}");
        }
    }
}
