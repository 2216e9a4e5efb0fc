//! `.gitlab-ci.yml`: which jobs there are, in which order, and what is wrong, keyword by keyword.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use fake_gitlab::{FakeGitlab, Variable};
use serde_json::{Value, json};
use support::{Repository, send, user};

async fn gitlab_with(files: &[(&str, &str)]) -> (FakeGitlab, Repository) {
    let repository = Repository::with(files);
    let gitlab = FakeGitlab::builder().project("group/app", repository.path()).start().await.unwrap();
    (gitlab, repository)
}

/// The names of a new pipeline's jobs, or what is wrong.
async fn jobs(gitlab: &FakeGitlab, variables: &[(&str, &str)]) -> Result<Vec<String>, String> {
    let variables = variables.iter().map(|(key, value)| Variable::new(*key, *value)).collect();
    let pipeline = gitlab.create_pipeline("group/app", None, variables).await.map_err(|error| error.to_string())?;
    Ok(gitlab.pipeline_jobs(pipeline).into_iter().map(|id| gitlab.job(id).unwrap().name).collect())
}

/// Asserts what becomes of each definition.
async fn each(cases: &[(&str, Result<&[&str], &str>)]) {
    let (gitlab, repository) = gitlab_with(&[("README", "x")]).await;
    for (definition, expected) in cases {
        repository.commit("next", &[(".gitlab-ci.yml", definition)]);
        let got = jobs(&gitlab, &[("GIVEN", "yes")]).await;
        match expected {
            Ok(names) => {
                assert_eq!(got.unwrap_or_else(|problem| panic!("{definition}\n{problem}")), *names, "{definition}")
            }
            Err(problem) => {
                let got = got.expect_err(definition);
                assert!(got.contains(problem), "{definition}\n got: {got}\nwant: {problem}");
            }
        }
    }
}

#[tokio::test]
async fn rules_decide_which_jobs_run() {
    each(&[
        ("a: {script: x, rules: [{if: $GIVEN}]}\nb: {script: x, rules: [{if: $OTHER}]}\n", Ok(&["a"])),
        (
            "a: {script: x, rules: [{if: '$GIVEN == \"yes\"', when: never}, {when: always}]}\nb: {script: x}\n",
            Ok(&["b"]),
        ),
        ("a: {script: x, rules: []}\nb: {script: x}\n", Ok(&["b"])),
        ("a: {script: x, rules: [{exists: ['READ*']}]}\nb: {script: x, rules: [{exists: [nothing]}]}\n", Ok(&["a"])),
        ("a: {script: x, rules: [{changes: [nothing]}]}\n", Ok(&["a"])),
        ("a: {script: x, rules: [{changes: {paths: [README], compare_to: main}}]}\nb: {script: x}\n", Ok(&["b"])),
        (
            "a: {script: x, rules: [{changes: {paths: [README], compare_to: nowhere}}]}\n",
            Err("Failed to parse rule for a: rules:changes:compare_to is not a valid ref"),
        ),
        ("variables: {V: top}\na: {script: x, variables: {V: own}, rules: [{if: '$V == \"own\"'}]}\n", Ok(&["a"])),
        ("a: {script: x, rules: [{if: '$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH'}]}\n", Ok(&["a"])),
        ("a: {script: x, rules: [{if: '$X ='}]}\n", Err("jobs:a:rules:rule if invalid expression syntax")),
        ("a: {script: x, rules: [{iff: x}]}\n", Err("jobs:a:rules:rule config contains unknown keys: iff")),
        ("a: {script: x, rules: x}\n", Err("jobs:a:rules config should be an array of hashes")),
        ("a: {script: x, rules: [{when: never}]}\n", Err("The resulting pipeline would have been empty.")),
        ("a: {script: x, rules: [{when: always}], only: [main]}\n", Err("key may not be used with `rules`: only")),
        ("a: {script: x, only: [main]}\nb: {script: x, except: [main]}\nc: {script: x, only: [tags]}\n", Ok(&["a"])),
        ("a: {script: x, only: [/^ma/]}\nb: {script: x, only: {variables: [$OTHER]}}\n", Ok(&["a"])),
        ("workflow: {rules: [{if: $OTHER}]}\na: {script: x}\n", Err("Pipeline filtered out by workflow rules.")),
        ("workflow: {rules: [{if: $GIVEN, variables: {W: w}}]}\na: {script: x, rules: [{if: $W}]}\n", Ok(&["a"])),
    ])
    .await;
}

#[tokio::test]
async fn jobs_extend_each_other_and_refer_to_each_other() {
    each(&[
        (".a: {script: x}\nb: {extends: .a}\n", Ok(&["b"])),
        ("a: {extends: .b}\n", Err("a: unknown keys in `extends` (.b)")),
        ("a: {extends: b, script: x}\nb: {extends: a}\n", Err("a: circular dependency detected in `extends`")),
        (".a: {x: [one, two]}\nb: {script: !reference [.a, x]}\n", Ok(&["b"])),
        ("b: {script: !reference [.a, x]}\n", Err("!reference [\".a\", \"x\"] could not be found")),
        (
            ".a: {x: !reference [.a, x]}\nb: {script: !reference [.a, x]}\n",
            Err("!reference [\".a\", \"x\"] is part of a circular chain"),
        ),
    ])
    .await;
}

#[tokio::test]
async fn parallel_jobs_are_many() {
    each(&[
        ("a: {script: x, parallel: 2}\n", Ok(&["a 1/2", "a 2/2"])),
        (
            "a: {script: x, parallel: {matrix: [{P: [aws, gcp], S: [x]}, {P: own}]}}\n",
            Ok(&["a: [aws, x]", "a: [gcp, x]", "a: [own]"]),
        ),
        ("a: {script: x, parallel: 0}\n", Err("jobs:a:parallel config must be greater than or equal to 1")),
        ("a: {script: x, parallel: {matrix: []}}\n", Err("generates no jobs")),
        (
            "a: {stage: build, script: x, parallel: 2}\nb: {script: x, needs: [a]}\nc: {script: x, needs: ['a 2/2']}\n",
            Ok(&["a 1/2", "a 2/2", "b", "c"]),
        ),
        (
            "a: {stage: build, script: x, parallel: {matrix: [{V: [1, 2]}]}}\nb: {script: x, needs: [{job: a, parallel: {matrix: [{V: 2}]}}]}\n",
            Ok(&["a: [1]", "a: [2]", "b"]),
        ),
    ])
    .await;
}

#[tokio::test]
async fn what_is_wrong_is_said_as_gitlab_says_it() {
    each(&[
        ("- a\n", Err("Invalid configuration format")),
        ("a: [1, 2\nb: 3\n", Err("(<unknown>): ")),
        (".a: {script: x}\n", Err("jobs config should contain at least one visible job")),
        ("a: {script: x, foo: y}\n", Err("jobs:a config contains unknown keys: foo")),
        ("a: {stage: test}\n", Err("jobs a config should implement the script:, run:, or trigger: keyword")),
        ("a: {script: []}\n", Err("jobs:a script can't be blank")),
        ("a: {trigger: x}\n", Err("jobs:a config uses `trigger`, which is not supported here")),
        (
            "a: {script: x, stage: ship}\n",
            Err("a job: chosen stage ship does not exist; available stages are .pre, build, test, deploy, .post"),
        ),
        (
            "a: {script: [echo: x]}\n",
            Err("jobs:a:script config should be a string or a nested array of strings up to 10 levels deep"),
        ),
        ("a: {script: x, image: [x]}\n", Err("jobs:a:image config should be a hash or a string")),
        ("a: {script: x, image: {entrypoint: [x]}}\n", Err("jobs:a:image name can't be blank")),
        (
            "a: {script: x, artifacts: {paths: [x], foo: y}}\n",
            Err("jobs:a:artifacts config contains unknown keys: foo"),
        ),
        (
            "a: {script: x, artifacts: {when: x}}\n",
            Err("jobs:a:artifacts when should be one of: on_success, on_failure, always"),
        ),
        ("a: {script: x, artifacts: {expire_in: soon}}\n", Err("jobs:a:artifacts expire in should be a duration")),
        (
            "a: {script: x, artifacts: {reports: {nonsense: y}}}\n",
            Err("jobs:a:artifacts:reports config contains unknown keys: nonsense"),
        ),
        ("a: {script: x, timeout: soon}\n", Err("jobs:a timeout should be a duration")),
        ("a: {script: x, retry: 3}\n", Err("jobs:a:retry config must be less than or equal to 2")),
        ("a: {script: x, when: soon}\n", Err("jobs:a when should be one of: ")),
        ("a: {script: x, cache: {key: a/b}}\n", Err("jobs:a:cache:key config cannot contain the \"/\" character")),
        ("a: {script: x, variables: {A: [1]}}\n", Err("jobs:a:variables:A config should be a string or a hash")),
        ("a: {script: x, needs: [b]}\n", Err("a job: undefined need: b")),
        ("a: {script: x, dependencies: [b]}\n", Err("a job: undefined dependency: b")),
        (
            "a: {stage: build, script: x, needs: [b]}\nb: {script: x}\n",
            Err("a job: need b is not defined in current or prior stages"),
        ),
        (
            "a: {script: x, needs: [b]}\nb: {script: x, needs: [a]}\n",
            Err("The pipeline has circular dependencies: circular dependency: a"),
        ),
        (
            "a: {stage: build, script: x, rules: [{if: $OTHER}]}\nb: {script: x, needs: [a]}\n",
            Err("'b' job needs 'a' job, but 'a' does not exist in the pipeline."),
        ),
        (
            "a: {stage: build, script: x, rules: [{if: $OTHER}]}\nb: {script: x, needs: [{job: a, optional: true}]}\n",
            Ok(&["b"]),
        ),
        ("default: {script: x}\na: {script: x}\n", Err("default config contains unknown keys: script")),
        ("include: https://example.com/a.yml\na: {script: x}\n", Err("could not be fetched")),
        ("include: {template: X.yml}\na: {script: x}\n", Err("include:template `X.yml` could not be fetched")),
        ("include: nowhere.yml\na: {script: x}\n", Err("Local file `nowhere.yml` does not exist!")),
    ])
    .await;
}

#[tokio::test]
async fn files_are_included_with_their_inputs() {
    let repository = Repository::with(&[
        (
            ".gitlab-ci.yml",
            "include:\n  - /ci/one.yml\n  - local: ci/parts/*.yml\n  - {local: never.yml, rules: [{if: $NOWHERE}]}\n  - {project: group/other, file: [x.yml], inputs: {name: ada, count: 2}}\none: {variables: {A: over}}\n",
        ),
        ("ci/one.yml", "one: {script: x, variables: {A: under, B: under}}\n"),
        ("ci/parts/two.yml", "two: {script: x}\n"),
    ]);
    let other = Repository::with(&[(
        "x.yml",
        "spec:\n  inputs:\n    name: {options: [ada, bob]}\n    count: {type: number, default: 1}\n    list: {type: array, default: [a, b]}\n---\n\"$[[ inputs.name ]]-job\":\n  parallel: $[[ inputs.count ]]\n  script: $[[ inputs.list ]]\n  variables: {V: 'x-$[[ inputs.name | truncate(0,2) ]]'}\n",
    )]);
    let builder = FakeGitlab::builder().project("group/app", repository.path()).project("group/other", other.path());
    let gitlab = builder.start().await.unwrap();
    assert_eq!(jobs(&gitlab, &[]).await.unwrap(), ["one", "two", "ada-job 1/2", "ada-job 2/2"]);
    let one = support::take(&gitlab).await;
    assert_eq!((support::variable(&one, "A"), support::variable(&one, "B")), (Some("over"), Some("under")));
    support::take(&gitlab).await;
    let part = support::take(&gitlab).await;
    assert_eq!(part["steps"][0]["script"], json!(["a", "b"]));
    assert_eq!(support::variable(&part, "V"), Some("x-ad"));
    assert_eq!(support::variable(&part, "CI_NODE_INDEX"), Some("1"));
    assert_eq!(support::variable(&part, "CI_NODE_TOTAL"), Some("2"));

    for (inputs, problem) in [
        ("{name: eve}", "`x.yml`: `name` input: `eve` cannot be used because it is not in the list of allowed options"),
        ("{}", "`x.yml`: `name` input: required value has not been provided"),
        ("{name: ada, x: y}", "`x.yml`: unknown input arguments: x"),
        ("{name: ada, count: many}", "`x.yml`: `count` input: provided value is not a number"),
    ] {
        let definition = format!("include: {{project: group/other, file: x.yml, inputs: {inputs}}}\n");
        repository.commit("next", &[(".gitlab-ci.yml", &definition)]);
        let got = jobs(&gitlab, &[]).await.unwrap_err();
        assert!(got.ends_with(problem), "{got}");
    }
}

#[tokio::test]
async fn lint_gives_the_same_errors_and_the_merged_definition() {
    let (gitlab, _repository) = gitlab_with(&[("x.yml", ".base: {script: [one]}\n")]).await;
    let lint = async |content: &str| -> Value {
        let url = format!("{}/api/v4/projects/group%2Fapp/ci/lint", gitlab.url());
        let request = support::client().post(url).header("PRIVATE-TOKEN", gitlab.private_token());
        send(request.json(&json!({ "content": content }))).await.expect(200).json()
    };
    let good = lint("include: x.yml\njob: {extends: .base, variables: {A: 'yes'}}\n").await;
    assert_eq!(good["valid"], true, "{good}");
    assert_eq!(
        good["merged_yaml"],
        "---\n.base:\n  script:\n    - one\njob:\n  script:\n    - one\n  variables:\n    A: \"yes\"\n"
    );
    assert_eq!(good["includes"][0]["location"], "x.yml");
    let bad = lint("a: {script: x, foo: 1}\nb: {script: [1]}\n").await;
    assert_eq!(bad["valid"], false);
    assert_eq!(
        bad["errors"],
        json!([
            "jobs:a config contains unknown keys: foo",
            "jobs:b:script config should be a string or a nested array of strings up to 10 levels deep",
        ])
    );
    user(&gitlab, "GET", "/projects/group%2Fapp/ci/lint").await.expect(404);
}
