//! Runs the pipe and starts it again when it ends, as the units in `scripts/units` do.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::processes;
use crate::schedule::{TOOLS, Tool};
use crate::world::Places;

/// How often the programs are looked at. It bounds nothing; the standard library has no event for the end of a child.
const LOOK: Duration = Duration::from_millis(5);

/// Exit codes after which a pipe is started again: its neighbour was lost, or a signal of ours ended it.
const STARTED_AGAIN: [i32; 3] = [75, 128 + 9, 128 + 15];

/// A supervised pipe. When it is dropped its programs are killed.
pub(crate) struct Supervisor {
    shared: Arc<Shared>,
    looping: JoinHandle<anyhow::Result<()>>,
}

struct Shared {
    places: Places,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Those of the present run, in the order of the pipe; none between two runs.
    children: Vec<Child>,
    runs: usize,
    is_draining: bool,
    /// Done once before the next start.
    before_start: Option<Box<dyn FnOnce() + Send>>,
    violations: Vec<String>,
}

impl Supervisor {
    /// Starts the pipe.
    pub(crate) fn start(places: Places) -> Self {
        let shared = Arc::new(Shared { places, state: Mutex::default() });
        let looping = tokio::spawn(supervise(Arc::clone(&shared)));
        Self { shared, looping }
    }

    /// Sends a signal to those of `tools` that run; returns the number of the run that got it.
    pub(crate) fn signal(&self, tools: &[Tool], signal: Signal) -> usize {
        let mut state = self.shared.state();
        state.signal(tools, signal);
        state.runs
    }

    /// The same, if the run `run` is still going on.
    pub(crate) fn signal_in(&self, run: usize, tools: &[Tool], signal: Signal) {
        let mut state = self.shared.state();
        if state.runs == run {
            state.signal(tools, signal);
        }
    }

    /// Kills all and does something before the next start.
    pub(crate) fn kill_and(&self, before_start: impl FnOnce() + Send + 'static) {
        let mut state = self.shared.state();
        state.before_start = Some(Box::new(before_start));
        state.signal(&TOOLS, Signal::KILL);
    }

    /// How often the pipe was started.
    pub(crate) fn runs(&self) -> usize {
        self.shared.state().runs
    }

    /// Process ids of the programs that run.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.shared.state().children.iter().map(Child::id).collect()
    }

    /// Drains the pipe, and returns once it has ended with what was wrong on the way.
    pub(crate) async fn drain(&mut self) -> anyhow::Result<Vec<String>> {
        self.shared.state().is_draining = true;
        let shared = Arc::clone(&self.shared);
        let telling = async move {
            let mut told = 0;
            loop {
                told = shared.state().tell_to_drain(told);
                sleep(LOOK).await;
            }
        };
        tokio::select! {
            looped = &mut self.looping => looped??,
            () = telling => {}
        }
        Ok(std::mem::take(&mut self.shared.state().violations))
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.looping.abort();
        for child in &mut self.shared.state().children {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Sends QUIT once to each run, as soon as it listens for it; `told` is the last run that got it, and so is the result.
    fn tell_to_drain(&mut self, told: usize) -> usize {
        let listens = self.children.first().is_some_and(|poll| processes::catches(poll.id(), Signal::QUIT));
        if told == self.runs || !listens {
            return told;
        }
        self.signal(&[Tool::Poll], Signal::QUIT);
        self.runs
    }

    fn signal(&mut self, tools: &[Tool], signal: Signal) {
        for tool in tools {
            let Some(child) = self.children.get_mut(*tool as usize) else { continue };
            // Until it is waited for its number is nobody else's.
            if let (Ok(None), Some(pid)) = (child.try_wait(), i32::try_from(child.id()).ok().and_then(Pid::from_raw)) {
                let _ = kill_process(pid, signal); // it may end at this moment
            }
        }
    }
}

async fn supervise(shared: Arc<Shared>) -> anyhow::Result<()> {
    loop {
        {
            let mut state = shared.state();
            if let Some(before_start) = state.before_start.take() {
                before_start();
            }
            state.runs += 1;
            let run = state.runs;
            state.children = start(&shared.places, run).context("starting the pipe")?;
        }
        let codes = ended(&shared).await?;
        let mut state = shared.state();
        state.children.clear();
        // A run is ended by itself only when it was told to drain.
        let is_drained = codes.iter().all(|code| [0, 1].contains(code));
        if is_drained && state.is_draining {
            return Ok(());
        }
        if is_drained || !codes.iter().all(|code| [0, 1].contains(code) || STARTED_AGAIN.contains(code)) {
            let run = state.runs;
            state.violations.push(format!("run {run} of the pipe ended with {codes:?}"));
        }
    }
}

async fn ended(shared: &Shared) -> anyhow::Result<Vec<i32>> {
    loop {
        let codes: Vec<_> = {
            let mut state = shared.state();
            state
                .children
                .iter_mut()
                .map(|child| Ok(child.try_wait()?.map(processes::code)))
                .collect::<std::io::Result<_>>()?
        };
        if let Some(codes) = codes.into_iter().collect() {
            return Ok(codes);
        }
        sleep(LOOK).await;
    }
}

fn start(places: &Places, run: usize) -> anyhow::Result<Vec<Child>> {
    let (from_poll, to_exec) = std::io::pipe()?;
    let (from_exec, to_trace) = std::io::pipe()?;
    let done = std::fs::File::create(places.log(run, "done.ndjson"))?;
    Ok(vec![
        spawn(places, run, "runner-poll", Stdio::null(), to_exec.into())?,
        spawn(places, run, "runner-exec-k8s", from_poll.into(), to_trace.into())?,
        spawn(places, run, "runner-trace", from_exec.into(), done.into())?,
    ])
}

fn spawn(places: &Places, run: usize, tool: &str, stdin: Stdio, stdout: Stdio) -> anyhow::Result<Child> {
    let stderr: PathBuf = places.log(run, &format!("{tool}.stderr"));
    let mut command = processes::command(tool)?;
    command
        .env("HOME", places.folder())
        .env("CONFIG_FILE", places.config())
        .env("RUNNER_STATE_DIR", places.state())
        .env("KUBECONFIG", places.kubeconfig())
        .env("LOG_LEVEL", "debug")
        .stdin(stdin)
        .stdout(stdout)
        .stderr(std::fs::File::create(stderr)?);
    command.spawn().with_context(|| tool.to_owned())
}
