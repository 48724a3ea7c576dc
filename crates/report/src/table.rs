//! Tables for terminals and plain text.

use std::fmt;

use comfy_table::{
    Attribute, Cell, CellAlignment, ContentArrangement, ContentLineStyle, LineStyle, TableStyle,
};

use crate::Look;
use crate::terminal::printable;

/// A table with one line of headers. Columns of numbers are aligned to the right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    headers: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns and no rows.
    pub fn new<H: Into<String>>(headers: impl IntoIterator<Item = H>) -> Self {
        Self { headers: headers.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row. Cells that are missing at the end are empty; cells beyond the last column widen the
    /// table by a column without header.
    pub fn row<C: Into<String>>(&mut self, cells: impl IntoIterator<Item = C>) -> &mut Self {
        self.rows.push(cells.into_iter().map(Into::into).collect());
        self
    }

    /// The headers.
    pub fn headers(&self) -> &[String] {
        &self.headers
    }

    /// The rows, as they were added.
    pub fn rows(&self) -> &[Vec<String>] {
        &self.rows
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The number of columns.
    pub fn columns(&self) -> usize {
        self.rows.iter().map(Vec::len).fold(self.headers.len(), usize::max)
    }

    /// Whether a column holds nothing but numbers, with or without unit, and stand-ins for them.
    pub fn is_numeric(&self, column: usize) -> bool {
        let mut cells = self.rows.iter().filter_map(|row| row.get(column)).filter(|cell| !cell.is_empty());
        // A stand-in alone does not make a column one of numbers.
        let mut any = false;
        cells.all(|cell| {
            let number = is_number(cell) || cell == "exact";
            any |= number;
            number || ["-", "NaN", "n/a"].contains(&cell.as_str())
        }) && any
    }

    /// The table as text that ends with a line break. Control characters in cells are shown escaped.
    pub fn render(&self, look: Look) -> String {
        self.render_within(look, None)
    }

    /// The table as Markdown that ends with a line break, columns of numbers to the right.
    pub fn markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let row = |row: &[String]| {
            let cell = |column: usize| row.get(column).map_or_else(String::new, |cell| markdown_cell(cell));
            line((0..self.columns()).map(cell).collect())
        };
        let rule = |column| if self.is_numeric(column) { "--:" } else { "---" }.to_owned();
        let rule = line((0..self.columns()).map(rule).collect());
        row(&self.headers)
            + &rule.replace(' ', "")
            + &self.rows.iter().map(|cells| row(cells)).collect::<String>()
    }

    /// [`Table::render`] to `width` columns of the terminal; to its own width if `None`.
    fn render_within(&self, look: Look, width: Option<u16>) -> String {
        let mut table = comfy_table::Table::new();
        let plain = look == Look::Plain;
        table.load_style(if plain { PLAIN } else { LINES });
        if plain {
            table.force_no_tty().set_content_arrangement(ContentArrangement::Disabled);
        } else {
            table.enforce_styling().set_content_arrangement(ContentArrangement::Dynamic);
            if let Some(width) = width {
                table.set_width(width);
            }
        }
        let columns = self.columns();
        let aligned: Vec<CellAlignment> = (0..columns)
            .map(|column| if self.is_numeric(column) { CellAlignment::Right } else { CellAlignment::Left })
            .collect();
        let cell = |row: &[String], column: usize| {
            let text = row.get(column).map_or_else(String::new, |text| printable(text));
            Cell::new(text).set_alignment(aligned[column])
        };
        let header = |column| {
            let cell = cell(&self.headers, column);
            if plain { cell } else { cell.add_attribute(Attribute::Bold) }
        };
        table.set_header((0..columns).map(header).collect::<Vec<_>>());
        for row in &self.rows {
            table.add_row((0..columns).map(|column| cell(row, column)).collect::<Vec<_>>());
        }
        if plain {
            // Without borders the first column needs no padding and the others two blanks between.
            for (place, column) in table.column_iter_mut().enumerate() {
                column.set_padding((if place == 0 { 0 } else { 2 }, 0));
            }
            plain_rule(&table.trim_fmt(), &column_widths(&table))
        } else {
            format!("{table}\n")
        }
    }
}

/// A cell that stays in its column, whatever it holds.
fn markdown_cell(text: &str) -> String {
    printable(text).replace('\\', "\\\\").replace('|', "\\|")
}

/// The width of every column's content.
fn column_widths(table: &comfy_table::Table) -> Vec<usize> {
    table.column_max_content_widths().into_iter().map(usize::from).collect()
}

/// `text` with a line of dashes under every header.
fn plain_rule(text: &str, widths: &[usize]) -> String {
    let rule: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
    let mut lines: Vec<&str> = text.lines().collect();
    let rule = rule.join("  ");
    lines.insert(lines.len().min(1), &rule);
    lines.join("\n") + "\n"
}

const PLAIN: TableStyle = TableStyle::new();

const LINES: TableStyle = TableStyle::new()
    .top_border(LineStyle::new('╭', '─', '─', '╮'))
    .header_lines(ContentLineStyle::none().left('│').right('│'))
    .header_separator(LineStyle::new('├', '─', '─', '┤'))
    .content_lines(ContentLineStyle::none().left('│').right('│'))
    .bottom_border(LineStyle::new('╰', '─', '─', '╯'));

impl fmt::Display for Table {
    /// The plain form, without the last line break.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(Look::Plain).trim_end_matches('\n'))
    }
}

/// A number, perhaps with separated thousands and a unit: `-1,234.5 dB`, `2.5x`, `71.3 %`, `1e-6`.
fn is_number(cell: &str) -> bool {
    let cell = cell.trim_start_matches(['+', '-']);
    let end = cell.find(|c: char| !(c.is_ascii_digit() || c == ',' || c == '.')).unwrap_or(cell.len());
    let (digits, unit) = cell.split_at(end);
    let is_unit = |unit: &str| {
        unit.is_empty()
            || unit.starts_with(' ')
            || unit.starts_with('%')
            || unit == "x"
            || unit.parse::<f64>().is_ok()
    };
    digits.starts_with(|c: char| c.is_ascii_digit()) && (is_unit(unit) || cell.parse::<f64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers() -> Table {
        let mut table = Table::new(["layer", "bytes", "noise", "kept float because"]);
        table.row(["conv1", "1,728", "45.2 dB", ""]);
        table.row(["dense/é", "12", "exact", "asked for by --keep-float"]);
        table
    }

    #[test]
    fn plain_tables_align_numbers_to_the_right() {
        assert_eq!(
            layers().render(Look::Plain),
            "\
layer    bytes    noise  kept float because
-------  -----  -------  -------------------------
conv1    1,728  45.2 dB
dense/é     12    exact  asked for by --keep-float
"
        );
        assert_eq!(format!("{}\n", layers()), layers().render(Look::Plain));
    }

    #[test]
    fn markdown_keeps_cells_in_their_columns() {
        let mut table = layers();
        table.row(["a|b\nc", "1"]);
        assert_eq!(
            table.markdown(),
            "\
| layer | bytes | noise | kept float because |
|---|--:|--:|---|
| conv1 | 1,728 | 45.2 dB |  |
| dense/é | 12 | exact | asked for by --keep-float |
| a\\|b\\\\nc | 1 |  |  |
"
        );
    }

    #[test]
    fn terminal_tables_have_lines_and_bold_headers() {
        let text = layers().render_within(Look::Terminal, Some(80));
        assert!(text.contains("╭─") && text.contains("\u{1b}[1m"), "{text}");
        assert!(text.lines().count() == 6, "{text}");
        let narrow = layers().render_within(Look::Terminal, Some(45));
        assert!(narrow.lines().count() > 6, "wrapped: {narrow}");
    }

    #[test]
    fn uneven_rows_are_filled() {
        let mut table = Table::new(["a", "b"]);
        table.row(["1"]).row(["2", "x", "more"]);
        assert_eq!(table.columns(), 3);
        assert_eq!(table.render(Look::Plain), "a  b\n-  -  ----\n1\n2  x  more\n");
    }

    #[test]
    fn an_empty_table_is_its_header() {
        assert_eq!(Table::new(["a", "long"]).render(Look::Plain), "a  long\n-  ----\n");
        assert!(Table::new(["a"]).is_empty());
    }

    #[test]
    fn names_cannot_write_over_the_screen() {
        let mut table = Table::new(["layer"]);
        table.row(["a\x1b[2J\nb"]);
        for look in [Look::Plain, Look::Terminal] {
            assert!(table.render(look).contains("a\\u{1b}[2J\\nb"));
        }
    }

    #[test]
    fn numbers_are_told_from_words() {
        for text in ["12", "-1,234.5 dB", "+3", "2.5x", "71.3 %", "71%", "1e-6", "0.5", "3 ms"] {
            assert!(is_number(text), "{text}");
        }
        for text in ["", "-", "conv1", "2d", "1x1 kernel", ",5", "x2", "[1, 2]"] {
            assert!(!is_number(text), "{text}");
        }
    }
}
