//! Git's settings for one job, written as files: credentials are in no argument and not in the checkout's own `.git/config`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use runner_core::secret::Secret;
use url::Url;

use super::job::Job;

/// Name of the file, in the job's temporary folder, that the checkout's settings include. Scripts can fetch and push with it; it is
/// removed at the end.
pub(crate) const INCLUDED: &str = ".gitlab-runner.ext.conf";

/// The user name that goes with a job token.
pub(crate) const USER: &str = "gitlab-ci-token";

/// Lines of a Git settings file.
#[derive(Debug, Default)]
pub(crate) struct GitConfig(String);

impl GitConfig {
    /// Adds one setting; `section` as `http` or with a subsection.
    pub(crate) fn set(&mut self, section: &str, subsection: Option<&str>, key: &str, value: &str) {
        let quote = |text: &str| text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        let _ = match subsection {
            Some(name) => write!(self.0, "[{section} \"{}\"]", name.replace('\\', r"\\").replace('"', "\\\"")),
            None => write!(self.0, "[{section}]"),
        }; // a String takes everything
        let _ = writeln!(self.0, "\n\t{key} = \"{}\"", quote(value));
    }

    /// The file's text.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

/// Where the sources are, without and with credentials.
#[derive(Debug)]
pub(crate) struct Remote {
    /// For `origin`: no credentials in it.
    pub(crate) url: String,
    /// Scheme, host and port, for settings per host; `None` for a path.
    pub(crate) host: Option<String>,
    /// The same for everything that has credentials, SSH too.
    pub(crate) root: Option<String>,
    /// `url.<with>.insteadOf <without>`.
    rules: Vec<(Secret, String)>,
}

impl Remote {
    /// Derives addresses and rules of `job`. Source: GitLab Runner's rules for `clone_url`, job token and submodules over HTTPS.
    pub(crate) fn new(job: &Job) -> Self {
        let given = job.payload.git_info.repo_url.expose();
        let clone_url = job.config.clone_url.as_deref().filter(|url| !url.is_empty());
        let full = match clone_url.and_then(|url| Url::parse(url).ok()) {
            Some(base) => with_project(base, &job.variables.value("CI_PROJECT_PATH"), &job.payload.token),
            None => Url::parse(given).ok(),
        };
        let Some(full) = full else { return Self::plain(given) };
        let url = without_credentials(&full);
        let host = matches!(full.scheme(), "http" | "https").then(|| root(&full));
        let has_credentials = matches!(full.scheme(), "http" | "https" | "ssh") && full.host_str().is_some();
        let mut remote =
            Self { url: url.to_string(), host, root: has_credentials.then(|| root(&full)), rules: Vec::new() };
        let tokens = !job.flags.is_on("FF_GIT_URLS_WITHOUT_TOKENS");
        if tokens && full != url {
            remote.rule(full.as_str(), url.as_str());
        }
        let base = Url::parse(clone_url.unwrap_or(&job.line.runner.url)).ok();
        if let Some(base) = base.filter(|base| matches!(base.scheme(), "http" | "https")) {
            let plain = without_credentials(&base);
            let with = if tokens { with_token(&base, &job.payload.token) } else { plain.clone() };
            if tokens {
                remote.rule(with.as_str(), plain.as_str());
            }
            if job.bool("GIT_SUBMODULE_FORCE_HTTPS") {
                remote.force_https(job, with.as_str());
            }
        }
        if let (true, Ok(given)) = (tokens, Url::parse(given))
            && matches!(given.scheme(), "http" | "https")
            && given.password().is_some()
        {
            let mut with = given.clone();
            with.set_path("");
            remote.rule(with.as_str(), &root(&given));
        }
        remote
    }

    /// Something that is no address: Git will say so.
    fn plain(url: &str) -> Self {
        Self { url: url.to_owned(), host: None, root: None, rules: Vec::new() }
    }

    fn rule(&mut self, with: &str, without: &str) {
        let (with, without) = (with.trim_end_matches('/'), without.trim_end_matches('/'));
        self.rule_as_is(with, without);
    }

    fn rule_as_is(&mut self, with: &str, without: &str) {
        if !self.rules.iter().any(|(known, from)| known.expose() == with && from == without) {
            self.rules.push((Secret::new(with), without.to_owned()));
        }
    }

    fn force_https(&mut self, job: &Job, with: &str) {
        let value = |key| Some(job.variables.value(key)).filter(|value| !value.is_empty());
        let Some(host) = value("CI_SERVER_SHELL_SSH_HOST").or_else(|| value("CI_SERVER_HOST")) else { return };
        let with = with.trim_end_matches('/');
        match value("CI_SERVER_SHELL_SSH_PORT").filter(|port| port != "22") {
            Some(port) => self.rule_as_is(with, &format!("ssh://git@{host}:{port}")),
            None => {
                self.rule_as_is(&format!("{with}/"), &format!("git@{host}:"));
                self.rule_as_is(with, &format!("ssh://git@{host}"));
            }
        }
    }
}

/// What goes into [`INCLUDED`].
pub(crate) fn included(job: &Job, remote: &Remote) -> GitConfig {
    let mut config = GitConfig::default();
    let correlation = &job.line.runner.correlation_id;
    if job.flags.is_on("FF_USE_GITALY_CORRELATION_ID") && !correlation.is_empty() {
        config.set("http", None, "extraHeader", &format!("X-Gitaly-Correlation-ID: {correlation}"));
    }
    if job.flags.is_on("FF_USE_GIT_BUNDLE_URIS") {
        config.set("transfer", None, "bundleURI", "true");
    }
    for (with, without) in &remote.rules {
        config.set("url", Some(with.expose()), "insteadOf", without);
    }
    if let (true, Some(host)) = (job.flags.is_on("FF_GIT_URLS_WITHOUT_TOKENS"), &remote.host) {
        let helper = r#"!f(){ if [ "$1" = "get" ] ; then echo "password=${CI_JOB_TOKEN}" ; fi ; } ; f"#;
        config.set("credential", Some(host), "helper", "");
        config.set("credential", Some(host), "helper", helper);
        config.set("credential", Some(host), "username", USER);
    }
    config
}

/// The settings a new checkout starts with.
pub(crate) fn template(included: &Path) -> GitConfig {
    let mut config = GitConfig::default();
    config.set("init", None, "defaultBranch", "none");
    config.set("fetch", None, "recurseSubmodules", "false");
    config.set("credential", None, "interactive", "never");
    config.set("gc", None, "autoDetach", "false");
    config.set("include", None, "path", &included.display().to_string());
    config
}

/// Whether the large file extension is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LargeFiles {
    /// Git knows `git lfs`.
    Supported,
    /// It does not; pointers stay pointers.
    Unknown,
}

/// The helper's own settings, on top of those of the image's user.
pub(crate) fn global(remote: &Remote, authorities: Option<PathBuf>, large: LargeFiles) -> GitConfig {
    let mut config = GitConfig::default();
    for file in settings_of_user() {
        config.set("include", None, "path", &file.display().to_string());
    }
    config.set("safe", None, "directory", "*");
    if large == LargeFiles::Supported {
        // Without these `git lfs pull` brings nothing. (With them and without the extension a checkout would fail.)
        config.set("filter", Some("lfs"), "clean", "git-lfs clean -- %f");
        config.set("filter", Some("lfs"), "smudge", "git-lfs smudge -- %f");
        config.set("filter", Some("lfs"), "process", "git-lfs filter-process");
        config.set("filter", Some("lfs"), "required", "true");
    }
    if let (Some(host), Some(file)) = (&remote.host, authorities) {
        config.set("http", Some(host), "sslCAInfo", &file.display().to_string());
    }
    config
}

/// Where Git looks for a user's settings, weakest first; a file that is not there does no harm.
fn settings_of_user() -> impl Iterator<Item = PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = folder("HOME");
    let shared = folder("XDG_CONFIG_HOME").or_else(|| home.as_ref().map(|home| home.join(".config")));
    shared.map(|folder| folder.join("git/config")).into_iter().chain(home.map(|home| home.join(".gitconfig")))
}

fn with_project(mut base: Url, project: &str, token: &Secret) -> Option<Url> {
    base.set_path(&format!("{}/{project}.git", base.path().trim_end_matches('/')));
    if base.scheme() == "ssh" {
        base.set_username("git").ok()?;
        return Some(base);
    }
    Some(with_token(&base, token))
}

fn with_token(url: &Url, token: &Secret) -> Url {
    let mut with = url.clone();
    // Refused only for addresses without a host, and those have no use for credentials.
    let _ = with.set_username(USER).and_then(|()| with.set_password(Some(token.expose())));
    with
}

fn without_credentials(url: &Url) -> Url {
    let mut plain = url.clone();
    let _ = plain.set_password(None).and_then(|()| plain.set_username("")); // as above
    plain
}

/// `scheme://host[:port]`.
fn root(url: &Url) -> String {
    let mut root = without_credentials(url);
    root.set_path("");
    root.set_query(None);
    root.as_str().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The settings that Git itself reads in `config`.
    fn read(config: &GitConfig) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        std::fs::write(&file, config.text()).unwrap();
        let mut git = std::process::Command::new("git");
        let output = git.args(["config", "--list", "--file"]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", config.text());
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// A job of `http://gitlab.example.com` whose token is `tok`.
    fn job(repo_url: &str, variables: &[(&str, &str)], config: Value) -> Job {
        let variables: Vec<Value> = variables.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
        let payload = json!({"id": 1, "token": "tok", "git_info": {"repo_url": repo_url}, "variables": variables});
        let line = json!({"v": 1, "type": "job", "id": 1, "payload": payload, "runner": {
            "url": "http://gitlab.example.com/", "config": config, "correlation_id": "01J"}});
        let line: runner_core::job::JobLine = serde_json::from_value(line).unwrap();
        let payload = runner_core::job::Payload::parse(&line.payload).unwrap();
        let args = crate::cli::DriveArgs {
            job: "job".into(),
            annotations: "annotations".into(),
            share: "share".into(),
            spool: "spool".into(),
            builds_dir: "/builds".into(),
            cache_dir: "/cache".into(),
            termination_log: "termination".into(),
            via: String::new(),
        };
        Job::new(line, payload, String::new(), &args).unwrap()
    }

    const URL: &str = "http://gitlab-ci-token:tok@gitlab.example.com/g/p.git";

    #[test]
    fn values_are_quoted_for_git() {
        let mut config = GitConfig::default();
        config.set("url", Some("http://u:p\"w@h"), "insteadOf", "http://h");
        config.set("http", None, "extraHeader", "A: \"b\\c\"");
        assert_eq!(read(&config), ["url.http://u:p\"w@h.insteadof=http://h", "http.extraheader=A: \"b\\c\""]);
    }

    #[test]
    fn j130_the_remote_is_the_payloads_or_the_runners_clone_url_and_never_has_the_token() {
        let path = ("CI_PROJECT_PATH", "g/p");
        let tokenless = ("FF_GIT_URLS_WITHOUT_TOKENS", "true");
        for (clone_url, variables, url, host) in [
            ("", &[path][..], "http://gitlab.example.com/g/p.git", Some("http://gitlab.example.com")),
            ("", &[path, tokenless], "http://gitlab.example.com/g/p.git", Some("http://gitlab.example.com")),
            ("https://git:8443/sub/", &[path], "https://git:8443/sub/g/p.git", Some("https://git:8443")),
            ("https://git:8443/sub", &[path, tokenless], "https://git:8443/sub/g/p.git", Some("https://git:8443")),
            ("ssh://git.example.com", &[path], "ssh://git@git.example.com/g/p.git", None),
        ] {
            let job = job(URL, variables, json!({"clone_url": clone_url}));
            let remote = Remote::new(&job);
            // An SSH user is no secret, and no address without it.
            let shown =
                if remote.url.starts_with("ssh:") { remote.url.replace("ssh://", "ssh://git@") } else { remote.url };
            assert_eq!((shown.as_str(), remote.host.as_deref()), (url, host));
            let has_token = remote.rules.iter().any(|(with, _)| with.expose().contains("tok@"));
            assert_eq!(has_token, !variables.contains(&tokenless), "{clone_url}");
        }
    }

    #[test]
    fn j131_j428_addresses_are_replaced_by_those_with_credentials_each_once() {
        let force = ("GIT_SUBMODULE_FORCE_HTTPS", "true");
        let tokenless = ("FF_GIT_URLS_WITHOUT_TOKENS", "true");
        let ssh = ("CI_SERVER_SHELL_SSH_HOST", "git.example.com");
        let host = ("CI_SERVER_HOST", "gitlab.example.com");
        let with = "http://gitlab-ci-token:tok@gitlab.example.com";
        let own = [
            format!("{with}/g/p.git <- http://gitlab.example.com/g/p.git"),
            format!("{with} <- http://gitlab.example.com"),
        ];
        for (variables, more) in [
            (&[][..], vec![]),
            (
                &[force, ssh],
                vec![format!("{with}/ <- git@git.example.com:"), format!("{with} <- ssh://git@git.example.com")],
            ),
            (
                &[force, host],
                vec![format!("{with}/ <- git@gitlab.example.com:"), format!("{with} <- ssh://git@gitlab.example.com")],
            ),
            (
                &[force, ssh, ("CI_SERVER_SHELL_SSH_PORT", "22")],
                vec![format!("{with}/ <- git@git.example.com:"), format!("{with} <- ssh://git@git.example.com")],
            ),
            (
                &[force, ssh, ("CI_SERVER_SHELL_SSH_PORT", "2222")],
                vec![format!("{with} <- ssh://git@git.example.com:2222")],
            ),
        ] {
            let remote = Remote::new(&job(URL, variables, json!({})));
            let rules: Vec<_> =
                remote.rules.iter().map(|(with, from)| format!("{} <- {from}", with.expose())).collect();
            let expected: Vec<_> = own.iter().cloned().chain(more).collect();
            assert_eq!(rules, expected, "{variables:?}");
        }
        let remote = Remote::new(&job(URL, &[force, ssh, tokenless], json!({})));
        let rules: Vec<_> = remote.rules.iter().map(|(with, from)| format!("{} <- {from}", with.expose())).collect();
        let plain = "http://gitlab.example.com";
        assert_eq!(
            rules,
            [format!("{plain}/ <- git@git.example.com:"), format!("{plain} <- ssh://git@git.example.com")]
        );
        // Submodules beside the project, where Git is reached by another address than GitLab.
        let elsewhere = Remote::new(&job(URL, &[("CI_PROJECT_PATH", "g/p")], json!({"clone_url": "http://mirror"})));
        let from: Vec<_> = elsewhere.rules.iter().map(|(_, from)| from.as_str()).collect();
        assert_eq!(from, ["http://mirror/g/p.git", "http://mirror", "http://gitlab.example.com"]);
    }

    #[test]
    fn j428_the_included_settings_hold_header_bundles_and_helper() {
        let settings = |variables: &[(&str, &str)]| {
            let job = job(URL, variables, json!({}));
            read(&included(&job, &Remote::new(&job)))
        };
        let default = settings(&[]);
        assert_eq!(default[..2], ["http.extraheader=X-Gitaly-Correlation-ID: 01J", "transfer.bundleuri=true"]);
        assert!(default[2..].iter().all(|line| line.starts_with("url.")), "{default:?}");
        let off = settings(&[("FF_USE_GITALY_CORRELATION_ID", "0"), ("FF_USE_GIT_BUNDLE_URIS", "0")]);
        assert_eq!(off, default[2..]);
        let helper = settings(&[("FF_GIT_URLS_WITHOUT_TOKENS", "true")]);
        assert!(!helper.iter().any(|line| line.contains("tok@")), "{helper:?}");
        let of_host = "credential.http://gitlab.example.com";
        assert_eq!(helper[2], format!("{of_host}.helper="), "other helpers are dropped first");
        assert!(helper[3].starts_with(&format!("{of_host}.helper=!f(){{ if ")), "{helper:?}");
        assert_eq!(helper[4], format!("{of_host}.username=gitlab-ci-token"));
    }

    #[test]
    fn j430_the_credential_helper_answers_only_who_asks_for_the_password() {
        let job = job(URL, &[("FF_GIT_URLS_WITHOUT_TOKENS", "true")], json!({}));
        let settings = read(&included(&job, &Remote::new(&job)));
        let helper = settings[3].split_once("=!").unwrap().1;
        for (operation, answer) in [("get", "password=tok\n"), ("store", ""), ("erase", "")] {
            let mut shell = std::process::Command::new("sh");
            let shell = shell.args(["-c", &format!("{helper} {operation}")]).env("CI_JOB_TOKEN", "tok");
            assert_eq!(String::from_utf8(shell.output().unwrap().stdout).unwrap(), answer, "{operation}");
        }
    }

    #[test]
    fn j416_j523_own_authorities_are_for_the_jobs_server() {
        let job = job(URL, &[], json!({}));
        let remote = Remote::new(&job);
        let name = |authorities: Option<PathBuf>| -> Vec<String> {
            let settings = read(&global(&remote, authorities, LargeFiles::Unknown));
            settings.into_iter().filter(|line| line.starts_with("http.")).collect()
        };
        assert_eq!(name(None), [""; 0]);
        assert_eq!(name(Some("/x/ca.crt".into())), ["http.http://gitlab.example.com.sslcainfo=/x/ca.crt"]);
    }
}
