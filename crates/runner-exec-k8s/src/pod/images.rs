//! Which images run: the job's, the helper's, and whether the job may have them.
//!
//! Source: GitLab Runner's Kubernetes executor, "image checks" and "helper image selection".

use runner_core::config::Kubernetes;
use runner_core::glob::Glob;
use runner_core::job::{Image, Payload};
use serde_json::Value;

use super::{Note, PodInput, Refusal};

/// The helper's image where nothing else is set: the one of this release.
pub(crate) const DEFAULT_HELPER_IMAGE: &str = concat!("runner-tools/helper:", env!("CARGO_PKG_VERSION"));

/// `--helper-image`, else `helper_image`, else [`DEFAULT_HELPER_IMAGE`].
pub(super) fn helper_image(input: &PodInput<'_>, config: &Kubernetes) -> String {
    match &input.args.helper_image {
        Some(image) => image.clone(),
        None if config.helper_image.is_empty() => DEFAULT_HELPER_IMAGE.to_owned(),
        None => input.variables.expand(&config.helper_image),
    }
}

/// The job's image, else the runner's default; expanded and allowed.
pub(super) fn build_image(input: &PodInput<'_>, config: &Kubernetes, notes: &mut Vec<Note>) -> Result<String, Refusal> {
    let fallback = input.variables.expand(&config.image);
    let wanted = input.payload.image.as_ref().map(|image| input.variables.expand(&image.name)).unwrap_or_default();
    if !wanted.is_empty() {
        let always = [fallback.as_str(), untagged(&helper_image(input, config)).0].map(str::to_owned);
        check_allowed(&wanted, "images", &config.allowed_images, &always, notes)?;
        return Ok(wanted);
    }
    if fallback.is_empty() {
        return Err(Refusal::configuration("no image specified and no default set in config"));
    }
    notes.push(Note::Plain("Using default image".to_owned()));
    Ok(fallback)
}

/// Refuses an image that no pattern allows. `always` are allowed whatever the list says; `what` is `images` or `services`.
pub(super) fn check_allowed(
    image: &str,
    what: &str,
    allowed: &[String],
    always: &[String],
    notes: &mut Vec<Note>,
) -> Result<(), Refusal> {
    if allowed.is_empty() || always.iter().any(|name| name == image) {
        return Ok(());
    }
    for pattern in allowed {
        let glob = Glob::new(pattern)
            .map_err(|err| Refusal::configuration(format!("allowed_{what}: pattern {pattern:?}: {err}")))?;
        if glob.matches(image) {
            return Ok(());
        }
    }
    notes.push(Note::Error(format!("The {image:?} image is not present on list of allowed {what}:")));
    notes.extend(allowed.iter().map(|pattern| Note::Plain(format!("- {pattern}"))));
    notes.push(Note::Plain(format!(
        "Please check runner's allowed_{what} configuration: \
         https://docs.gitlab.com/runner/configuration/advanced-configuration/"
    )));
    Err(Refusal::configuration("disallowed image"))
}

/// A reference without tag and digest, and the rest.
pub(super) fn untagged(image: &str) -> (&str, &str) {
    let (name, digest) = image.split_at(image.find('@').unwrap_or(image.len()));
    let last = name.rfind('/').map_or(0, |at| at + 1);
    match name[last..].find(':') {
        Some(colon) => image.split_at(last + colon),
        None => (name, digest),
    }
}

/// Refuses options of the job's image and services that no executor has, in GitLab Runner's words.
pub(crate) fn check_executor_options(payload: &Payload) -> Result<(), Refusal> {
    payload.image.iter().try_for_each(|image| check_options(image, "image"))?;
    payload.services.iter().try_for_each(|service| check_options(service, "services"))
}

fn check_options(image: &Image, what: &str) -> Result<(), Refusal> {
    let options = &image.executor_opts;
    unsupported(options, what, "executor_opts", &["docker", "kubernetes"])?;
    unsupported(&options["docker"], what, "docker executor", &["platform", "user"])?;
    unsupported(&options["kubernetes"], what, "kubernetes executor", &["user"])
}

fn unsupported(options: &Value, what: &str, place: &str, supported: &[&str]) -> Result<(), Refusal> {
    let keys = options.as_object().into_iter().flat_map(|map| map.keys());
    let unknown: Vec<_> = keys.map(String::as_str).filter(|key| !supported.contains(key)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Refusal::system(format!(
        "Unsupported {what:?} options [{}] for {place:?}; supported options are [{}]",
        unknown.join(" "),
        supported.join(" ")
    )))
}

#[cfg(test)]
mod tests {
    use runner_core::failure::FailureReason;
    use runner_core::text;
    use serde_json::json;

    use super::super::tests::Fixture;
    use super::*;

    #[test]
    fn references_lose_tag_and_digest() {
        for (image, name) in [
            ("alpine", "alpine"),
            ("alpine:3", "alpine"),
            ("host:5000/a/b", "host:5000/a/b"),
            ("host:5000/a/b:1", "host:5000/a/b"),
            ("a/b@sha256:0123", "a/b"),
            ("a/b:1@sha256:0123", "a/b"),
        ] {
            assert_eq!(untagged(image).0, name);
        }
    }

    #[test]
    fn j149_the_jobs_image_is_expanded_and_falls_back_to_the_runners() {
        for (image, default, expected) in [
            (json!({"name": "$IMG:$TAG"}), "default:1", Ok("alpine:3")),
            (json!(null), "$IMG:2", Ok("alpine:2")),
            (json!({"name": ""}), "default:1", Ok("default:1")),
            (json!({"name": "alpine:$MISSING"}), "", Ok("alpine:")),
            (json!(null), "", Err("no image specified and no default set in config")),
        ] {
            let variables = json!([{"key": "IMG", "value": "alpine"}, {"key": "TAG", "value": "3"}]);
            let fixture = Fixture::new(json!({"image": image, "variables": variables}), json!({"image": default}));
            match (fixture.try_plan(), expected) {
                (Ok(plan), Ok(image)) => assert_eq!(plan.container("build").image.as_deref(), Some(image)),
                (Err(refusal), Err(message)) => {
                    assert_eq!(refusal.message, message);
                    assert_eq!(refusal.reason, FailureReason::RunnerConfigurationError);
                }
                (result, _) => panic!("{:?}", result.map(|plan| plan.pod)),
            }
        }
    }

    #[test]
    fn only_allowed_images_run() {
        let allowed = ["ruby:*", "my.registry.tld:5000/**/*"];
        for (image, ok) in [
            ("ruby:3", true),
            ("my.registry.tld:5000/a/b:1", true),
            ("default:1", true),
            ("evil:1", false),
            ("evil/ruby:3", false),
        ] {
            let config = json!({"image": "default:1", "allowed_images": allowed});
            let result = Fixture::new(json!({"image": {"name": image}}), config).try_plan();
            assert_eq!(result.is_ok(), ok, "{image}");
            if let Err(refusal) = result {
                assert_eq!(refusal.message, "disallowed image");
                let lines: Vec<_> = refusal.notes.iter().map(String::as_str).collect();
                let at = lines.iter().position(|line| line.contains("not present on list of allowed images")).unwrap();
                let heading = format!("The {image:?} image is not present on list of allowed images:");
                assert_eq!(lines[at], text::error(&heading));
                assert_eq!(
                    lines[at + 1..at + 3],
                    [text::plain("- ruby:*"), text::plain("- my.registry.tld:5000/**/*")]
                );
            }
        }
    }

    #[test]
    fn the_flag_beats_the_helper_image_of_the_configuration() {
        let config = json!({"helper_image": "mine/helper:$CI_RUNNER_VERSION"});
        let variables = json!([{"key": "CI_RUNNER_VERSION", "value": "1"}]);
        let mut fixture = Fixture::new(json!({"variables": variables}), config);
        let image = |fixture: &Fixture| fixture.plan().container("helper").image.unwrap();
        assert_eq!(image(&fixture), "mine/helper:1");
        fixture.args.helper_image = Some("other:2".to_owned());
        assert_eq!(image(&fixture), "other:2");
        assert_eq!(image(&Fixture::new(json!({}), json!({}))), DEFAULT_HELPER_IMAGE);
    }

    #[test]
    fn unknown_executor_options_are_refused() {
        for (options, message) in [
            (
                json!({"docker": {"platform": "x", "foo": 1}}),
                r#"Unsupported "image" options [foo] for "docker executor"; supported options are [platform user]"#,
            ),
            (
                json!({"kubernetes": {"bar": 1, "foo": 1}}),
                r#"Unsupported "image" options [bar foo] for "kubernetes executor"; supported options are [user]"#,
            ),
            (
                json!({"podman": {}}),
                r#"Unsupported "image" options [podman] for "executor_opts"; supported options are [docker kubernetes]"#,
            ),
        ] {
            let fixture = Fixture::new(json!({"image": {"name": "a", "executor_opts": options}}), json!({}));
            let refusal = check_executor_options(fixture.input().payload).unwrap_err();
            assert_eq!(refusal.message, message);
            assert_eq!(refusal.reason, FailureReason::RunnerSystemFailure);
        }
    }
}
