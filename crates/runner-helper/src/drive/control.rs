//! What the executor tells the helper, as levels that can be waited for.

use std::io;
use std::path::Path;

use runner_core::control::{ANNOTATION_ACKNOWLEDGED, ANNOTATION_CANCEL, ANNOTATION_REPLAY, Cancel, parse_annotations};
use tokio::sync::watch;

use super::watch::Watch;
use crate::error::HelperError;

/// The annotations that matter, as they were last read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Control {
    /// The job is to be stopped.
    pub(crate) cancel: Option<Cancel>,
    /// So many bytes of log text are durable elsewhere.
    pub(crate) acknowledged: u64,
    /// Print the text again from this offset; the text after it makes two requests for one offset differ.
    pub(crate) replay: Option<(u64, String)>,
}

impl Control {
    fn parse(file: &str) -> Self {
        let annotations = parse_annotations(file);
        let get = |key| annotations.get(key).map(String::as_str);
        Self {
            cancel: get(ANNOTATION_CANCEL).map(Cancel::parse),
            acknowledged: get(ANNOTATION_ACKNOWLEDGED).and_then(|n| n.trim().parse().ok()).unwrap_or(0),
            replay: get(ANNOTATION_REPLAY).and_then(|value| {
                let (offset, request) = value.split_once('/')?;
                Some((offset.parse().ok()?, request.to_owned()))
            }),
        }
    }
}

/// Follows the annotations file for as long as the runtime lives.
pub(crate) fn follow(file: &Path) -> Result<watch::Receiver<Control>, HelperError> {
    let mut watch = Watch::beside(file)?;
    // A file that is missing or cannot be read says nothing new; the next change may.
    let read = |file: &Path| std::fs::read_to_string(file).ok().map(|text| Control::parse(&text));
    let (send, receive) = watch::channel(read(file).unwrap_or_default());
    let file = file.to_owned();
    tokio::spawn(async move {
        loop {
            if let Some(now) = read(&file) {
                send.send_if_modified(|last| {
                    *last != now && {
                        *last = now;
                        true
                    }
                });
            }
            let changed: io::Result<()> = watch.changed().await;
            if changed.is_err() || send.is_closed() {
                return;
            }
        }
    });
    Ok(receive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_become_levels() {
        let file = "runner-tools.dev/cancel=\"canceled\"\nrunner-tools.dev/acknowledged=\"4096\"\n\
                    runner-tools.dev/replay-from=\"12/3\"\nother=\"x\"\n";
        let expected =
            Control { cancel: Some(Cancel::Canceled), acknowledged: 4096, replay: Some((12, "3".to_owned())) };
        assert_eq!(Control::parse(file), expected);
        assert_eq!(Control::parse("runner-tools.dev/acknowledged=\"x\"\n"), Control::default());
    }
}
