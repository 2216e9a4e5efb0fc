//! Logging goes to stderr only: stdout is the pipe.

use std::io::IsTerminal;

use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::{Common, LogFormat};

pub(crate) fn init(args: &Common) {
    let filter = args.log_level.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
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
