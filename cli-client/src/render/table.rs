//! Columns that line up whatever script their cells are in.

use crate::{output::Paint, text};

/// What stands between two columns.
const GAP: &str = "  ";

/// The colours of a cell.
pub(crate) type Look = fn(Paint, &str) -> String;

/// A table without lines: a dim head and rows.
#[derive(Debug)]
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    paint: Paint,
}

/// A cell: what it says, and how it looks.
#[derive(Debug)]
struct Cell {
    plain: String,
    painted: String,
}

impl Table {
    /// A table of these columns. A column whose head starts with `#` holds numbers.
    pub(crate) fn new(paint: Paint, head: &[&'static str]) -> Self {
        Self {
            head: head.to_vec(),
            rows: Vec::new(),
            paint,
        }
    }

    /// Adds a row; each cell is plain text with the colours to put on it.
    pub(crate) fn row<const N: usize>(&mut self, cells: [(String, Look); N]) {
        let paint = self.paint;
        let cell = |(plain, style): (String, Look)| Cell {
            painted: style(paint, &plain),
            plain,
        };
        self.rows.push(cells.into_iter().map(cell).collect());
    }

    /// The lines of the table.
    pub(crate) fn lines(&self) -> Vec<String> {
        let widths: Vec<usize> = (0..self.head.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                let widest = cells
                    .map(|cell| text::width(&cell.plain))
                    .max()
                    .unwrap_or(0);
                widest.max(text::width(self.title(column)))
            })
            .collect();
        let head: Vec<Cell> = (0..self.head.len())
            .map(|column| Cell {
                plain: self.title(column).to_owned(),
                painted: self.paint.dim(self.title(column)),
            })
            .collect();
        std::iter::once(&head)
            .chain(&self.rows)
            .map(|cells| self.line(cells, &widths))
            .collect()
    }

    fn line(&self, cells: &[Cell], widths: &[usize]) -> String {
        let mut line = String::new();
        for (column, cell) in cells.iter().enumerate() {
            let fill = " ".repeat(widths[column].saturating_sub(text::width(&cell.plain)));
            if column > 0 {
                line.push_str(GAP);
            }
            if self.head[column].starts_with('#') {
                line.push_str(&fill);
                line.push_str(&cell.painted);
            } else {
                line.push_str(&cell.painted);
                line.push_str(&fill);
            }
        }
        line.trim_end().to_owned()
    }

    fn title(&self, column: usize) -> &'static str {
        self.head[column].trim_start_matches('#')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_in_any_script() {
        let mut table = Table::new(Paint::off(), &["ROOM", "#UNREAD", "LAST"]);
        for (room, unread, last) in [
            ("Tea room", "3", "hi"),
            ("日本語", "999+", ""),
            ("x", "", "y"),
        ] {
            table.row([
                (room.to_owned(), Paint::plain as _),
                (unread.to_owned(), Paint::plain),
                (last.to_owned(), Paint::plain),
            ]);
        }
        assert_eq!(
            table.lines(),
            [
                "ROOM      UNREAD  LAST",
                "Tea room       3  hi",
                "日本語      999+",
                "x                 y",
            ]
        );
    }
}
