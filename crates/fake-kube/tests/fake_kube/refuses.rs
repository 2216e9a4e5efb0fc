//! What the server refuses, and how it says so.

use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Status;
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::bed::{Bed, pod};

fn status<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> Box<Status> {
    match result {
        Err(kube::Error::Api(status)) => status,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn malformed_pods_are_422_and_name_the_field() {
    let bed = Bed::new().await;
    for (pointer, value, field, reason) in [
        ("/metadata/name", json!("Upper"), "metadata.name", "FieldValueInvalid"),
        ("/metadata/name", json!("a".repeat(254)), "metadata.name", "FieldValueInvalid"),
        ("/metadata/labels/app", json!("not valid"), "metadata.labels", "FieldValueInvalid"),
        ("/metadata/annotations", json!({"no good": ""}), "metadata.annotations", "FieldValueInvalid"),
        ("/metadata/annotations", json!({"big": "x".repeat(262_145)}), "metadata.annotations", "FieldValueTooLong"),
        (
            "/metadata/ownerReferences",
            json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": ""}]),
            "metadata.ownerReferences[0].uid",
            "FieldValueRequired",
        ),
        ("/spec/containers", json!([]), "spec.containers", "FieldValueRequired"),
        ("/spec/containers/0/image", json!(""), "spec.containers[0].image", "FieldValueRequired"),
        ("/spec/containers/0/name", json!("Main"), "spec.containers[0].name", "FieldValueInvalid"),
        (
            "/spec/containers/0/volumeMounts",
            json!([{"name": "none", "mountPath": "/x"}]),
            "spec.containers[0].volumeMounts[0].name",
            "FieldValueNotFound",
        ),
        (
            "/spec/containers/0/env",
            json!([{"name": "A=B", "value": ""}]),
            "spec.containers[0].env[0].name",
            "FieldValueInvalid",
        ),
        (
            "/spec/containers/0/env",
            json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": ""}}}]),
            "spec.containers[0].env[0].valueFrom.secretKeyRef.key",
            "FieldValueRequired",
        ),
        (
            "/spec/containers/0/imagePullPolicy",
            json!("Sometimes"),
            "spec.containers[0].imagePullPolicy",
            "FieldValueNotSupported",
        ),
        (
            "/spec/initContainers",
            json!([{"name": "main", "image": "a"}]),
            "spec.containers[0].name",
            "FieldValueDuplicate",
        ),
        ("/spec/volumes", json!([{"name": "v"}, {"name": "v"}]), "spec.volumes[1].name", "FieldValueDuplicate"),
        (
            "/spec/volumes",
            json!([{"name": "v", "secret": {}}]),
            "spec.volumes[0].secret.secretName",
            "FieldValueRequired",
        ),
        ("/spec/restartPolicy", json!("Maybe"), "spec.restartPolicy", "FieldValueNotSupported"),
        ("/spec/activeDeadlineSeconds", json!(0), "spec.activeDeadlineSeconds", "FieldValueInvalid"),
    ] {
        let mut manifest = pod("p", "true");
        set(&mut manifest, pointer, value);
        let typed = serde_json::from_value(manifest).unwrap();
        let refused = status(bed.api().create(&PostParams::default(), &typed).await);
        let causes = &refused.details.as_ref().unwrap().causes;
        assert_eq!((refused.code, refused.reason.as_str()), (422, "Invalid"), "{pointer}");
        let found = causes.iter().any(|cause| cause.field == field && cause.reason == reason);
        assert!(found, "{pointer}: {refused:#?}");
    }
    assert!(bed.kube.pods().is_empty());
}

fn set(object: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[key] = value;
}

#[tokio::test]
async fn a_name_is_taken_once() {
    let bed = Bed::new().await;
    bed.create(pod("once", "true")).await;
    let again = serde_json::from_value(pod("once", "true")).unwrap();
    let refused = status(bed.api().create(&PostParams::default(), &again).await);
    assert_eq!(
        (refused.code, refused.reason.as_str(), refused.message.as_str()),
        (409, "AlreadyExists", "pods \"once\" already exists")
    );
    let details = refused.details.unwrap();
    assert_eq!((details.name.as_str(), details.kind.as_str()), ("once", "pods"));
    let mut generated = pod("", "true");
    generated["metadata"] = json!({"generateName": "gen-"});
    let (one, two) = (bed.create(generated.clone()).await, bed.create(generated).await);
    assert_ne!(one.metadata.name, two.metadata.name);
    assert_eq!(one.metadata.name.unwrap().len(), "gen-".len() + 5);
}

#[tokio::test]
async fn a_pods_spec_hardly_changes() {
    let bed = Bed::new().await;
    let mut manifest = pod("fixed", "sleep 600");
    manifest["spec"]["activeDeadlineSeconds"] = 600.into();
    bed.create(manifest).await;
    for (patch, code) in [
        (json!({"spec": {"containers": [{"name": "main", "image": "other:2"}]}}), 200),
        (json!({"spec": {"activeDeadlineSeconds": 500}}), 200),
        (json!({"spec": {"activeDeadlineSeconds": 501}}), 422),
        (json!({"spec": {"activeDeadlineSeconds": null}}), 422),
        (json!({"spec": {"tolerations": [{"key": "k", "operator": "Exists"}]}}), 200),
        (json!({"spec": {"restartPolicy": "Always"}}), 422),
        (json!({"spec": {"containers": [{"name": "main", "command": ["other"]}]}}), 422),
        (json!({"spec": {"containers": [{"name": "more", "image": "x"}]}}), 422),
        (json!({"metadata": {"labels": {"new": "label"}}}), 200),
        (json!({"metadata": {"uid": "other"}}), 409),
        (json!({"metadata": {"resourceVersion": "1"}}), 409),
        (json!({"metadata": {"name": "other"}}), 422),
    ] {
        let text = patch.to_string();
        let result = bed.api().patch("fixed", &PatchParams::default(), &Patch::Strategic(patch)).await;
        let got = if result.is_ok() { 200 } else { status(result).code };
        assert_eq!(got, code, "{text}");
    }
}

#[tokio::test]
async fn an_update_of_an_old_version_is_a_conflict() {
    let bed = Bed::new().await;
    let mut old = bed.create_secret(json!({"metadata": {"name": "s"}, "stringData": {"a": "1"}})).await;
    let patch = Patch::Merge(json!({"metadata": {"labels": {"x": "y"}}}));
    bed.secrets().patch("s", &PatchParams::default(), &patch).await.unwrap();
    old.type_ = Some("Opaque".into());
    let refused = status(bed.secrets().replace("s", &PostParams::default(), &old).await);
    assert_eq!((refused.code, refused.reason.as_str()), (409, "Conflict"));
    old.metadata.resource_version = None;
    bed.secrets().replace("s", &PostParams::default(), &old).await.unwrap();
}

#[tokio::test]
async fn secrets_are_checked() {
    let bed = Bed::new().await;
    let large = "x".repeat(1024 * 1024 + 1);
    for (secret, field) in [
        (json!({"metadata": {"name": "s"}, "stringData": {"bad key": ""}}), "data[bad key]"),
        (json!({"metadata": {"name": "s"}, "stringData": {"large": large}}), "data"),
        (json!({"metadata": {"name": "s"}, "type": "kubernetes.io/dockerconfigjson"}), "data[.dockerconfigjson]"),
    ] {
        let typed = serde_json::from_value(secret).unwrap();
        let refused = status(bed.secrets().create(&PostParams::default(), &typed).await);
        assert_eq!(refused.code, 422);
        assert_eq!(refused.details.unwrap().causes[0].field, field);
    }
    let fixed = json!({"metadata": {"name": "fixed"}, "immutable": true, "stringData": {"a": "1"}});
    bed.create_secret(fixed).await;
    let patch = Patch::Merge(json!({"stringData": {"a": "2"}}));
    assert_eq!(status(bed.secrets().patch("fixed", &PatchParams::default(), &patch).await).code, 422);
}

#[tokio::test]
async fn a_dry_run_checks_and_keeps_nothing() {
    let bed = Bed::new().await;
    let params = PostParams { dry_run: true, ..Default::default() };
    let good = serde_json::from_value(pod("dry", "true")).unwrap();
    bed.api().create(&params, &good).await.unwrap();
    let bad = serde_json::from_value(pod("DRY", "true")).unwrap();
    assert_eq!(status(bed.api().create(&params, &bad).await).code, 422);
    assert!(bed.kube.pods().is_empty());
}

#[tokio::test]
async fn strangers_and_unknown_places_are_refused() {
    let bed = Bed::with(fake_kube::FakeKube::builder().namespace("ci")).await;
    let mut config = Config::new(bed.kube.url().parse().unwrap());
    config.auth_info.token = Some("wrong".to_owned().into());
    let stranger = kube::Api::<k8s_openapi::api::core::v1::Pod>::namespaced(Client::try_from(config).unwrap(), "ci");
    assert_eq!(status(stranger.get("p").await).code, 401);
    let elsewhere = kube::Api::namespaced(bed.client.clone(), "nowhere");
    let typed: k8s_openapi::api::core::v1::Pod = serde_json::from_value(pod("p", "true")).unwrap();
    let refused = status(elsewhere.create(&PostParams::default(), &typed).await);
    assert_eq!((refused.code, refused.message.as_str()), (404, "namespaces \"nowhere\" not found"));
    let mut manifest = pod("p", "true");
    manifest["spec"]["serviceAccountName"] = "nobody".into();
    let typed = serde_json::from_value(manifest).unwrap();
    assert_eq!(status(bed.api().create(&PostParams::default(), &typed).await).code, 403);
    let mut manifest = pod("p", "true");
    manifest["metadata"]["namespace"] = "other".into();
    let typed = serde_json::from_value(manifest).unwrap();
    assert_eq!(status(bed.api().create(&PostParams::default(), &typed).await).code, 400);
}
