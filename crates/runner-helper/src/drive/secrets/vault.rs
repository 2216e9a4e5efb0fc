//! HashiCorp Vault: a login with what the job brings, then one field of one secret.

use reqwest::{Method, RequestBuilder, StatusCode, Url};
use runner_core::secret::Secret;
use runner_core::variables::Variables;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::SecretError;

/// The provider `vault`, as the payload has it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Vault {
    server: Server,
    engine: Engine,
    path: String,
    field: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Server {
    url: String,
    #[serde(default)]
    namespace: Option<String>,
    auth: Auth,
}

#[derive(Debug, Clone, Deserialize)]
struct Auth {
    /// Where the method is mounted, below `auth/`.
    path: String,
    /// What is sent to log in, a token among it.
    #[serde(default)]
    data: Map<String, Value>,
    /// The whole path of the login, where it is not `auth/<path>/login`.
    #[serde(skip)]
    login: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Engine {
    /// `kv-v2`, `kv-v1` or `generic`.
    name: String,
    /// Where it is mounted.
    path: String,
}

/// The provider `gitlab_secrets_manager`.
#[derive(Debug, Deserialize)]
pub(crate) struct Manager {
    server: ManagerServer,
    engine: Engine,
    path: String,
    field: String,
}

#[derive(Debug, Deserialize)]
struct ManagerServer {
    url: String,
    inline_auth: InlineAuth,
}

#[derive(Debug, Deserialize)]
struct InlineAuth {
    #[serde(default)]
    path: String,
    #[serde(default)]
    auth_mount: String,
    jwt: String,
    role: String,
}

impl From<Manager> for Vault {
    fn from(manager: Manager) -> Self {
        let InlineAuth { path, auth_mount, jwt, role } = manager.server.inline_auth;
        let data = Map::from_iter([("jwt".to_owned(), json!(jwt)), ("role".to_owned(), json!(role))]);
        let auth = Auth { path: auth_mount, data, login: Some(path).filter(|path| !path.is_empty()) };
        let server = Server { url: manager.server.url, namespace: None, auth };
        Self { server, engine: manager.engine, path: manager.path, field: manager.field }
    }
}

impl Vault {
    /// With the job's variables put into all its texts.
    pub(super) fn expanded(mut self, variables: &Variables) -> Self {
        let expand = |text: &mut String| *text = variables.expand(text);
        for text in [&mut self.server.url, &mut self.server.auth.path, &mut self.engine.name, &mut self.engine.path] {
            expand(text);
        }
        self.server.namespace.iter_mut().chain([&mut self.path, &mut self.field]).for_each(expand);
        for value in self.server.auth.data.values_mut() {
            if let Value::String(text) = value {
                *text = variables.expand(text);
            }
        }
        self
    }

    /// The field's value; `key` is the job's name for it.
    pub(super) async fn fetch(&self, client: &reqwest::Client, key: &str) -> Result<String, SecretError> {
        let data = match self.engine.name.as_str() {
            "kv-v2" => format!("{}/data/{}", trimmed(&self.engine.path), trimmed(&self.path)),
            "kv-v1" | "generic" => format!("{}/{}", trimmed(&self.engine.path), trimmed(&self.path)),
            other => return Err(SecretError::Configuration(format!("{key}: unknown engine {other:?}"))),
        };
        let token = self.log_in(client, key).await?;
        let request = self.request(client, Method::GET, &data, key)?.header("X-Vault-Token", token.expose());
        let answer = match send(request, "reading the secret", key).await? {
            (StatusCode::NOT_FOUND, _) => return Err(SecretError::NotFound(key.to_owned())),
            (status, answer) => accepted(status, answer, "reading the secret", key)?,
        };
        let fields = if self.engine.name == "kv-v2" { &answer["data"]["data"] } else { &answer["data"] };
        match &fields[&self.field] {
            Value::Null => Err(SecretError::NotFound(key.to_owned())),
            Value::String(text) => Ok(text.clone()),
            value => Ok(value.to_string()),
        }
    }

    async fn log_in(&self, client: &reqwest::Client, key: &str) -> Result<Secret, SecretError> {
        let auth = &self.server.auth;
        let path = auth.login.clone().unwrap_or_else(|| format!("auth/{}/login", trimmed(&auth.path)));
        let request = self.request(client, Method::POST, &path, key)?.json(&auth.data);
        let (status, answer) = send(request, "logging in", key).await?;
        let answer = accepted(status, answer, "logging in", key)?;
        let token = answer["auth"]["client_token"].as_str();
        token.map(Secret::new).ok_or_else(|| SecretError::System(format!("{key}: logging in: the answer has no token")))
    }

    fn request(
        &self,
        client: &reqwest::Client,
        method: Method,
        path: &str,
        key: &str,
    ) -> Result<RequestBuilder, SecretError> {
        let server = &self.server;
        let bad = |err: &dyn std::fmt::Display| SecretError::Configuration(format!("{key}: {}: {err}", server.url));
        let mut url = Url::parse(&server.url).map_err(|err| bad(&err))?;
        let mut segments = url.path_segments_mut().map_err(|()| bad(&"no address of a server"))?;
        segments.pop_if_empty().push("v1").extend(trimmed(path).split('/'));
        drop(segments);
        let request = client.request(method, url);
        Ok(match server.namespace.as_deref().filter(|namespace| !namespace.is_empty()) {
            Some(namespace) => request.header("X-Vault-Namespace", namespace),
            None => request,
        })
    }
}

fn trimmed(path: &str) -> &str {
    path.trim_matches('/')
}

async fn send(request: RequestBuilder, doing: &str, key: &str) -> Result<(StatusCode, Value), SecretError> {
    let failed = |err: reqwest::Error| {
        let mut why = err.without_url().to_string();
        why.insert_str(0, &format!("{key}: {doing}: "));
        SecretError::System(why)
    };
    let response = request.send().await.map_err(failed)?;
    let status = response.status();
    // An error of a proxy in between is no JSON; its status says enough.
    let body = response.bytes().await.map_err(failed)?;
    Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
}

/// The answer if the server accepted the request, else an error with the server's own words.
fn accepted(status: StatusCode, answer: Value, doing: &str, key: &str) -> Result<Value, SecretError> {
    if status.is_success() {
        return Ok(answer);
    }
    let words: Vec<&str> = answer["errors"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let words = if words.is_empty() { String::new() } else { format!(": {}", words.join(", ")) };
    let message = format!("{key}: {doing}: status {}{words}", status.as_u16());
    Err(match status.as_u16() {
        400 | 401 | 403 | 404 => SecretError::Configuration(message),
        500.. => SecretError::Unavailable(message),
        _ => SecretError::System(message),
    })
}
