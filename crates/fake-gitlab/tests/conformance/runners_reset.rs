//! T: new tokens for old.

use fake_gitlab::FakeGitlab;
use serde_json::{Value, json};

use crate::support::{Answer, call, client, send};
use crate::wire::{advance, plain, seconds_until, text, with};

async fn reset(gitlab: &FakeGitlab, token: &str) -> Answer {
    call(gitlab, "POST", "/runners/reset_authentication_token", json!({"token": token})).await
}

async fn verify(gitlab: &FakeGitlab, token: &str) -> Answer {
    call(gitlab, "POST", "/runners/verify", json!({"token": token})).await
}

#[tokio::test]
async fn t01_a_new_token_ends_the_old_one() {
    let gitlab = plain().await;
    let answer = reset(&gitlab, gitlab.runner_token()).await.expect(201).json();
    assert_eq!(answer["token_expires_at"], Value::Null);
    assert!(text(&answer["token"]).starts_with("glrt-") && answer["token"] != gitlab.runner_token());
    verify(&gitlab, gitlab.runner_token()).await.expect(403);
    verify(&gitlab, text(&answer["token"])).await.expect(200);
}

#[tokio::test]
async fn t02_the_new_token_lives_as_long_as_the_instance_says() {
    let days = 5 * 24 * 3600;
    let gitlab = with(|settings| settings.runner_token_lifetime = Some(days)).await;
    advance(&gitlab, 3600);
    let answer = reset(&gitlab, gitlab.runner_token()).await.expect(201).json();
    let left = seconds_until(&answer["token_expires_at"]) - 3600;
    assert!((left - i64::try_from(days).unwrap()).abs() <= 5, "{left}");
}

#[tokio::test]
async fn t03_an_expired_token_cannot_be_renewed() {
    let gitlab = with(|settings| settings.runner_token_lifetime = Some(60)).await;
    advance(&gitlab, 60);
    reset(&gitlab, gitlab.runner_token()).await.expect(403);
    gitlab.change_settings(|settings| settings.clock_ahead = 0);
    verify(&gitlab, gitlab.runner_token()).await.expect(200);
}

#[tokio::test]
async fn t04_an_unknown_token_is_403_and_none_is_400() {
    let gitlab = plain().await;
    reset(&gitlab, "garbage").await.expect(403);
    call(&gitlab, "POST", "/runners/reset_authentication_token", json!({})).await.expect(400);
}

#[tokio::test]
async fn t05_users_renew_by_number() {
    let gitlab = plain().await;
    let by_user = |id: u64, token: String| {
        let url = format!("{}/api/v4/runners/{id}/reset_authentication_token", gitlab.url());
        send(client().post(url).header("PRIVATE-TOKEN", token).header("Content-Type", "application/json").body("null"))
    };
    by_user(1, gitlab.read_only_token()).await.expect(403);
    by_user(999, gitlab.private_token()).await.expect(404);
    by_user(1, "wrong".into()).await.expect(401);
    verify(&gitlab, gitlab.runner_token()).await.expect(200);
    let answer = by_user(1, gitlab.private_token()).await.expect(201).json();
    verify(&gitlab, gitlab.runner_token()).await.expect(403);
    verify(&gitlab, text(&answer["token"])).await.expect(200);
}
