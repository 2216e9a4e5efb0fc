//! D: removing runners and machines.

use std::time::{Duration, SystemTime};

use fake_gitlab::FakeGitlab;
use serde_json::{Value, json};

use crate::support::{Answer, call, client, send};
use crate::wire::{ask, first_runner, plain, runner};

const MACHINE: &str = "s_0123456789ab";

/// A `DELETE` with the first runner's token and an `If-Unmodified-Since` of now plus so many
/// seconds.
async fn delete_unmodified(gitlab: &FakeGitlab, path: &str, offset: i64) -> Answer {
    let distance = Duration::from_secs(offset.unsigned_abs());
    let since = if offset < 0 { SystemTime::now() - distance } else { SystemTime::now() + distance };
    let request = client().delete(format!("{}/api/v4{path}", gitlab.url()));
    let request = request.header("If-Unmodified-Since", httpdate::fmt_http_date(since));
    send(request.json(&json!({"token": gitlab.runner_token(), "system_id": MACHINE}))).await
}

async fn delete(gitlab: &FakeGitlab, path: &str, body: Value) -> Answer {
    call(gitlab, "DELETE", path, body).await
}

#[tokio::test]
async fn d01_no_token_is_400_and_a_wrong_one_403() {
    let gitlab = plain().await;
    delete(&gitlab, "/runners", json!({})).await.expect(400);
    delete(&gitlab, "/runners", json!({"token": "wrong"})).await.expect(403);
}

#[tokio::test]
async fn d02_a_runner_goes_with_its_machines() {
    let gitlab = plain().await;
    ask(&gitlab, json!({})).await.expect(204);
    let answer = delete(&gitlab, "/runners", json!({"token": gitlab.runner_token()})).await.expect(204);
    assert!(answer.bytes.is_empty());
    assert_eq!(runner(&gitlab, &json!(1)).await, None);
    ask(&gitlab, json!({})).await.expect(403);
}

#[tokio::test]
async fn d03_deleting_changes_nothing_else() {
    let gitlab = plain().await;
    ask(&gitlab, json!({})).await.expect(204);
    let before = first_runner(&gitlab).await;
    crate::wire::advance(&gitlab, 100);
    let body = json!({"token": gitlab.runner_token(), "system_id": "s_anotherone00"});
    delete(&gitlab, "/runners/managers", body).await.expect(404);
    assert_eq!(first_runner(&gitlab).await, before);
}

#[tokio::test]
async fn d04_a_runner_changed_since_stays() {
    let gitlab = plain().await;
    ask(&gitlab, json!({})).await.expect(204);
    for path in ["/runners", "/runners/managers"] {
        delete_unmodified(&gitlab, path, -3600).await.expect(412);
    }
    assert_eq!(first_runner(&gitlab).await["managers"].as_array().unwrap().len(), 1);
    for path in ["/runners/managers", "/runners"] {
        delete_unmodified(&gitlab, path, 3600).await.expect(204);
    }
}

#[tokio::test]
async fn d05_a_machine_goes_and_its_runner_stays() {
    let gitlab = plain().await;
    ask(&gitlab, json!({})).await.expect(204);
    ask(&gitlab, json!({"system_id": "r_another00000"})).await.expect(204);
    let body = json!({"token": gitlab.runner_token(), "system_id": MACHINE});
    let answer = delete(&gitlab, "/runners/managers", body).await.expect(204);
    assert!(answer.bytes.is_empty());
    let managers = first_runner(&gitlab).await["managers"].clone();
    assert_eq!(managers.as_array().unwrap().len(), 1);
    assert_eq!(managers[0]["system_id"], "r_another00000");
}

#[tokio::test]
async fn d06_an_unknown_machine_is_404() {
    let gitlab = plain().await;
    let body = json!({"token": gitlab.runner_token(), "system_id": "s_unknown00000"});
    let answer = delete(&gitlab, "/runners/managers", body).await.expect(404);
    assert!(answer.text().contains("Runner manager not found"), "{}", answer.text());
}

#[tokio::test]
async fn d07_removing_a_machine_needs_token_and_machine() {
    let gitlab = plain().await;
    for (body, status) in [
        (json!({"token": gitlab.runner_token()}), 400),
        (json!({"system_id": MACHINE}), 400),
        (json!({"token": "wrong", "system_id": MACHINE}), 403),
    ] {
        delete(&gitlab, "/runners/managers", body).await.expect(status);
    }
}

#[tokio::test]
async fn d08_parameters_of_delete_are_read_from_its_body() {
    let gitlab = plain().await;
    ask(&gitlab, json!({})).await.expect(204);
    let form = format!("token={}&system_id={MACHINE}", gitlab.runner_token());
    let request = client().delete(format!("{}/api/v4/runners/managers", gitlab.url()));
    send(request.header("Content-Type", "application/x-www-form-urlencoded").body(form)).await.expect(204);
    delete(&gitlab, "/runners", json!({"token": gitlab.runner_token()})).await.expect(204);
}
