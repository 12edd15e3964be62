//! Tables for people: columns as wide as their widest cell, two spaces between them, no lines.
//!
//! Control characters in a cell are escaped, because names come from others and a terminal obeys what it is sent.

use super::style::{Style, paint};

/// One cell.
#[derive(Debug, Clone)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A cell that stands out.
    pub fn styled(text: impl Into<String>, style: Style) -> Self {
        Self {
            text: text.into(),
            style,
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(text, Style::Plain)
    }
}

/// A table with one heading per column.
#[derive(Debug, Clone)]
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows.
    pub fn new(headings: &[&'static str]) -> Self {
        Self {
            headings: headings.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; a missing cell is empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let mut cells: Vec<Cell> = cells
            .into_iter()
            .map(|cell| Cell {
                text: printable(&cell.text),
                ..cell
            })
            .collect();
        cells.resize(self.headings.len(), Cell::from(""));
        self.rows.push(cells);
    }

    /// The table as text, a line break after each row; without rows only the headings.
    pub fn render(&self, colour: bool) -> String {
        let widths: Vec<usize> = (0..self.headings.len())
            .map(|column| {
                let cells = self.rows.iter().map(|row| row[column].text.chars().count());
                cells.chain([self.headings[column].len()]).max().unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        let headings = self.headings.iter().map(|heading| Cell::styled(*heading, Style::Dim));
        push_row(&mut text, &headings.collect::<Vec<_>>(), &widths, colour);
        for row in &self.rows {
            push_row(&mut text, row, &widths, colour);
        }
        text
    }
}

fn push_row(text: &mut String, cells: &[Cell], widths: &[usize], colour: bool) {
    let last = cells.iter().rposition(|cell| !cell.text.is_empty()).unwrap_or(0);
    for (column, (cell, width)) in cells.iter().zip(widths).take(last + 1).enumerate() {
        text.push_str(&paint(&cell.text, cell.style, colour));
        if column < last {
            let padding = width.saturating_sub(cell.text.chars().count()) + 2;
            text.extend(std::iter::repeat_n(' ', padding));
        }
    }
    text.push('\n');
}

/// `text` on one line, without what a terminal would obey.
pub fn printable(text: &str) -> String {
    let obeyed = |c: char| c.is_control();
    if !text.contains(obeyed) {
        return text.to_owned();
    }
    let escaped = |c: char| {
        if obeyed(c) {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_rows_end_without_spaces() {
        let mut table = Table::new(&["NAME", "ROLE", "LAG"]);
        table.row(["node-1".into(), Cell::styled("control-plane", Style::Good), "0".into()]);
        table.row(["é".into(), "worker".into()]);
        assert_eq!(
            table.render(false),
            "NAME    ROLE           LAG\nnode-1  control-plane  0\né       worker\n"
        );
        assert!(table.render(true).contains("\x1b[32mcontrol-plane\x1b[0m"));
    }

    #[test]
    fn a_cell_cannot_move_the_cursor() {
        let mut table = Table::new(&["NAME"]);
        table.row(["a\x1b[2Jb\n".into()]);
        assert_eq!(table.render(false), "NAME\na\\u{1b}[2Jb\\n\n");
    }
}
