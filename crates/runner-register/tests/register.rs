//! runner-register as a process against a fake GitLab.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;

use fake_gitlab::{FakeGitlab, Fault, RunnerSpec, Tls};
use serde_json::{Value, json};
use support::{Ran, run, run_async};

/// A folder for `config.toml`, and a GitLab.
struct Place {
    dir: tempfile::TempDir,
    gitlab: FakeGitlab,
}

impl Place {
    async fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), gitlab: FakeGitlab::start().await.unwrap() }
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("config.toml")
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.config()).unwrap_or_default()
    }

    fn runners(&self) -> Vec<toml::Value> {
        let table: toml::Table = self.text().parse().unwrap();
        table.get("runners").and_then(toml::Value::as_array).cloned().unwrap_or_default()
    }

    async fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, &[]).await
    }

    async fn run_with(&self, args: &[&str], env: &[(&'static str, &str)]) -> Ran {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let env = env.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        run_async(self.config(), args, env).await
    }

    /// Bodies of the requests to `path` so far.
    fn sent(&self, path: &str) -> Vec<Value> {
        self.gitlab.requests().into_iter().filter(|r| r.path == path).filter_map(|r| r.json).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g11_a_runner_token_is_verified_and_saved() {
    let place = Place::new().await;
    let (url, token) = (place.gitlab.url(), place.gitlab.runner_token());
    let args = ["--non-interactive", "--url", url, "--token", token, "--name", "k8s", "--kubernetes-image", "alpine"];
    let ran = place.run(&args).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.starts_with("registered runner `k8s` (id ") && ran.stdout.lines().count() == 1, "{ran:?}");
    assert!(!ran.stdout.contains(token) && !ran.stderr.contains(token));
    let text = place.text();
    assert!(
        text.starts_with("concurrent = 1\ncheck_interval = 0\n\n[[runners]]\n  name = \"k8s\"\n  url = "),
        "{text}"
    );
    let runner = &place.runners()[0];
    assert_eq!(runner["token"].as_str(), Some(token));
    assert!(runner["id"].as_integer().unwrap() > 0 && runner["token_obtained_at"].is_datetime());
    assert_eq!(runner["token_expires_at"].as_datetime().unwrap().to_string(), "0001-01-01T00:00:00Z");
    assert_eq!(runner["executor"].as_str(), Some("kubernetes"));
    assert_eq!(runner["kubernetes"]["image"].as_str(), Some("alpine"));
    let mode = std::fs::metadata(place.config()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let system_id = std::fs::read_to_string(place.config().with_file_name(".runner_system_id")).unwrap();
    assert_eq!(place.sent("/api/v4/runners/verify")[0]["system_id"], system_id.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn g04_g05_a_first_registration_makes_the_folder_and_says_nothing_but_its_line() {
    let place = Place::new().await;
    let config = place.dir.path().join("new/folder/config.toml");
    let args = ["-u", place.gitlab.url(), "-t", place.gitlab.runner_token()].map(str::to_owned).to_vec();
    let ran = run_async(config.clone(), args, Vec::new()).await;
    assert_eq!((ran.code, &*ran.stderr), (0, ""), "{ran:?}");
    let mut names: Vec<_> = config
        .parent()
        .unwrap()
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, [".runner_system_id", "config.toml", "config.toml.lock"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn g10_g15_a_registration_token_makes_a_runner_with_the_given_settings() {
    let place = Place::new().await;
    let registration = place.gitlab.registration_token();
    let env = [
        ("CI_SERVER_URL", place.gitlab.url()),
        ("REGISTRATION_TOKEN", &registration),
        ("RUNNER_NAME", "legacy"),
        ("RUNNER_TAG_LIST", "a,b"),
        ("REGISTER_LOCKED", "false"),
        ("REGISTER_MAXIMUM_TIMEOUT", "3600"),
        ("REGISTER_NON_INTERACTIVE", "true"),
    ];
    let ran = place.run_with(&["register"], &env).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let sent = &place.sent("/api/v4/runners")[0];
    let expected = json!({"description": "legacy", "tag_list": "a,b", "run_untagged": false, "locked": false,
        "paused": false, "maximum_timeout": 3600});
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(sent[key], *value, "{key}");
    }
    let runner = &place.runners()[0];
    assert_ne!(runner["token"].as_str(), Some(&*registration));
    assert_eq!(place.run(&["verify"]).await.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn g13_g14_g16_the_kind_of_token_decides_what_gitlab_is_told() {
    let place = Place::new().await;
    let (url, registration) = (place.gitlab.url(), place.gitlab.registration_token());
    let ran = place.run(&["-u", url, "-r", place.gitlab.runner_token(), "--tag-list", "a", "--paused"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("--tag-list, --paused ignored: with this token they are set in GitLab"), "{ran:?}");
    assert!(place.sent("/api/v4/runners").is_empty());

    let ran = place.run(&["-u", url, "-r", &registration]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let sent = &place.sent("/api/v4/runners")[0];
    assert_eq!((&sent["locked"], &sent["run_untagged"], &sent["paused"]), (&json!(true), &json!(true), &json!(false)));
    assert_eq!(sent.get("tag_list"), None);

    // What GitLab gave for it is a runner token without the prefix.
    let legacy = place.runners()[1]["token"].as_str().unwrap().to_owned();
    assert!(!legacy.starts_with("glrt-"));
    let ran = place.run(&["-u", url, "-t", &legacy, "--tag-list", "a"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!((place.sent("/api/v4/runners").len(), place.sent("/api/v4/runners/verify").len()), (1, 2));
    assert_eq!(place.runners()[2]["token"].as_str(), Some(&*legacy));
}

#[tokio::test(flavor = "multi_thread")]
async fn g18_tls_files_are_used_and_stored() {
    let gitlab = FakeGitlab::builder().tls(Tls::SelfSigned).start().await.unwrap();
    let place = Place { dir: tempfile::tempdir().unwrap(), gitlab };
    let (url, token) = (place.gitlab.url(), place.gitlab.runner_token());
    let ran = place.run(&["-u", url, "-t", token]).await;
    assert_eq!((ran.code, &*place.text()), (69, ""), "{ran:?}");
    let ca = place.gitlab.certificate().unwrap().to_str().unwrap();
    let ran = place.run_with(&["-u", url, "-t", token], &[("CI_SERVER_TLS_CA_FILE", ca)]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(place.runners()[0]["tls-ca-file"].as_str(), Some(ca));
    assert_eq!(place.run(&["verify"]).await.code, 0);
}

#[test]
fn g01_the_flag_names_the_file_and_else_the_variable() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, format!("[[runners]]\nname = \"{name}\"\n")).unwrap();
        path
    };
    let (variable, flag) = (file("variable"), file("flag"));
    assert!(run(&variable, &["list"], &[]).stdout.starts_with("variable\t"));
    assert!(run(&variable, &["-c", flag.to_str().unwrap(), "list"], &[]).stdout.starts_with("flag\t"));
}

#[tokio::test(flavor = "multi_thread")]
async fn g10_g31_keys_come_from_flags_then_environment_then_template() {
    let place = Place::new().await;
    let template = place.dir.path().join("template.toml");
    let text = "[[runners]]\ntoken = \"never\"\nlimit = 9\n[runners.kubernetes]\nimage = \"template\"\nnamespace = \"ci\"\n[[runners.kubernetes.volumes.empty_dir]]\nname = \"x\"\nmount_path = \"/x\"\n";
    std::fs::write(&template, text).unwrap();
    let (url, token) = (place.gitlab.url().to_owned(), place.gitlab.runner_token().to_owned());
    let args = [
        "--kubernetes-image",
        "flag",
        "--kubernetes-privileged",
        "--kubernetes-pull-policy=always",
        "--kubernetes-pull-policy",
        "if-not-present",
        "--kubernetes-node-selector",
        "disk=ssd",
        "--kubernetes-node-tolerations",
        "role=ci:NoSchedule",
        "--kubernetes-build-container-security-context-run-as-user=1000",
        "--env",
        "A=1,2",
        "--unhealthy-interval=10m",
    ];
    let env = [
        ("CI_SERVER_URL", &*url),
        ("CI_SERVER_TOKEN", &token),
        ("KUBERNETES_IMAGE", "environment"),
        ("KUBERNETES_ALLOWED_IMAGES", "a/*, b/*"),
        ("KUBERNETES_AUTOMOUNT_SERVICE_ACCOUNT_TOKEN", "false"),
        ("KUBERNETES_SCHEDULER_NAME", ""),
        ("KUBERNETES_POLL_TIMEOUT", ""),
        ("KUBERNETES_NAMESPACE_PER_JOB", ""),
        ("REGISTER_LOCKED", ""),
        ("REGISTER_MAXIMUM_TIMEOUT", ""),
        ("TEMPLATE_CONFIG_FILE", template.to_str().unwrap()),
    ];
    let ran = place.run_with(&args, &env).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let runner = place.runners().remove(0);
    let json = serde_json::to_value(&runner).unwrap();
    assert_eq!((&json["limit"], &json["environment"]), (&json!(9), &json!(["A=1,2"])));
    assert_eq!(json["unhealthy_interval"], "10m");
    let expected = json!({
        "image": "flag", "namespace": "ci", "privileged": true, "pull_policy": ["always", "if-not-present"],
        "allowed_images": ["a/*", "b/*"], "automount_service_account_token": false,
        "node_selector": {"disk": "ssd"}, "node_tolerations": {"role=ci": "NoSchedule"},
        "build_container_security_context": {"run_as_user": 1000},
        "volumes": {"empty_dir": [{"name": "x", "mount_path": "/x"}]},
    });
    assert_eq!(json["kubernetes"], expected);
    assert_eq!(json["token"], token);
}

#[tokio::test(flavor = "multi_thread")]
async fn g03_g04_what_is_there_stays_as_it_is() {
    let place = Place::new().await;
    let before = "# mine\r\nconcurrent = 3 # three\r\nnew_key = { x = 1 }\r\n\r\n[[runners]]\r\nname='old'\r\nexecutor='docker'\r\n";
    std::fs::write(place.config(), before).unwrap();
    std::fs::set_permissions(place.config(), std::fs::Permissions::from_mode(0o640)).unwrap();
    let ran = place.run(&["-u", place.gitlab.url(), "-t", place.gitlab.runner_token(), "--name", "k8s"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let after = place.text();
    assert!(after.starts_with(before), "{after}");
    assert!(after.lines().count() == after.matches("\r\n").count(), "{after:?}");
    assert_eq!(std::fs::metadata(place.config()).unwrap().permissions().mode() & 0o777, 0o640);
    let ran = place.run(&["unregister", "--name", "k8s"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(place.text().trim_end(), before.trim_end());
}

#[tokio::test(flavor = "multi_thread")]
async fn g12_g19_g20_what_is_missing_or_does_not_fit_is_told_with_its_flag() {
    let place = Place::new().await;
    let url = place.gitlab.url();
    for (args, code, expected) in [
        (vec!["-n"], 2, "GitLab's address is missing: give --url or set CI_SERVER_URL"),
        (
            vec!["-u", url],
            2,
            "a runner token is missing: give --token or set CI_SERVER_TOKEN; it is not asked for, because standard input is no terminal",
        ),
        (vec!["-u", "gitlab", "-t", "x"], 2, "--url: `gitlab`: relative URL without a base"),
        (vec!["-u", url, "-t", "x", "--executor", "shell"], 2, "executor `shell` is not supported"),
        (
            vec!["-u", url, "-t", "glrt-x", "--tag-list", "a", "--locked"],
            2,
            "--tag-list, --locked cannot be given with a glrt- token: set them in GitLab",
        ),
        (vec!["-u", url, "-t", "glrt-x"], 77, "verifying the runner at "),
        (vec!["-u", url, "-r", "wrong"], 77, "403 Forbidden - invalid token supplied"),
        (vec!["-u", "http://127.0.0.1:1", "-t", "glrt-x"], 69, "cannot connect"),
        (vec!["-u", url, "-t", "x", "--kubernetes-pull-policy", "sometimes"], 78, "`runners[0].kubernetes.pull_policy"),
        (vec!["-u", url, "-t", "x", "--template-config", "/none.toml"], 78, "/none.toml: No such file"),
        (vec!["unregister", "--name", "nobody"], 78, "no such runner"),
    ] {
        let ran = place.run(&args).await;
        assert_eq!(ran.code, code, "{args:?} {ran:?}");
        assert!(ran.error().contains(expected), "{args:?} {ran:?}");
        assert_eq!((&*ran.stdout, &*place.text()), ("", ""));
    }
    let ran = place.run(&["-u", url, "--docker-image", "ruby"]).await;
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("--docker-image is for another executor, only `kubernetes` can be run"), "{ran:?}");
    for args in [vec!["--unhealthy-interval", "soon"], vec!["unregister"], vec!["remove"], vec!["--locked=maybe"]] {
        let ran = place.run(&args).await;
        assert_eq!(ran.code, 2, "{args:?} {ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g22_a_gitlab_that_misbehaves_is_told_and_nothing_is_saved() {
    let place = Place::new().await;
    let verify = || Fault::on("POST", "/api/v4/runners/verify");
    for (fault, code, expected) in [
        (verify().status(500).times(5), 69, "500 Internal Server Error"),
        (verify().status(200).body("<html>").header("Content-Type", "text/html"), 69, "did not say which runner"),
        (verify().status(410).body("{\"message\":\"410 Gone - \u{1b}[31mno\"}"), 77, "410 Gone"),
        (verify().status(422), 78, "422 Unprocessable Entity"),
    ] {
        place.gitlab.clear_faults();
        place.gitlab.inject(fault);
        let ran = place.run(&["-u", place.gitlab.url(), "-t", "glrt-hidden"]).await;
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.error().contains(expected) && !ran.stderr.contains("glrt-hidden"), "{ran:?}");
        assert!(!ran.stderr.contains('\u{1b}'), "{ran:?}");
        assert_eq!(place.text(), "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g07_a_file_that_cannot_be_edited_is_told_before_gitlab_is_asked() {
    let place = Place::new().await;
    for (text, expected) in [
        ("runners = [{ name = \"a\" }]\n", "config.toml: `runners` is not written as [[runners]]"),
        ("concurrent = 1\ntoken = glrt-SECRET\n", "config.toml: line 2: "),
    ] {
        std::fs::write(place.config(), text).unwrap();
        let ran = place.run(&["-u", place.gitlab.url(), "-t", place.gitlab.runner_token()]).await;
        assert_eq!(ran.code, 78, "{ran:?}");
        assert!(ran.error().contains(expected) && !ran.stderr.contains("SECRET"), "{ran:?}");
        assert_eq!(place.text(), text);
    }
    assert!(place.gitlab.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn g21_a_runner_that_cannot_be_saved_is_unregistered_again() {
    let place = Place::new().await;
    let registration = place.gitlab.registration_token();
    // A folder where the lock should be: noticed only when the file is to be written.
    std::fs::create_dir(place.dir.path().join("config.toml.lock")).unwrap();
    let ran = place.run(&["-u", place.gitlab.url(), "-r", &registration]).await;
    assert_eq!(ran.code, 74, "{ran:?}");
    assert!(
        ran.error().contains("config.toml.lock") && ran.error().ends_with("the runner was unregistered again"),
        "{ran:?}"
    );
    let deleted = |place: &Place| place.gitlab.requests().iter().filter(|r| r.method == "DELETE").count();
    assert_eq!(deleted(&place), 1);
    let ran = place.run(&["-u", place.gitlab.url(), "-r", &registration, "--leave-runner"]).await;
    assert_eq!((ran.code, deleted(&place)), (74, 1), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn g40_g41_verify_tells_each_runner_and_deletes_only_refused_ones() {
    let place = Place::new().await;
    let url = place.gitlab.url();
    let runner = |name: &str, url: &str, token: &str| {
        format!(
            "# {name}\n[[runners]]\n  name = \"{name}\"\n  url = \"{url}\"\n  token = \"{token}\"\n  executor = \"docker\"\n"
        )
    };
    let good = runner("good", url, place.gitlab.runner_token());
    let bad = runner("bad", url, "glrt-t1_removed00000");
    let away = runner("away", "http://127.0.0.1:1", "glrt-t1_away0000000");
    std::fs::write(place.config(), format!("{good}\n{bad}\n{away}")).unwrap();
    let ran = place.run(&["verify"]).await;
    assert_eq!(ran.code, 77, "{ran:?}");
    let outcomes: Vec<_> = ran.stdout.lines().map(|line| line.rsplit(": ").next().unwrap()).collect();
    assert_eq!(outcomes, ["valid", "refused", "not known"]);
    assert_eq!(place.run(&["verify", "--name", "away"]).await.code, 69);
    assert_eq!(place.run(&["verify", "--name", "good"]).await.code, 0);
    let ran = place.run(&["verify", "--delete"]).await;
    assert_eq!(ran.code, 69, "{ran:?}");
    assert_eq!(place.text(), format!("{good}\n{away}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn g45_g46_unregister_removes_what_gitlab_has_removed_and_keeps_the_rest() {
    let place = Place::new().await;
    let second = place.gitlab.create_runner(RunnerSpec::default()).unwrap();
    for token in [place.gitlab.runner_token(), &second] {
        let ran = place.run(&["-u", place.gitlab.url(), "-t", token, "--name", "same"]).await;
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    place.gitlab.inject(Fault::on("DELETE", "/api/v4/runners/managers").status(403));
    let ran = place.run(&["unregister", "--all-runners"]).await;
    assert_eq!(ran.code, 77, "{ran:?}");
    let left = place.runners();
    assert_eq!((left.len(), left[0]["token"].as_str()), (1, Some(place.gitlab.runner_token())));
    let ran = place.run(&["unregister", "--token", place.gitlab.runner_token()]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(place.text().trim_end(), "concurrent = 1\ncheck_interval = 0");
    let sent = place.sent("/api/v4/runners/managers");
    assert!(sent.iter().all(|body| body["system_id"].as_str().unwrap().len() == 14), "{sent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn g52_a_new_token_stands_in_all_entries_of_the_runner_and_the_rest_stays() {
    let place = Place::new().await;
    let (url, old) = (place.gitlab.url(), place.gitlab.runner_token());
    place.gitlab.change_settings(|settings| settings.runner_token_lifetime = Some(86_400));
    let entry = format!(
        "[[runners]]\n  name = \"twice\" # one\n  url = \"{url}\"\n  token = '{old}'\n  executor = \"kubernetes\"\n"
    );
    let other = format!("[[runners]]\nname = \"other\"\nurl = \"{url}\"\ntoken = \"glrt-t1_unknown00000\"\n");
    std::fs::write(place.config(), format!("# mine\n{entry}{entry}{other}")).unwrap();
    let ran = place.run(&["reset-token", "--name", "twice"]).await;
    assert_eq!((ran.code, ran.stdout.lines().count()), (0, 1), "{ran:?}");
    let text = place.text();
    let runners = place.runners();
    let token = runners[0]["token"].as_str().unwrap();
    assert_ne!(token, old);
    assert!(!ran.stdout.contains(token) && !ran.stderr.contains(old), "{ran:?}");
    let lifetime = |runner: &toml::Value| -> Vec<String> {
        ["token_obtained_at", "token_expires_at"].map(|key| runner[key].to_string()).to_vec()
    };
    let dates = lifetime(&runners[0]);
    let renewed = entry.replace(
        &format!("'{old}'"),
        &format!("\"{token}\"\n  token_obtained_at = {}\n  token_expires_at = {}", dates[0], dates[1]),
    );
    assert_eq!(text, format!("# mine\n{renewed}{renewed}{other}"));
    assert!(dates[0] < dates[1] && !dates[1].starts_with("0001"), "{dates:?}");
    assert_eq!(place.run(&["verify", "--name", "twice"]).await.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn g50_g51_tokens_can_be_reset_by_id_by_a_user_and_all_at_once() {
    let place = Place::new().await;
    let url = place.gitlab.url();
    let second = place.gitlab.create_runner(RunnerSpec::default()).unwrap();
    for (name, token) in [("a", place.gitlab.runner_token()), ("b", &*second)] {
        assert_eq!(place.run(&["-u", url, "-t", token, "--name", name]).await.code, 0);
    }
    let tokens = || place.runners().iter().map(|runner| runner["token"].to_string()).collect::<Vec<_>>();
    let before = tokens();
    let id = place.runners()[1]["id"].to_string();
    let pat = place.gitlab.private_token();
    let ran = place.run(&["reset-token", "--url", url, "--id", &id, "--pat", &pat]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let by_user = tokens();
    assert!(by_user[0] == before[0] && by_user[1] != before[1]);
    assert!(
        place.gitlab.requests().iter().any(|r| r.path == format!("/api/v4/runners/{id}/reset_authentication_token"))
    );
    place.gitlab.inject(Fault::on("POST", "/api/v4/runners/reset_authentication_token").status(403));
    let ran = place.run(&["reset-token", "--all-runners"]).await;
    assert_eq!(ran.code, 77, "{ran:?}");
    let all = tokens();
    assert!(all[0] == by_user[0] && all[1] != by_user[1], "what failed stays, the others are reset");
    for args in
        [vec!["reset-token"], vec!["reset-token", "--id", "1"], vec!["reset-token", "--name", "a", "--all-runners"]]
    {
        assert_eq!(place.run(&args).await.code, 2, "{args:?}");
    }
    assert_eq!(place.run(&["reset-token", "--name", "nobody"]).await.code, 78);
    assert_eq!(place.run(&["reset-token", "--name", "a", "--pat", "glpat-wrong"]).await.code, 77);
    assert_eq!(tokens(), all);
}

#[tokio::test(flavor = "multi_thread")]
async fn g53_a_token_is_not_reset_where_it_could_not_be_saved() {
    let place = Place::new().await;
    let (url, token) = (place.gitlab.url(), place.gitlab.runner_token());
    let text = format!("[[runners]]\nname = \"a\"\nurl = \"{url}\"\ntoken = \"$TOKEN\"\n");
    std::fs::write(place.config(), &text).unwrap();
    let ran = place.run_with(&["reset-token", "--name", "a"], &[("TOKEN", token)]).await;
    assert_eq!((ran.code, &*place.text()), (78, &*text), "{ran:?}");
    assert!(ran.stderr.contains("its token is not in the file but in the environment"), "{ran:?}");
    std::fs::write(place.config(), text.replace("$TOKEN", token)).unwrap();
    let lock = place.dir.path().join("config.toml.lock");
    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir(&lock).unwrap();
    let ran = place.run(&["reset-token", "--name", "a"]).await;
    assert_eq!(ran.code, 74, "{ran:?}");
    assert!(ran.stderr.contains("config.toml.lock"), "{ran:?}");
    assert!(place.gitlab.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn g06_two_registrations_at_one_time_are_both_kept() {
    let place = Place::new().await;
    let registration = place.gitlab.registration_token();
    let runs = ["a", "b", "c", "d"].map(|name| {
        let args = ["-u", place.gitlab.url(), "-r", &registration, "--name", name].map(str::to_owned);
        tokio::spawn(run_async(place.config(), args.to_vec(), Vec::new()))
    });
    for run in runs {
        assert_eq!(run.await.unwrap().code, 0);
    }
    let mut names: Vec<_> = place.runners().iter().map(|runner| runner["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    assert_eq!(names, ["a", "b", "c", "d"]);
}

#[test]
fn who_waits_for_another_edit_is_told_and_can_leave() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    let held = std::fs::File::create(dir.path().join("config.toml.lock")).unwrap();
    held.lock().unwrap();
    std::fs::write(&config, "[[runners]]\nname = \"a\"\nurl = \"http://127.0.0.1:1\"\ntoken = \"t\"\n").unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_runner-register"));
    command.env_clear().args(["-c", config.to_str().unwrap(), "reset-token", "--name", "a"]);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let told = BufReader::new(child.stderr.take().unwrap()).lines().next().unwrap().unwrap();
    assert!(told.contains("config.toml: waiting for another program that edits it"), "{told}");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn g02_g54_list_shows_no_token() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    assert_eq!(run(&config, &["list"], &[]).stdout, "", "no file, no runners");
    let text = "[[runners]]\nname = \"k8s\"\nurl = \"https://g\"\nid = 7\ntoken = \"glrt-t1_abcdefghijklm\"\nexecutor = \"kubernetes\"\ntoken_expires_at = 2030-01-01T00:00:00Z\n";
    std::fs::write(&config, text).unwrap();
    let ran = run(&config, &["list"], &[]);
    assert_eq!((ran.code, &*ran.stdout), (0, "k8s\tkubernetes\tabcdefghi\thttps://g\n"));
    let json: Value = serde_json::from_str(&run(&config, &["list", "--json"], &[]).stdout).unwrap();
    let expected = json!({"name": "k8s", "id": 7, "url": "https://g", "executor": "kubernetes", "limit": 0,
        "short_token": "abcdefghi", "token_expires_at": "2030-01-01T00:00:00Z"});
    assert_eq!(json, expected);
}

#[test]
fn help_shows_no_secret_of_the_environment() {
    let config = PathBuf::from("config.toml");
    let env =
        [("CI_SERVER_TOKEN", "hunter2"), ("REGISTRATION_TOKEN", "hunter2"), ("KUBERNETES_BEARER_TOKEN", "hunter2")];
    let ran = run(&config, &["register", "--help"], &env);
    assert_eq!(ran.code, 0);
    assert!(ran.stdout.contains("--kubernetes-bearer-token") && ran.stdout.contains("CI_SERVER_TOKEN"), "{ran:?}");
    assert!(!ran.stdout.contains("hunter2"));
}
