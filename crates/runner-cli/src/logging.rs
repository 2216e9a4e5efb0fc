//! Logging goes to stderr only: stdout is the pipe.

use std::io::IsTerminal;

use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::{Common, LogFormat};

pub(crate) fn init(args: &Common) {
    let filter = filter(&args.log_level);
    let layer =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let layer = match args.log_format {
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
        // journald stamps the records itself
        LogFormat::Text if std::env::var_os("JOURNAL_STREAM").is_some() => {
            layer.without_time().with_target(false).boxed()
        }
        LogFormat::Text => layer.with_target(false).boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(filter)).init();
}

/// A single level is meant for the tools; what their libraries say below a warning is noise unless asked for by name.
fn filter(text: &str) -> Targets {
    match text.parse::<LevelFilter>() {
        Ok(level) => Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("runner_", level),
        Err(_) => text.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO)),
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::filter;

    #[test]
    fn a_level_is_for_the_tools_and_libraries_stay_quiet() {
        let debug = filter("debug");
        assert!(debug.would_enable("runner_poll::take", &Level::DEBUG));
        assert!(!debug.would_enable("hyper_util::client", &Level::INFO));
        assert!(filter("info,kube=debug").would_enable("kube_client", &Level::DEBUG));
        assert!(!filter("error").would_enable("kube_client", &Level::WARN));
    }
}
