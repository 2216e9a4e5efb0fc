//! R: registering with a registration token.

use fake_gitlab::FakeGitlab;
use serde_json::{Value, json};

use crate::support::{Answer, call, client, send};
use crate::wire::{advance, owner_token, plain, runner, text, with};

/// Registers with the instance's token and these members besides.
async fn register(gitlab: &FakeGitlab, members: Value) -> Answer {
    let token = gitlab.registration_token();
    register_with(gitlab, &token, members).await
}

async fn register_with(gitlab: &FakeGitlab, token: &str, mut members: Value) -> Answer {
    members["token"] = json!(token);
    call(gitlab, "POST", "/runners", members).await
}

/// Registers, and gives what the server then knows.
async fn registered(gitlab: &FakeGitlab, members: Value) -> Value {
    let id = register(gitlab, members).await.expect(201).json()["id"].clone();
    runner(gitlab, &id).await.unwrap()
}

#[tokio::test]
async fn r01_no_token_is_400() {
    let answer = call(&plain().await, "POST", "/runners", json!({})).await.expect(400);
    assert_eq!(answer.json(), json!({"error": "token is missing"}));
}

#[tokio::test]
async fn r02_a_wrong_token_is_403() {
    let answer = call(&plain().await, "POST", "/runners", json!({"token": "wrong"})).await.expect(403);
    assert_eq!(answer.json(), json!({"message": "403 Forbidden - invalid token supplied"}));
}

#[tokio::test]
async fn r03_registration_may_be_disallowed_with_410() {
    let gitlab = with(|settings| settings.allow_runner_registration_token = false).await;
    let answer = register(&gitlab, json!({})).await.expect(410);
    assert_eq!(answer.json(), json!({"message": "410 Gone - runner registration disallowed"}));
}

#[tokio::test]
async fn r04_the_instances_token_makes_an_instance_runner() {
    let gitlab = plain().await;
    let answer = register(&gitlab, json!({})).await.expect(201).json();
    assert!(text(&answer["token"]).starts_with("t1_") && answer["token"] != gitlab.registration_token());
    let runner = runner(&gitlab, &answer["id"]).await.unwrap();
    assert_eq!(runner["runner_type"], "instance_type");
    assert_eq!((&runner["run_untagged"], &runner["active"]), (&json!(true), &json!(true)));
}

#[tokio::test]
async fn r05_a_projects_token_makes_a_runner_of_that_project() {
    let gitlab = plain().await;
    let token = owner_token(&gitlab, "/projects/fake%2Fjobs").await;
    let answer = register_with(&gitlab, &token, json!({})).await.expect(201).json();
    assert!(text(&answer["token"]).starts_with("t3_") && answer["token"] != token);
    let runner = runner(&gitlab, &answer["id"]).await.unwrap();
    assert_eq!((&runner["runner_type"], &runner["owner"]), (&json!("project_type"), &json!("fake/jobs")));
}

#[tokio::test]
async fn r06_a_groups_token_makes_a_runner_of_that_group() {
    let gitlab = plain().await;
    let token = owner_token(&gitlab, "/groups/fake").await;
    let answer = register_with(&gitlab, &token, json!({})).await.expect(201).json();
    assert!(text(&answer["token"]).starts_with("t2_"));
    let runner = runner(&gitlab, &answer["id"]).await.unwrap();
    assert_eq!((&runner["runner_type"], &runner["owner"]), (&json!("group_type"), &json!("fake")));
}

#[tokio::test]
async fn r07_a_project_has_a_limit_of_runners() {
    let gitlab = with(|settings| settings.project_runner_limit = Some(1)).await;
    let token = owner_token(&gitlab, "/projects/fake%2Fjobs").await;
    register_with(&gitlab, &token, json!({})).await.expect(201);
    let answer = register_with(&gitlab, &token, json!({})).await.expect(400);
    let expected = "Maximum number of ci registered project runners (1) exceeded";
    assert_eq!(answer.json(), json!({"message": {"runner_projects.base": [expected]}}));
    register(&gitlab, json!({})).await.expect(201);
}

#[tokio::test]
async fn r08_a_group_has_a_limit_of_runners() {
    let gitlab = with(|settings| settings.group_runner_limit = Some(1)).await;
    let token = owner_token(&gitlab, "/groups/fake").await;
    register_with(&gitlab, &token, json!({})).await.expect(201);
    let answer = register_with(&gitlab, &token, json!({})).await.expect(400);
    let expected = "Maximum number of ci registered group runners (1) exceeded";
    assert_eq!(answer.json(), json!({"message": {"runner_namespaces.base": [expected]}}));
}

#[tokio::test]
async fn r09_runners_long_silent_do_not_count() {
    let gitlab = with(|settings| settings.project_runner_limit = Some(1)).await;
    let token = owner_token(&gitlab, "/projects/fake%2Fjobs").await;
    register_with(&gitlab, &token, json!({})).await.expect(201);
    advance(&gitlab, 90 * 24 * 3600);
    register_with(&gitlab, &token, json!({})).await.expect(201);
    register_with(&gitlab, &token, json!({})).await.expect(400);
}

#[tokio::test]
async fn r10_kinds_of_registrars_may_be_disallowed() {
    let gitlab = with(|settings| settings.valid_runner_registrars = vec!["group".into()]).await;
    let project = owner_token(&gitlab, "/projects/fake%2Fjobs").await;
    let group = owner_token(&gitlab, "/groups/fake").await;
    register_with(&gitlab, &project, json!({})).await.expect(410);
    register_with(&gitlab, &group, json!({})).await.expect(201);
    gitlab.change_settings(|settings| settings.valid_runner_registrars.clear());
    register_with(&gitlab, &group, json!({})).await.expect(410);
    register(&gitlab, json!({})).await.expect(201);
}

#[tokio::test]
async fn r11_a_token_without_an_end_has_null() {
    let answer = register(&plain().await, json!({})).await.expect(201).json();
    assert_eq!(answer["token_expires_at"], Value::Null);
    assert!(answer.as_object().unwrap().contains_key("token_expires_at"));
}

#[tokio::test]
async fn r12_the_end_of_a_token_has_milliseconds() {
    let gitlab = with(|settings| settings.runner_token_lifetime = Some(3600)).await;
    let answer = register(&gitlab, json!({})).await.expect(201).json();
    let end = text(&answer["token_expires_at"]);
    assert!(end.len() == "2022-01-11T14:39:24.000Z".len() && end.ends_with('Z') && &end[19..20] == ".", "{end}");
    assert!((3590..=3600).contains(&crate::wire::seconds_until(&answer["token_expires_at"])), "{end}");
}

#[tokio::test]
async fn r13_what_is_said_about_the_runner_is_stored() {
    let gitlab = plain().await;
    let members = json!({"description": "d", "tag_list": "tag1, tag2", "locked": true,
        "access_level": "ref_protected", "maximum_timeout": 9000, "maintenance_note": "note"});
    let runner = registered(&gitlab, members).await;
    for (name, value) in [
        ("description", json!("d")),
        ("tag_list", json!(["tag1", "tag2"])),
        ("locked", json!(true)),
        ("access_level", json!("ref_protected")),
        ("maximum_timeout", json!(9000)),
        ("maintenance_note", json!("note")),
    ] {
        assert_eq!(runner[name], value, "{name}");
    }
}

#[tokio::test]
async fn r14_paused_and_active_are_opposites_and_exclude_each_other() {
    let gitlab = plain().await;
    for (members, active) in [
        (json!({"paused": false}), true),
        (json!({"paused": true}), false),
        (json!({"active": false}), false),
        (json!({"active": true}), true),
    ] {
        assert_eq!(registered(&gitlab, members.clone()).await["active"], active, "{members}");
    }
    register(&gitlab, json!({"paused": false, "active": true})).await.expect(400);
}

#[tokio::test]
async fn r15_the_older_name_of_the_note_is_taken() {
    let gitlab = plain().await;
    assert_eq!(registered(&gitlab, json!({"maintainer_note": "old"})).await["maintenance_note"], "old");
    register(&gitlab, json!({"maintainer_note": "a", "maintenance_note": "b"})).await.expect(400);
}

#[tokio::test]
async fn r16_more_than_fifty_tags_are_too_many() {
    let gitlab = plain().await;
    let tags = |count: usize| (0..count).map(|number| format!("tag{number}")).collect::<Vec<_>>();
    let answer = register(&gitlab, json!({"tag_list": tags(51)})).await.expect(400).json();
    let expected = "Too many tags specified. Please limit the number of tags to 50";
    assert_eq!(answer["message"]["tags_list"][0], expected);
    assert_eq!(registered(&gitlab, json!({"tag_list": tags(20)})).await["tag_list"].as_array().unwrap().len(), 20);
    register(&gitlab, json!({"tag_list": tags(50)})).await.expect(201);
}

#[tokio::test]
async fn r17_a_runner_must_be_able_to_take_something() {
    let gitlab = plain().await;
    let answer = register(&gitlab, json!({"run_untagged": false})).await.expect(400).json();
    let expected = "can not be empty when runner is not allowed to pick untagged jobs";
    assert_eq!(answer["message"]["tags_list"], json!([expected]));
    assert_eq!(registered(&gitlab, json!({"run_untagged": false, "tag_list": "a"})).await["run_untagged"], false);
}

#[tokio::test]
async fn r18_an_empty_maximum_timeout_is_none() {
    let gitlab = plain().await;
    assert_eq!(registered(&gitlab, json!({"maximum_timeout": ""})).await["maximum_timeout"], Value::Null);
    register(&gitlab, json!({"maximum_timeout": 599})).await.expect(400);
}

#[tokio::test]
async fn r19_the_name_of_the_program_is_stored() {
    let gitlab = plain().await;
    assert_eq!(registered(&gitlab, json!({"info": {"name": "gitlab-runner"}})).await["name"], "gitlab-runner");
}

#[tokio::test]
async fn r20_the_address_behind_a_proxy_is_stored() {
    let gitlab = plain().await;
    let request = client().post(format!("{}/api/v4/runners", gitlab.url()));
    let request =
        request.header("X-Forwarded-For", "123.111.123.111").json(&json!({"token": gitlab.registration_token()}));
    let id = send(request).await.expect(201).json()["id"].clone();
    assert_eq!(runner(&gitlab, &id).await.unwrap()["ip_address"], "123.111.123.111");
}
