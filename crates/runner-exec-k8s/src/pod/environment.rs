//! The environment of service containers: what may stand in the pod, and what must come from a Secret.
//!
//! Anyone who may read pods sees a literal. So only public variables that reveal nothing secret are literals; a masked one, one
//! that is not public, and one whose text refers to such a variable come from the Secret that is made before the pod.

use std::cell::Cell;
use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, SecretKeySelector};
use runner_core::job::Variable;
use runner_core::variables::{Variables, expand};

use super::containers::literal;

/// Name of a Secret and what has to be in it.
#[derive(Debug)]
pub(super) struct EarlySecret {
    pub(super) name: String,
    pub(super) data: BTreeMap<String, ByteString>,
}

/// The environment of service number `index`: the job's public variables, then the service's `own`. Last of a name wins.
pub(super) fn service_environment(
    variables: &Variables,
    own: &[Variable],
    index: usize,
    secret: &mut EarlySecret,
) -> Vec<EnvVar> {
    let mut list: Vec<&Variable> = Vec::new();
    for variable in variables.iter().filter(|variable| variable.public).chain(own) {
        if !is_name(&variable.key) {
            continue; // Kubernetes would refuse the whole pod
        }
        match list.iter_mut().find(|known| known.key == variable.key) {
            Some(known) => *known = variable,
            None => list.push(variable),
        }
    }
    let masked = variables.masked_values();
    let env = list.into_iter().map(|variable| {
        let value = text(variables, variable);
        if !is_secret(variables, variable) && !masked.iter().any(|secret| value.contains(secret)) {
            return EnvVar { name: variable.key.clone(), value: Some(literal(&value)), value_from: None };
        }
        let key = format!("svc-{index}.{}", variable.key);
        secret.data.insert(key.clone(), ByteString(value.into_bytes()));
        let reference = SecretKeySelector { name: secret.name.clone(), key, optional: None };
        let value_from = EnvVarSource { secret_key_ref: Some(reference), ..EnvVarSource::default() };
        EnvVar { name: variable.key.clone(), value: None, value_from: Some(value_from) }
    });
    env.collect()
}

/// The value in the container: of a file variable its path.
fn text(variables: &Variables, variable: &Variable) -> String {
    if variable.file { variables.expand(&format!("${{{}}}", variable.key)) } else { variables.expanded_value(variable) }
}

/// Whether the variable is secret itself or refers to one that is.
fn is_secret(variables: &Variables, variable: &Variable) -> bool {
    let hides = |variable: &Variable| !variable.public || variable.masked;
    if hides(variable) || variable.raw {
        return hides(variable);
    }
    let found = Cell::new(false);
    expand(variable.value.expose(), |name| {
        found.set(found.get() || variables.find(name).is_some_and(|named| hides(named) && !named.file));
        String::new()
    });
    found.get()
}

/// Names that both the environment and the keys of a Secret can have.
fn is_name(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use runner_core::secret::Secret;
    use serde_json::json;

    use super::*;

    fn environment(job: Vec<Variable>, own: &[Variable]) -> (serde_json::Value, Vec<(String, String)>) {
        let mut secret = EarlySecret { name: "early".to_owned(), data: BTreeMap::new() };
        let env = service_environment(&Variables::new(job, "/b/p.tmp"), own, 2, &mut secret);
        let data = secret.data.into_iter().map(|(key, value)| (key, String::from_utf8(value.0).unwrap()));
        (json!(env), data.collect())
    }

    fn hidden(key: &str, value: &str) -> Variable {
        Variable { public: false, ..Variable::public(key, value) }
    }

    #[test]
    fn public_variables_are_literals_with_dollars_doubled() {
        let raw = Variable { raw: true, ..Variable::public("RAW", "$A") };
        let file = Variable { file: true, ..Variable::public("FILE", "content") };
        let job =
            vec![Variable::public("A", "1"), Variable::public("B", "$A$$"), raw, file, Variable::public("A", "2")];
        let (env, secret) = environment(job, &[Variable::public("B", "own $A")]);
        let expected = json!([
            {"name": "A", "value": "2"}, {"name": "B", "value": "own 2"},
            {"name": "RAW", "value": "$$A"}, {"name": "FILE", "value": "/b/p.tmp/FILE"},
        ]);
        assert_eq!((env, secret), (expected, vec![]));
    }

    #[test]
    fn j160_what_is_secret_or_refers_to_a_secret_comes_from_the_secret() {
        let masked = Variable { masked: true, ..Variable::public("MASKED", "top-secret") };
        let job = vec![
            hidden("TOKEN", "s3cr3t"),
            masked,
            Variable::public("URL", "https://x:$TOKEN@h"),
            Variable::public("COPY", "it is top-secret"),
            Variable::public("PLAIN", "p$lain"),
        ];
        let own = [hidden("DB", "$TOKEN-$PLAIN"), Variable { raw: true, ..hidden("RAW", "$TOKEN") }];
        let (env, secret) = environment(job, &own);
        let from = |name: &str| json!({"name": name, "valueFrom": {"secretKeyRef": {"name": "early", "key": format!("svc-2.{name}")}}});
        let expected = json!([
            from("MASKED"), from("URL"), from("COPY"), {"name": "PLAIN", "value": "p"}, from("DB"), from("RAW"),
        ]);
        assert_eq!(env, expected);
        let pairs: Vec<_> = secret.iter().map(|(key, value)| (&key[6..], value.as_str())).collect();
        assert_eq!(
            pairs,
            [
                ("COPY", "it is top-secret"),
                ("DB", "s3cr3t-p$lain"),
                ("MASKED", "top-secret"),
                ("RAW", "$TOKEN"),
                ("URL", "https://x:s3cr3t@h"),
            ]
        );
        assert!(secret.iter().all(|(key, _)| key.starts_with("svc-2.")));
    }

    #[test]
    fn j160_j307_the_jobs_hidden_variables_and_impossible_names_stay_out() {
        let job = vec![hidden("TOKEN", "x"), Variable::public("a b", "x"), Variable::public("", "x")];
        assert_eq!(environment(job, &[]), (json!([]), vec![]));
        let nothing = Variable { value: Secret::default(), ..Variable::public("EMPTY", "") };
        assert_eq!(environment(vec![nothing], &[]).0, json!([{"name": "EMPTY", "value": ""}]));
    }
}
