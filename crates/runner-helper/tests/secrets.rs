//! Secrets of a server that keeps to Vault's rules.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod pod;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use pod::{Ended, Job};
use runner_core::failure::FailureReason;
use serde_json::{Value, json};

/// A Vault with the method `jwt`, a kv-v2 engine at `kv`, a kv-v1 engine at `old`, and GitLab's manager at another login.
struct Vault {
    url: String,
    /// Statuses to answer with before anything else.
    faults: Arc<Mutex<Vec<u16>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Vault {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let faults = Arc::new(Mutex::new(Vec::new()));
        let app = Router::new().fallback(answer).with_state(Arc::clone(&faults));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { url, faults, _runtime: runtime }
    }

    /// The provider object of a secret in `engine`, with these changes.
    fn secret(&self, engine: Value, changes: Value) -> Value {
        let mut vault = json!({
            "server": {"url": self.url, "namespace": "team", "auth": {
                "name": "jwt", "path": "jwt", "data": {"jwt": "$VAULT_ID_TOKEN", "role": "job"}}},
            "engine": engine, "path": "prod/$PLACE", "field": "password",
        });
        vault.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        json!({"vault": vault})
    }
}

async fn answer(
    State(faults): State<Arc<Mutex<Vec<u16>>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    request: Request,
) -> (StatusCode, String) {
    let fault = { faults.lock().unwrap().pop() };
    if let Some(status) = fault {
        return (StatusCode::from_u16(status).unwrap(), "<html>".to_owned());
    }
    let body: Bytes = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let errors = |status: StatusCode, text: &str| {
        let list = if text.is_empty() { json!([]) } else { json!([text]) };
        (status, json!({"errors": list}).to_string())
    };
    let path = uri.path();
    let is_managers = path == "/v1/manager/auth/login" || header("X-Vault-Token") == "of-manager";
    if !is_managers && header("X-Vault-Namespace") != "team" {
        return errors(StatusCode::NOT_FOUND, "no handler for route");
    }
    if method == Method::POST && (path == "/v1/auth/jwt/login" || is_managers) {
        let login: Value = serde_json::from_slice(&body).unwrap_or_default();
        if login != json!({"jwt": "the-jwt", "role": "job"}) {
            return errors(StatusCode::BAD_REQUEST, "error validating token");
        }
        let token = if is_managers { "of-manager" } else { "of-job" };
        return (StatusCode::OK, json!({"auth": {"client_token": token}}).to_string());
    }
    if !matches!(header("X-Vault-Token").as_str(), "of-job" | "of-manager") {
        return errors(StatusCode::FORBIDDEN, "permission denied");
    }
    let fields = json!({"password": "s3cr3t $HOME \"q\"", "port": 5432});
    match path {
        "/v1/kv/data/prod/db" => (StatusCode::OK, json!({"data": {"data": fields, "metadata": {}}}).to_string()),
        "/v1/old/prod/db" => (StatusCode::OK, json!({"data": fields}).to_string()),
        _ => errors(StatusCode::NOT_FOUND, ""),
    }
}

fn v2() -> Value {
    json!({"name": "kv-v2", "path": "kv"})
}

/// A job with these secrets.
fn job(script: &[&str], secrets: Value) -> Job {
    let job = Job::new(script).masked("VAULT_ID_TOKEN", "the-jwt").variable("PLACE", "db").set("secrets", secrets);
    job.variable("FF_USE_EXPONENTIAL_BACKOFF_STAGE_RETRY", "false")
}

fn refused(job: Job) -> (String, FailureReason) {
    let outcome = job.start().result();
    (outcome.message, outcome.failure_reason.unwrap())
}

#[test]
fn j146_secrets_become_masked_variables_and_files() {
    let vault = Vault::start();
    let mut plain = vault.secret(v2(), json!({}));
    plain["file"] = json!(false);
    let secrets = json!({
        "FILE": vault.secret(json!({"name": "kv-v1", "path": "/old/"}), json!({})),
        "PORT": vault.secret(json!({"name": "generic", "path": "old"}), json!({"field": "port"})),
        "TEXT": plain,
    });
    let script =
        &["echo \"$TEXT\"", "cat \"$FILE\"; echo; wc -c < \"$FILE\"", "expr $(cat $PORT) + 1", "basename \"$FILE\""];
    let ended: Ended = job(script, secrets).run().succeeded();
    assert_eq!(ended.output(), "[MASKED]\n[MASKED]\n16\n5433\nFILE\n");
    for line in ["Resolving secrets", "Resolving secret \"FILE\"...", "Using \"vault\" secret resolver..."] {
        assert!(ended.log.contains(line), "{line} in {}", ended.log);
    }
    assert!(!ended.log.contains("s3cr3t"), "{}", ended.log);
}

#[test]
fn j146_the_secrets_manager_of_gitlab_is_spoken_to() {
    let vault = Vault::start();
    let auth = json!({"path": "manager/auth/login", "jwt": "the-jwt", "role": "job"});
    let manager =
        json!({"server": {"url": vault.url, "inline_auth": auth}, "engine": v2(), "path": "prod/db", "field": "port"});
    let secrets = json!({"PORT": {"gitlab_secrets_manager": manager, "file": false}});
    assert_eq!(job(&["expr $PORT + 1"], secrets).run().succeeded().output(), "5433\n");
}

#[test]
fn j146_without_secrets_nothing_is_said_and_without_a_resolver_a_warning() {
    let ended = job(&["echo \"[$X]\""], json!({})).run().succeeded();
    assert!(!ended.log.contains("Resolving"), "{}", ended.log);
    let ended = job(&["echo \"[$X]\""], json!({"X": {"other_vault": {}}})).run().succeeded();
    assert!(ended.log.contains("WARNING: Not resolved: no resolver that can handle the secret"), "{}", ended.log);
    assert_eq!(ended.output(), "[]\n");
}

#[test]
fn j147_what_cannot_be_had_fails_the_job_by_its_cause() {
    let vault = Vault::start();
    let (configuration, external) =
        (FailureReason::RunnerConfigurationError, FailureReason::RunnerExternalDependencyFailure);
    let mut wrong = vault.secret(v2(), json!({}));
    wrong["vault"]["server"]["auth"]["data"]["jwt"] = json!("another");
    for (secret, message, reason) in [
        (vault.secret(v2(), json!({"field": "none"})), "secret not found: X", configuration),
        (vault.secret(v2(), json!({"path": "none"})), "secret not found: X", configuration),
        (wrong, "X: logging in: status 400: error validating token", configuration),
        (vault.secret(json!({"name": "ssh", "path": "x"}), json!({})), "X: unknown engine \"ssh\"", configuration),
        (json!({"aws_secrets_manager": {}}), "X: aws_secrets_manager is not supported by this runner", configuration),
    ] {
        let found = refused(job(&["echo never"], json!({"X": secret})));
        assert_eq!(found, (format!("resolving secrets: {message}"), reason));
    }
    vault.faults.lock().unwrap().push(503);
    let found = refused(job(&["echo never"], json!({"X": vault.secret(v2(), json!({}))})));
    assert_eq!(found, ("resolving secrets: X: logging in: status 503".to_owned(), external));
    let mut away = vault.secret(v2(), json!({}));
    away["vault"]["server"]["url"] = json!("http://127.0.0.1:1");
    let (message, reason) = refused(job(&["echo never"], json!({"X": away})));
    assert!(message.starts_with("resolving secrets: X: logging in: "), "{message}");
    assert_eq!(reason, FailureReason::RunnerSystemFailure);
}

#[test]
fn j147_a_server_in_trouble_is_asked_as_often_as_set() {
    let vault = Vault::start();
    vault.faults.lock().unwrap().extend([502, 503]);
    let secrets = json!({"X": vault.secret(v2(), json!({"field": "port"}))});
    let ended = job(&["cat $X"], secrets).variable("SECRETS_RETRIEVAL_ATTEMPTS", "3").run().succeeded();
    assert_eq!(ended.log.matches("WARNING: Retrying...").count(), 2, "{}", ended.log);
}

#[test]
fn a_missing_secret_is_empty_where_the_flag_is_off() {
    let vault = Vault::start();
    let secrets = json!({"X": vault.secret(v2(), json!({"field": "none"}))});
    let ended = job(&["wc -c < $X"], secrets).variable("FF_SECRET_RESOLVING_FAILS_IF_MISSING", "false").run();
    assert_eq!(ended.succeeded().output(), "0\n");
}
