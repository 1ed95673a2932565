//! Columns under headings, as every list of the programs has them.

use crate::escape;

/// A table; cells are made harmless when they are added.
pub struct Table {
    columns: usize,
    rows: Vec<Vec<String>>,
}

/// The longest cell; what comes from elsewhere does not get to fill the screen.
const LONGEST: usize = 300;

impl Table {
    /// With these headings.
    pub fn new<const N: usize>(headings: [&str; N]) -> Self {
        let rule = headings.map(|heading| "-".repeat(heading.chars().count()));
        Self { columns: N, rows: vec![headings.map(str::to_owned).to_vec(), rule.to_vec()] }
    }

    /// Without headings: names and values.
    pub fn bare(columns: usize) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row; missing cells stay empty, more than there are columns are not shown.
    pub fn row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let mut row: Vec<String> =
            cells.into_iter().take(self.columns).map(|text| cell(text.as_ref())).collect();
        row.resize(self.columns, String::new());
        self.rows.push(row);
    }

    /// The table as text, two spaces between columns, no spaces at the ends of lines.
    pub fn text(&self) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_content_arrangement(comfy_table::ContentArrangement::Disabled);
        for row in &self.rows {
            table.add_row(row);
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let mut text = String::new();
        for line in table.to_string().lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

fn cell(text: &str) -> String {
    let mut shown = escape::line(text).into_owned();
    if let Some((end, _)) = shown.char_indices().nth(LONGEST) {
        shown.truncate(end);
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_stand_below_their_headings() {
        let mut table = Table::new(["User", "Roles"]);
        table.row(["alice", "access,editor"]);
        table.row(["b\u{1b}[2J"]);
        assert_eq!(table.text(), "User      Roles\n----      -----\nalice     access,editor\nb\\x1b[2J\n");
    }

    #[test]
    fn a_long_cell_is_cut() {
        let mut table = Table::bare(1);
        table.row(["x".repeat(1 << 20)]);
        assert!(table.text().len() < 400);
    }
}
