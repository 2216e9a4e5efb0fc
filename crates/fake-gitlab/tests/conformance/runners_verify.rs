//! V: verifying a runner's token.

use fake_gitlab::FakeGitlab;
use serde_json::{Value, json};

use crate::support::{Answer, call};
use crate::wire::{advance, ask, first_runner, plain, seconds_until, text, with};

async fn verify(gitlab: &FakeGitlab, token: &str) -> Answer {
    call(gitlab, "POST", "/runners/verify", json!({"token": token, "system_id": "s_0123456789ab"})).await
}

/// Registers with the instance's token.
async fn legacy(gitlab: &FakeGitlab) -> Value {
    call(gitlab, "POST", "/runners", json!({"token": gitlab.registration_token()})).await.expect(201).json()
}

#[tokio::test]
async fn v01_no_token_is_400() {
    call(&plain().await, "POST", "/runners/verify", json!({})).await.expect(400);
}

#[tokio::test]
async fn v02_a_wrong_token_is_403() {
    verify(&plain().await, "wrong").await.expect(403);
}

#[tokio::test]
async fn v03_a_registered_token_gives_three_members() {
    let gitlab = with(|settings| settings.runner_token_lifetime = Some(3600)).await;
    let registered = legacy(&gitlab).await;
    let answer = verify(&gitlab, text(&registered["token"])).await.expect(200).json();
    assert_eq!(answer, registered);
    assert_eq!(answer.as_object().unwrap().len(), 3);
    assert_eq!(text(&answer["token_expires_at"]).len(), "2022-01-11T14:39:24.000Z".len());
}

#[tokio::test]
async fn v04_a_created_token_gives_the_same_and_is_not_used_by_it() {
    let gitlab = plain().await;
    let answer = verify(&gitlab, gitlab.runner_token()).await.expect(200).json();
    assert_eq!(answer, json!({"id": 1, "token": gitlab.runner_token(), "token_expires_at": null}));
    assert_eq!(first_runner(&gitlab).await["creation_state"], "started");
    ask(&gitlab, json!({})).await.expect(204);
    assert_eq!(first_runner(&gitlab).await["creation_state"], "finished");
}

#[tokio::test]
async fn v05_a_token_without_an_end_has_null() {
    let gitlab = plain().await;
    let token = legacy(&gitlab).await["token"].clone();
    assert_eq!(verify(&gitlab, text(&token)).await.expect(200).json()["token_expires_at"], Value::Null);
}

#[tokio::test]
async fn v06_a_token_is_good_until_its_end() {
    let gitlab = with(|settings| settings.runner_token_lifetime = Some(100)).await;
    let token = legacy(&gitlab).await["token"].clone();
    advance(&gitlab, 50);
    verify(&gitlab, text(&token)).await.expect(200);
    advance(&gitlab, 50);
    verify(&gitlab, text(&token)).await.expect(403);
}

#[tokio::test]
async fn v07_verifying_is_contact() {
    let gitlab = plain().await;
    assert_eq!(first_runner(&gitlab).await["contacted_at"], Value::Null);
    verify(&gitlab, gitlab.runner_token()).await.expect(200);
    assert!(seconds_until(&first_runner(&gitlab).await["contacted_at"]).abs() <= 5);
    advance(&gitlab, 1000);
    verify(&gitlab, gitlab.runner_token()).await.expect(200);
    assert!(seconds_until(&first_runner(&gitlab).await["contacted_at"]) >= 995);
}

#[tokio::test]
async fn v08_a_machine_is_made_once() {
    let gitlab = plain().await;
    for _ in 0..2 {
        verify(&gitlab, gitlab.runner_token()).await.expect(200);
        let managers = first_runner(&gitlab).await["managers"].clone();
        assert_eq!(managers.as_array().unwrap().len(), 1);
        assert_eq!(managers[0]["system_id"], "s_0123456789ab");
    }
    call(&gitlab, "POST", "/runners/verify", json!({"token": gitlab.runner_token()})).await.expect(200);
    assert_eq!(first_runner(&gitlab).await["managers"][1]["system_id"], "<legacy>");
}
