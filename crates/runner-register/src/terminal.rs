//! Questions to the person at the terminal.

use std::io::{IsTerminal, Write};

use anyhow::Context;
use runner_cli::exit::{Exit, Fail};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// The terminal at the standard input. Questions go to stderr, because stdout is for data.
#[derive(Debug)]
pub(crate) struct Terminal(());

impl Terminal {
    /// The terminal, if there is one.
    pub(crate) fn find() -> Option<Self> {
        std::io::stdin().is_terminal().then_some(Self(()))
    }

    /// Asks for one line; an empty one means `default`. `None` at the end of the input.
    pub(crate) async fn ask(&self, question: &str, default: &str) -> anyhow::Result<Option<String>> {
        let shown = if default.is_empty() { String::new() } else { format!(" [{default}]") };
        say(&format!("{question}{shown}: "))?;
        let answer = read_line().await?;
        Ok(answer.map(|text| if text.is_empty() { default.to_owned() } else { text }))
    }

    /// Asks for one line that is not shown.
    pub(crate) async fn ask_secret(&self, question: &str) -> anyhow::Result<Option<String>> {
        let hidden = Hidden::new().exit(Exit::Io)?; // before the question, for those who type fast
        say(&format!("{question}: "))?;
        let answer = read_line().await;
        drop(hidden);
        say("\n")?;
        answer
    }

    /// Tells why an answer cannot be used.
    pub(crate) fn refuse(&self, why: &str) -> anyhow::Result<()> {
        say(&format!("  {why}\n"))
    }
}

fn say(text: &str) -> anyhow::Result<()> {
    std::io::stderr().write_all(text.as_bytes()).exit(Exit::Io)
}

/// Reads on a thread of its own, so that a signal is heard meanwhile.
async fn read_line() -> anyhow::Result<Option<String>> {
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|length| (length > 0).then(|| line.trim().to_owned()))
    });
    read.await.context("reading the terminal")?.context("reading the terminal").exit(Exit::Io)
}

/// While it lives, what is typed is not shown.
struct Hidden(Termios);

impl Hidden {
    fn new() -> rustix::io::Result<Self> {
        let before = tcgetattr(std::io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Drain, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing anyway.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Drain, &self.0);
    }
}
