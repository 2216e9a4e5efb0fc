//! `git clone` in one step, for a Git that can clone a single revision (`FF_USE_GIT_NATIVE_CLONE`).

use super::Git;
use crate::drive::failure::Failure;
use crate::drive::local::Local;

/// The first version with `git clone --revision`.
const SINCE: (u32, u32) = (2, 49);

impl Git<'_> {
    /// Whether the installed Git is new enough; says so if it is.
    pub(super) async fn clones_natively(&self, local: &Local) -> bool {
        let mut command = self.git();
        command.arg("version");
        let Ok((_, output)) = local.output(command).await else { return false }; // the next command tells why
        let is_new = version(&String::from_utf8_lossy(&output)).is_some_and(|version| version >= SINCE);
        if is_new {
            self.log.work(format!("Git version at least \"{}.{}\"\n", SINCE.0, SINCE.1).as_bytes());
        }
        is_new
    }

    /// Clones without a checkout.
    pub(super) async fn clone_natively(&self, local: &Local) -> Result<(), Failure> {
        let info = &self.job.payload.git_info;
        let what = match info.git_ref.as_str() {
            "" => String::new(),
            name => format!(" for {name}"),
        };
        let deep = if info.depth > 0 { format!(" with git depth set to {}", info.depth) } else { String::new() };
        self.log.notice(&format!("Cloning repository{what}{deep}..."));
        let mut clone = self.git();
        self.add_transport(&mut clone);
        clone.args(["clone", "--no-checkout"]).arg(&self.remote.url).arg(&self.job.folders.project);
        clone.arg("--template").arg(self.template_folder());
        if info.depth > 0 {
            clone.arg("--depth").arg(info.depth.to_string());
        }
        match info.git_ref.as_str() {
            "" => {}
            name if name.starts_with("refs/") => drop(clone.args(["--revision", name])),
            name => drop(clone.args(["--branch", name])),
        }
        clone.args(self.words("GIT_CLONE_EXTRA_FLAGS", ""));
        self.run(local, clone).await
    }
}

/// Major and minor number of what `git version` prints.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().strip_prefix("git version ")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j413_the_version_is_read_whoever_made_the_build() {
        for (text, expected) in [
            ("git version 2.49.0\n", Some((2, 49))),
            ("git version 2.39.5 (Apple Git-154)\n", Some((2, 39))),
            ("git version 2.50.windows.1", Some((2, 50))),
            ("git version 3.0", Some((3, 0))),
            ("git version", None),
            ("", None),
        ] {
            assert_eq!(version(text), expected, "{text}");
        }
        assert!(Some((2, 48)) < Some(SINCE) && Some((3, 0)) >= Some(SINCE));
    }
}
