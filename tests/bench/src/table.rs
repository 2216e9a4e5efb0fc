//! The table that is printed, in Markdown.

/// Rows of what was measured, GitLab Runner's figure, ours, and what ours must be.
pub(crate) struct Table {
    rows: Vec<[String; 4]>,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self { rows: vec![["load", "GitLab Runner 19.4", "runner-tools", "must be"].map(str::to_owned)] }
    }

    pub(crate) fn row(&mut self, load: &str, theirs: &str, ours: String, limit: &str) {
        self.rows.push([load.to_owned(), theirs.to_owned(), ours, limit.to_owned()]);
    }

    #[expect(clippy::print_stdout, reason = "this program is for its output")]
    pub(crate) fn print(&self) {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths = [0, 1, 2, 3].map(width);
        for (n, row) in self.rows.iter().enumerate() {
            let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            println!("| {} |", cells.join(" | "));
            if n == 0 {
                println!("|{}|", widths.map(|width| "-".repeat(width + 2)).join("|"));
            }
        }
    }
}
