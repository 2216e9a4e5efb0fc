use super::runner::Table;
use super::*;

fn parse(text: &str) -> (Config, Vec<UnusedKey>) {
    Config::parse(text, |_| None).unwrap_or_else(|err| panic!("{err}\n{text}"))
}

fn error(text: &str) -> String {
    match Config::parse(text, |_| None).and_then(|(config, _)| config.runnable().map(|_| ())) {
        Ok(()) => panic!("no error in:\n{text}"),
        Err(err) => err.to_string(),
    }
}

const REAL: &str = r#"
concurrent = 4
check_interval = 0
connection_max_age = "15m0s"
shutdown_timeout = 0

[session_server]
  session_timeout = 1800

[[runners]]
  name = "k8s"
  url = "https://gitlab.example.com/"
  id = 17
  token = "glrt-t1_abcdefghijkl"
  token_obtained_at = 2026-01-02T03:04:05Z
  token_expires_at = 0001-01-01T00:00:00Z
  tls-ca-file = "/etc/ssl/ca.pem"
  executor = "kubernetes"
  limit = 2
  environment = ["A=1"]
  prepare_timeout = "1h30m"
  mystery = { a = 1 }
  [runners.feature_flags]
    FF_TIMESTAMPS = false
  [runners.cache]
    Type = "s3"
    MaxUploadedArchiveSize = 0
    [runners.cache.s3]
      ServerAddress = "minio:9000"
      SecretKey = "s3-secret"
  [runners.kubernetes]
    image = "alpine"
    pull_policy = ["always", "if-not-present"]
    poll_interval = 5
    privileged = true
    new_key = 1
    cpu_limit = "2"
    [runners.kubernetes.node_selector]
      disk = "ssd"
    [runners.kubernetes.node_tolerations]
      "node-role=ci" = "NoSchedule"
    [[runners.kubernetes.volumes.nfs]]
      name = "share"
      mount_path = "/share"
      server = "nfs"
      path = "/export"
    [[runners.kubernetes.services]]
      name = "postgres:16"
      alias = "db"
    [runners.kubernetes.build_container_security_context]
      run_as_user = 1000
      [runners.kubernetes.build_container_security_context.capabilities]
        drop = ["ALL"]
    [[runners.kubernetes.pod_spec]]
      name = "hosts"
      patch = "hostNetwork: true"
      patch_type = "merge"
    [runners.kubernetes.affinity.node_affinity.required_during_scheduling_ignored_during_execution]
      [[runners.kubernetes.affinity.node_affinity.required_during_scheduling_ignored_during_execution.node_selector_terms]]
        [[runners.kubernetes.affinity.node_affinity.required_during_scheduling_ignored_during_execution.node_selector_terms.match_expressions]]
          key = "arch"
          operator = "In"
          values = ["amd64"]
    [runners.kubernetes.dns_config]
      nameservers = ["1.1.1.1"]
      [[runners.kubernetes.dns_config.options]]
        name = "ndots"
        value = "2"
    [runners.kubernetes.container_lifecycle.pre_stop.exec]
      command = ["sleep", "1"]

[[runners]]
  name = "old"
  url = "https://gitlab.example.com/"
  token = "t"
  executor = "docker"
  [runners.docker]
    image = "ruby"
"#;

#[test]
fn a_usual_file_is_read_with_all_its_tables() {
    let (config, _) = parse(REAL);
    assert_eq!((config.concurrent, config.check_interval()), (4, Duration::from_secs(3)));
    let runner = &config.runners[0];
    assert_eq!(runner.token_obtained_at.as_ref().unwrap().text(), Some("2026-01-02T03:04:05Z"));
    assert_eq!(runner.token_expires_at.as_ref().unwrap().text(), None);
    assert_eq!(runner.tls().ca_file.as_deref(), Some("/etc/ssl/ca.pem"));
    assert_eq!(runner.prepare_timeout.unwrap().to_string(), "1h30m0s");
    assert_eq!(runner.short_token(), "abcdefghi");
    assert_eq!(runner.output_limit(), 4 * 1024 * 1024);
    assert_eq!(runner.cache.as_ref().unwrap().s3.as_ref().unwrap().secret_key.expose(), "s3-secret");
    let kubernetes = runner.kubernetes.as_ref().unwrap();
    assert_eq!(kubernetes.namespace(), "default");
    assert_eq!(kubernetes.pull_policy, [kubernetes::PullPolicy::Always, kubernetes::PullPolicy::IfNotPresent]);
    assert_eq!(kubernetes.volumes.nfs[0].server, "nfs");
    assert_eq!(kubernetes.pod_spec[0].patch_type, kubernetes::PatchType::Merge);
    assert_eq!(
        kubernetes
            .container_lifecycle
            .as_ref()
            .unwrap()
            .pre_stop
            .as_ref()
            .unwrap()
            .exec
            .as_ref()
            .unwrap()
            .command
            .len(),
        2
    );
}

#[test]
fn the_job_line_carries_the_same_table_without_the_token() {
    let (config, _) = parse(REAL);
    let line = config.runners[0].to_line_config();
    assert!(!line.to_string().contains("glrt-"));
    assert_eq!(line["mystery"]["a"], 1);
    assert_eq!(line["token_obtained_at"], "2026-01-02T03:04:05Z");
    let read = Runner::from_line_config(&line).unwrap();
    let original = &config.runners[0];
    assert_eq!(read, Runner { token: Secret::default(), table: Table(line), ..original.clone() });
    assert_eq!(Runner::from_line_config(&serde_json::Value::Null).unwrap().to_line_config(), serde_json::json!({}));
}

#[test]
fn keys_without_effect_are_named_and_those_of_other_executors_are_not() {
    let (_, unused) = parse(REAL);
    let unused: Vec<_> = unused.iter().map(|key| (&*key.path, key.reason.is_some())).collect();
    assert_eq!(
        unused,
        [
            ("runners[0].cache", true),
            ("runners[0].kubernetes.new_key", false),
            ("runners[0].kubernetes.poll_interval", true),
            ("runners[0].mystery", false),
            ("session_server", false),
        ]
    );
}

#[test]
fn only_kubernetes_runners_with_a_token_are_run() {
    let (config, _) = parse(&format!("{REAL}\n[[runners]]\nexecutor = \"kubernetes\"\n"));
    let runnable = config.runnable().unwrap();
    assert_eq!(runnable.runners.len(), 1);
    assert_eq!(
        runnable.skipped,
        [
            "runner `old`: executor `docker` is not supported, only `kubernetes` can be run",
            "runner `runners[2]`: `token` is empty"
        ]
    );
}

#[test]
fn each_mistake_is_one_clear_line() {
    let runner = |lines: &str| {
        format!("[[runners]]\nexecutor = \"kubernetes\"\ntoken = \"glrt-SECRET\"\nurl = \"http://g\"\n{lines}")
    };
    for (text, expected) in [
        ("concurrent = \n".to_owned(), "line 1, column 14: string values must be quoted, expected literal string"),
        (
            "\n[[runners]]\n  token = glrt-SECRET\n".to_owned(),
            "line 3, column 11: string values must be quoted, expected literal string",
        ),
        ("[[runners\n".to_owned(), "line 1, column 10: unclosed array table, expected `]]`"),
        ("a = 1\na = 2\n".to_owned(), "line 2, column 1: duplicate key"),
        (
            "concurrent = \"four\"\n".to_owned(),
            "line 1: `concurrent`: invalid type: a string, expected a whole number, 0 or more",
        ),
        (
            "concurrent = -1\n".to_owned(),
            "line 1: `concurrent`: invalid value: integer `-1`, expected a whole number, 0 or more",
        ),
        ("concurrent = 0\n".to_owned(), "`concurrent` is 0, so no job could ever run; set it to 1 or more"),
        ("concurrent = 1\n".to_owned(), "there are no [[runners]]; add one with runner-register"),
        (
            runner("limit = -2\n"),
            "line 5: `runners[0].limit`: invalid value: integer `-2`, expected a whole number, 0 or more",
        ),
        (runner("name = 5\n"), "line 5: `runners[0].name`: invalid type: integer `5`, expected a string"),
        (
            runner("prepare_timeout = \"3 days\"\n"),
            "line 5: `runners[0].prepare_timeout`: unknown unit, expected one of ns, us, ms, s, m, h",
        ),
        (
            runner("[runners.kubernetes]\ncpu_limit = 2\n"),
            "line 6: `runners[0].kubernetes.cpu_limit`: invalid type: integer `2`, expected a string",
        ),
        (
            runner("[runners.kubernetes]\npull_policy = \"sometimes\"\n"),
            "line 6: `runners[0].kubernetes.pull_policy`: unknown value, expected one of ``, `always`, `if-not-present`, `never`",
        ),
        (
            runner("[[runners.kubernetes.volumes.nfs]]\nname = \"x\"\n"),
            "line 5: `runners[0].kubernetes.volumes.nfs[0]`: missing field `mount_path`",
        ),
        (runner("").replace("http://g", "gitlab"), "runner `runners[0]`: `url`: `gitlab`: relative URL without a base"),
        (
            runner("").replace("http://g", "ftp://g"),
            "runner `runners[0]`: `url`: `ftp://g`: scheme `ftp` is not supported, only http and https are",
        ),
        (runner("").replace("http://g", ""), "runner `runners[0]`: `url`: is missing"),
        (
            runner("").replace("kubernetes", "shell"),
            "none of the [[runners]] can be run: runner `runners[0]`: executor `shell` is not supported, only `kubernetes` can be run",
        ),
    ] {
        let error = error(&text);
        assert_eq!(error, expected, "in:\n{text}");
        assert!(!error.contains("SECRET") && !error.contains('\n'));
    }
}

#[test]
fn variables_are_expanded_in_url_and_token_only() {
    let text =
        "[[runners]]\nname = \"$HOST\"\nurl = \"https://${HOST}/\"\ntoken = \"$TOKEN\"\nexecutor = \"kubernetes\"\n";
    let lookup = |name: &str| match name {
        "HOST" => Some("gitlab.example.com".to_owned()),
        "TOKEN" => Some("glrt-x".to_owned()),
        _ => None,
    };
    let (config, _) = Config::parse(text, lookup).unwrap();
    let runner = &config.runners[0];
    assert_eq!(
        (&*runner.name, &*runner.url, runner.token.expose()),
        ("$HOST", "https://gitlab.example.com/", "glrt-x")
    );
    assert_eq!(runner.to_line_config()["url"], "https://gitlab.example.com/");
}

#[test]
fn an_empty_file_has_the_defaults() {
    for text in ["", "\u{feff}", "# nothing\r\n"] {
        let (config, unused) = parse(text);
        assert_eq!((config, unused), (Config::default(), vec![]), "{text:?}");
    }
}

#[test]
fn debug_of_a_file_shows_no_secret() {
    let (config, _) = parse(REAL);
    let shown = format!("{config:?}");
    assert!(!shown.contains("abcdefghijkl") && !shown.contains("s3-secret"), "{shown}");
}

#[test]
fn a_file_as_gitlab_runner_writes_it_brings_no_warning() {
    let text = r#"
concurrent = 1
check_interval = 0
connection_max_age = "15m0s"
shutdown_timeout = 0
[session_server]
  session_timeout = 1800
[[runners]]
  name = "k8s"
  executor = "kubernetes"
  [runners.cache]
    MaxUploadedArchiveSize = 0
    [runners.cache.s3]
    [runners.cache.gcs]
    [runners.cache.azure]
  [runners.kubernetes]
    host = ""
    poll_interval = 3
    print_pod_warning_events = true
    node_tolerations = {}
"#;
    let (_, unused) = parse(text);
    assert!(unused.iter().all(|key| key.reason.is_none()), "{unused:?}");
}

/// Every key that has a field, with its path as the manual writes it.
fn keys() -> Vec<String> {
    fn add(prefix: &str, value: &serde_json::Value, keys: &mut Vec<String>) {
        for key in value.as_object().unwrap().keys() {
            keys.push(format!("{prefix}{key}"));
        }
    }
    let mut keys = Vec::new();
    add("", &serde_json::to_value(Config::default()).unwrap(), &mut keys);
    add("runners.", &serde_json::to_value(Runner::default()).unwrap(), &mut keys);
    add("runners.kubernetes.", &serde_json::to_value(Kubernetes::default()).unwrap(), &mut keys);
    add("runners.cache.", &serde_json::to_value(Cache::default()).unwrap(), &mut keys);
    add("runners.artifact.", &serde_json::to_value(ArtifactLimits::default()).unwrap(), &mut keys);
    keys
}

#[test]
fn the_manual_names_every_key_and_says_which_have_no_effect() {
    let manual = include_str!("../../../../docs/config.md");
    let row = |path: &str| {
        let last = path.rsplit('.').next().unwrap();
        let section = match path.strip_suffix(last).unwrap().trim_end_matches('.') {
            "" => "## The file",
            "runners" => "## `[[runners]]`",
            "runners.kubernetes" => "## `[runners.kubernetes]`",
            "runners.cache" => "## `[runners.cache]`",
            _ => "## `[[runners]]`",
        };
        let text = manual.split(section).nth(1).unwrap_or_else(|| panic!("no section {section}"));
        let text = text.split("\n## ").next().unwrap();
        let row = text.lines().find(|line| line.starts_with('|') && line.contains(&format!("`{last}`")));
        row.unwrap_or_else(|| panic!("`{path}` is not in {section} of docs/config.md")).to_owned()
    };
    for key in keys() {
        row(&key);
    }
    for (path, _) in unused::NO_EFFECT {
        if !path.starts_with("session_server") {
            assert!(row(path).contains("no effect"), "{path}: {}", row(path));
        }
    }
    for (path, _) in kubernetes::NO_EFFECT {
        let path = format!("runners.kubernetes.{path}");
        assert!(row(&path).contains("no effect"), "{path}");
    }
}
