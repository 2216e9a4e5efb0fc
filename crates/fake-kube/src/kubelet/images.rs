//! Images: all are there, but for those that a fault names and those that are no image names.

use std::time::Duration;

use tokio::time::Instant;

use super::container::State;
use super::start::MAX_BACK_OFF;
use super::worker::Worker;
use crate::json::text;

impl Worker {
    /// Gets the image; `false` if it is not to be had now.
    pub(super) fn pull(&mut self, index: usize, now: Instant) -> bool {
        let base = self.cluster.config.back_off;
        let settle = self.cluster.config.status_lag.max(Duration::from_millis(50));
        let container = &mut self.containers[index];
        container.settle_at = None;
        let image = container.image().to_owned();
        let policy = text(&container.spec, "/imagePullPolicy").to_owned();
        let fault = invalid_name(&image).or_else(|| self.cluster.faults.strike_image(&image, &policy));
        let Some((reason, message)) = fault else {
            if container.last.is_none() {
                container.back_off = Duration::ZERO;
                let message = format!("Container image {image:?} already present on machine");
                self.event("Normal", "Pulled", &message, Some(index));
            }
            return true;
        };
        let pause = if container.back_off.is_zero() { base } else { (container.back_off * 2).min(MAX_BACK_OFF) };
        container.back_off = pause;
        container.retry_at = Some(now + pause);
        if reason == "ErrImagePull" {
            container.settle_at = Some(now + settle);
        }
        container.set(State::waiting(&reason, &message));
        if reason == "ErrImagePull" {
            self.event("Warning", "Failed", &format!("Failed to pull image {image:?}: {message}"), Some(index));
        }
        self.event("Warning", "Failed", &format!("Error: {reason}"), Some(index));
        false
    }
}

/// A name that is no image reference, as waiting reason and message.
fn invalid_name(image: &str) -> Option<(String, String)> {
    let repository = image.split('@').next().unwrap_or_default();
    let repository = match repository.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => repository,
    };
    let path = match repository.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => path,
        _ => repository,
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    let why = if path.chars().any(|c| c.is_ascii_uppercase()) {
        "repository name must be lowercase"
    } else if path.is_empty() || !path.chars().all(allowed) || path.starts_with(['-', '.', '/']) {
        "invalid reference format"
    } else {
        return None;
    };
    let message = format!(
        "Failed to apply default image tag {image:?}: couldn't parse image name {image:?}: invalid reference format: {why}"
    );
    Some(("InvalidImageName".to_owned(), message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_names_are_checked() {
        for (image, valid) in [
            ("alpine", true),
            ("alpine:3.20", true),
            ("registry.example.com:5000/Group/app", false),
            ("registry.Example.com/group/app:V1", true),
            ("a/b@sha256:0123", true),
            ("Alpine", false),
            ("with space", false),
            ("$IMAGE", false),
            ("localhost/x", true),
            (":tag", false),
        ] {
            assert_eq!(invalid_name(image).is_none(), valid, "{image}");
        }
    }
}
