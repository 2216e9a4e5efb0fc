//! A last resort: a small process that outlives a server that was killed, ends the containers it left
//! and removes its folder.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Waits for the server's end of a pipe to close; after a line it has nothing to do. Otherwise it kills
/// what carries the mark, and what works inside the folder in this session without leading it (a shell
/// that looks around there). Several passes, because processes fork, and take a moment to die.
const SCRIPT: &str = r#"
read -r word
[ "$word" = stopped ] && exit
root=$1 mark=$2
[ -n "$root" ] || exit
session() { stat=$(cat "$1/stat") && set -- ${stat##*) } && echo "$4"; }
own=$(session /proc/$$)
pass=0
while [ -e "$root" ] && [ $pass -lt 20 ]; do
    for process in /proc/[0-9]*; do
        pid=${process#/proc/}
        case $(readlink "$process/cwd") in
            "$root"/*) [ "$(session "$process")" = "$own" ] && [ "$pid" != "$own" ] && kill -9 "$pid" ;;
        esac
        tr '\0' '\n' < "$process/environ" | grep -qF "$mark=$root/" && kill -9 "$pid"
    done
    [ $pass -gt 0 ] && rm -rf "$root"
    pass=$((pass + 1))
done
"#;

/// The process that watches over one server.
#[derive(Debug)]
pub(crate) struct Guard {
    child: Child,
}

impl Guard {
    /// Begins to watch; `mark` is the variable whose value begins with `root` in every container.
    pub(crate) fn start(root: &Path, mark: &str) -> io::Result<Self> {
        let child = Command::new("sh")
            .args(["-c", SCRIPT, "fake-kube-guard"])
            .arg(root)
            .arg(mark)
            .current_dir("/")
            .stdin(Stdio::piped())
            // Not the server's: whoever reads them must see their end when the server dies.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A signal from the terminal is for the server.
            .process_group(0)
            .spawn()?;
        Ok(Self { child })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // If it was killed there is nothing to tell it.
        if let Some(mut stdin) = self.child.stdin.take() {
            let _ = stdin.write_all(b"stopped\n");
        }
        let _ = self.child.wait();
    }
}
