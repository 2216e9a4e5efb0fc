//! Registration, verification, removal and token reset of runners.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use fake_gitlab::FakeGitlab;
use serde_json::{Value, json};
use support::{call, client, request_job_as, send, user};

async fn runner(gitlab: &FakeGitlab, id: &Value) -> Value {
    user(gitlab, "GET", &format!("/runners/{id}")).await.expect(200).json()
}

#[tokio::test]
async fn registration_stores_what_was_given() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let body = json!({"token": gitlab.registration_token(), "description": "mine", "tag_list": "tag1, tag2", "locked": true,
        "access_level": "ref_protected", "maximum_timeout": 9000, "maintenance_note": "note", "run_untagged": false, "new": 1});
    let answer = call(&gitlab, "POST", "/runners", body).await.expect(201).json();
    assert_eq!(answer.as_object().unwrap().len(), 3);
    assert_eq!(answer["token_expires_at"], Value::Null);
    let token = answer["token"].as_str().unwrap();
    assert!(token.starts_with("t1_"), "{token}");
    let stored = runner(&gitlab, &answer["id"]).await;
    for (key, value) in [
        ("description", json!("mine")),
        ("tag_list", json!(["tag1", "tag2"])),
        ("locked", json!(true)),
        ("access_level", json!("ref_protected")),
        ("maximum_timeout", json!(9000)),
        ("maintenance_note", json!("note")),
        ("run_untagged", json!(false)),
        ("paused", json!(false)),
        ("active", json!(true)),
        ("runner_type", json!("instance_type")),
    ] {
        assert_eq!(stored[key], value, "{key}");
    }
    call(&gitlab, "POST", "/runners/verify", json!({"token": token})).await.expect(200);
}

#[tokio::test]
async fn registration_is_validated() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let many: Vec<String> = (0..51).map(|number| format!("tag{number}")).collect();
    for (body, status, message) in [
        (json!({}), 400, json!({"error": "token is missing"})),
        (json!({"token": "wrong"}), 403, json!({"message": "403 Forbidden - invalid token supplied"})),
        (
            json!({"tag_list": many}),
            400,
            json!({"message": {"tags_list": ["Too many tags specified. Please limit the number of tags to 50"]}}),
        ),
        (
            json!({"run_untagged": false}),
            400,
            json!({"message": {"tags_list": ["can not be empty when runner is not allowed to pick untagged jobs"]}}),
        ),
        (
            json!({"maximum_timeout": 60}),
            400,
            json!({"message": {"maximum_timeout": ["needs to be at least 10 minutes"]}}),
        ),
        (json!({"paused": true, "active": true}), 400, json!({"error": "paused, active are mutually exclusive"})),
        (json!({"access_level": "x"}), 400, json!({"error": "access_level does not have a valid value"})),
        (json!({"locked": "perhaps"}), 400, json!({"error": "locked is invalid"})),
    ] {
        let mut sent = body.clone();
        if status == 400 && body != json!({}) {
            sent["token"] = json!(gitlab.registration_token());
        }
        let answer = call(&gitlab, "POST", "/runners", sent).await.expect(status);
        assert_eq!(answer.json(), message, "{body}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    for (body, paused) in
        [(json!({"maximum_timeout": ""}), false), (json!({"active": false}), true), (json!({"paused": true}), true)]
    {
        let mut sent = body.clone();
        sent["token"] = json!(gitlab.registration_token());
        let answer = call(&gitlab, "POST", "/runners", sent).await.expect(201).json();
        let stored = runner(&gitlab, &answer["id"]).await;
        assert_eq!(stored["paused"], paused, "{body}");
        assert_eq!(stored["maximum_timeout"], Value::Null);
    }
}

#[tokio::test]
async fn forms_are_read_like_json() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let form = format!("token={}&tag_list=a%2Cb&run_untagged=false", gitlab.registration_token());
    let request = client()
        .post(format!("{}/api/v4/runners", gitlab.url()))
        .header("Content-Type", "application/x-www-form-urlencoded");
    let answer = send(request.body(form)).await.expect(201).json();
    assert_eq!(runner(&gitlab, &answer["id"]).await["tag_list"], json!(["a", "b"]));
    let without_type = client()
        .post(format!("{}/api/v4/runners/verify", gitlab.url()))
        .body(format!("{{\"token\":\"{}\"}}", gitlab.runner_token()));
    send(without_type).await.expect(200);
    let broken = client().post(format!("{}/api/v4/runners/verify", gitlab.url())).body("{");
    send(broken).await.expect(400);
}

#[tokio::test]
async fn verification_makes_one_manager_per_machine() {
    let gitlab = FakeGitlab::start().await.unwrap();
    call(&gitlab, "POST", "/runners/verify", json!({})).await.expect(400);
    call(&gitlab, "POST", "/runners/verify", json!({"token": "glrt-wrong"})).await.expect(403);
    let verify = |system_id: &'static str| {
        let body = json!({"token": gitlab.runner_token(), "system_id": system_id,
            "info": {"version": "19.4.0", "platform": "linux", "config": {"gpus": "all", "ignored": 1}, "features": {}}});
        call(&gitlab, "POST", "/runners/verify", body)
    };
    let answer = verify("s_0123456789ab").await.expect(200).json();
    assert_eq!(answer["token"], gitlab.runner_token());
    verify("s_0123456789ab").await.expect(200);
    verify("r_0123456789ab").await.expect(200);
    let managers = user(&gitlab, "GET", &format!("/runners/{}/managers", answer["id"])).await.json();
    let ids: Vec<_> =
        managers.as_array().unwrap().iter().map(|manager| manager["system_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["s_0123456789ab", "r_0123456789ab"]);
    assert_eq!(managers[0]["version"], "19.4.0");
    assert_eq!(managers[0]["ip_address"], "127.0.0.1");
}

#[tokio::test]
async fn the_first_forwarded_address_is_the_managers() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let request = client()
        .post(format!("{}/api/v4/runners/verify", gitlab.url()))
        .header("X-Forwarded-For", "123.111.123.111, 10.0.0.1")
        .json(&json!({"token": gitlab.runner_token(), "system_id": "s_0123456789ab"}));
    let id = send(request).await.expect(200).json()["id"].clone();
    let managers = user(&gitlab, "GET", &format!("/runners/{id}/managers")).await.json();
    assert_eq!(managers[0]["ip_address"], "123.111.123.111");
}

#[tokio::test]
async fn a_runner_is_removed_with_its_managers_or_one_manager_alone() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let token = gitlab.runner_token();
    request_job_as(&gitlab, token).await.expect(204);
    call(&gitlab, "DELETE", "/runners/managers", json!({"token": token})).await.expect(400);
    let unknown = call(&gitlab, "DELETE", "/runners/managers", json!({"token": token, "system_id": "s_unknown00000"}))
        .await
        .expect(404);
    assert!(unknown.text().contains("Runner manager not found"), "{}", unknown.text());
    call(&gitlab, "DELETE", "/runners/managers", json!({"token": "x", "system_id": "s_0123456789ab"}))
        .await
        .expect(403);
    call(&gitlab, "DELETE", "/runners/managers", json!({"token": token, "system_id": "s_0123456789ab"}))
        .await
        .expect(204);
    call(&gitlab, "DELETE", "/runners/managers", json!({"token": token, "system_id": "s_0123456789ab"}))
        .await
        .expect(404);
    request_job_as(&gitlab, token).await.expect(204);

    let delete = |since: &'static str| {
        let request = client().delete(format!("{}/api/v4/runners", gitlab.url())).header("If-Unmodified-Since", since);
        send(request.json(&json!({"token": token})))
    };
    delete("Wed, 21 Oct 2015 07:28:00 GMT").await.expect(412);
    call(&gitlab, "DELETE", "/runners", json!({})).await.expect(400);
    call(&gitlab, "DELETE", "/runners", json!({"token": "x"})).await.expect(403);
    let gone = delete("Wed, 21 Oct 2099 07:28:00 GMT").await.expect(204);
    assert!(gone.bytes.is_empty());
    request_job_as(&gitlab, token).await.expect(403);
}

#[tokio::test]
async fn a_reset_token_replaces_the_old_one() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let old = gitlab.runner_token();
    let answer =
        call(&gitlab, "POST", "/runners/reset_authentication_token", json!({"token": old})).await.expect(201).json();
    let new = answer["token"].as_str().unwrap();
    assert!(new.starts_with("glrt-t1_") && new != old);
    assert_eq!(answer["token_expires_at"], Value::Null);
    call(&gitlab, "POST", "/runners/verify", json!({"token": old})).await.expect(403);
    let id = call(&gitlab, "POST", "/runners/verify", json!({"token": new})).await.expect(200).json()["id"].clone();

    let by_user = |path: String, token: String| {
        let request = client().post(format!("{}/api/v4{path}", gitlab.url())).header("PRIVATE-TOKEN", token);
        send(request.header("Content-Type", "application/json").body("null"))
    };
    let path = format!("/runners/{id}/reset_authentication_token");
    by_user(path.clone(), "wrong".into()).await.expect(401);
    by_user("/runners/999/reset_authentication_token".into(), gitlab.private_token()).await.expect(404);
    let newest = by_user(path, gitlab.private_token()).await.expect(201).json();
    call(&gitlab, "POST", "/runners/verify", json!({"token": new})).await.expect(403);
    call(&gitlab, "POST", "/runners/verify", json!({"token": newest["token"]})).await.expect(200);
}

#[tokio::test]
async fn users_make_runners() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let create = |body: Value| {
        let request = client().post(format!("{}/api/v4/user/runners", gitlab.url()));
        send(request.header("Authorization", format!("Bearer {}", gitlab.private_token())).json(&body))
    };
    let answer = create(json!({"runner_type": "instance_type", "tag_list": ["a"], "run_untagged": false}))
        .await
        .expect(201)
        .json();
    assert!(answer["token"].as_str().unwrap().starts_with("glrt-t1_"));
    assert_eq!(runner(&gitlab, &answer["id"]).await["tag_list"], json!(["a"]));
    let projects = user(&gitlab, "GET", "/projects").await.json();
    let project = &projects[0]["id"];
    let answer = create(json!({"runner_type": "project_type", "project_id": project})).await.expect(201).json();
    assert!(answer["token"].as_str().unwrap().starts_with("glrt-t3_"));
    create(json!({"runner_type": "project_type"})).await.expect(400);
    create(json!({"runner_type": "project_type", "project_id": 99})).await.expect(404);
    create(json!({"runner_type": "other"})).await.expect(400);
    create(json!({})).await.expect(400);
    call(&gitlab, "POST", "/user/runners", json!({"runner_type": "instance_type"})).await.expect(401);
}

#[tokio::test]
async fn there_is_no_job_router() {
    let gitlab = FakeGitlab::start().await.unwrap();
    let url = format!("{}/api/v4/runners/router/discovery", gitlab.url());
    send(client().get(&url)).await.expect(403);
    send(client().get(&url).header("RUNNER-TOKEN", gitlab.runner_token())).await.expect(501);
}
