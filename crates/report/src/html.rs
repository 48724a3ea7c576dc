//! Reports as one self-contained HTML file: no scripts, nothing loaded from elsewhere.

use std::fmt::Write;

use crate::Table;

/// A heading with paragraphs, tables and bar charts under it, in the order in which they are added.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Section {
    heading: String,
    blocks: Vec<Block>,
}

#[derive(Clone, Debug, PartialEq)]
enum Block {
    Text(String),
    Table(Table),
    Bars(Vec<Bar>),
}

/// One bar of a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// What the bar stands for.
    pub label: String,
    /// Its length; bars are drawn relative to the longest. Negative and non-finite ones have none.
    pub value: f64,
    /// The value as text.
    pub text: String,
}

impl Section {
    /// An empty section.
    pub fn new(heading: impl Into<String>) -> Self {
        Self { heading: heading.into(), blocks: Vec::new() }
    }

    /// Adds a paragraph.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.blocks.push(Block::Text(text.into()));
        self
    }

    /// Adds a table.
    #[must_use]
    pub fn table(mut self, table: Table) -> Self {
        self.blocks.push(Block::Table(table));
        self
    }

    /// Adds a chart of horizontal bars.
    #[must_use]
    pub fn bars(mut self, bars: Vec<Bar>) -> Self {
        self.blocks.push(Block::Bars(bars));
        self
    }
}

/// A whole page. Everything given is text: markup in it is shown, not obeyed.
pub fn page(title: &str, sections: &[Section]) -> String {
    let title = escaped(title);
    let mut body = String::new();
    for section in sections {
        push_section(&mut body, section);
    }
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{body}</body>\n</html>\n"
    )
}

const STYLE: &str = "\
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
p { white-space: pre-line; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem; text-align: left; border-bottom: 1px solid #8884; overflow-wrap: anywhere; }
th { position: sticky; top: 0; background: Canvas; } .n { text-align: right; white-space: nowrap; }
.bars { display: grid; grid-template-columns: max-content 1fr max-content; gap: .2rem .8rem; align-items: center; }
.bar { background: #3b82c4; height: .9rem; border-radius: 2px; }
";

fn push_section(out: &mut String, section: &Section) {
    push(out, format_args!("<section>\n<h2>{}</h2>\n", escaped(&section.heading)));
    for block in &section.blocks {
        match block {
            Block::Text(text) => push(out, format_args!("<p>{}</p>\n", escaped(text))),
            Block::Table(table) => push_table(out, table),
            Block::Bars(bars) => push_bars(out, bars),
        }
    }
    out.push_str("</section>\n");
}

fn push_table(out: &mut String, table: &Table) {
    let classes: Vec<&str> =
        (0..table.columns()).map(|c| if table.is_numeric(c) { " class=\"n\"" } else { "" }).collect();
    let line = |out: &mut String, tag: &str, cells: &[String]| {
        out.push_str("<tr>");
        for (column, class) in classes.iter().enumerate() {
            let text = cells.get(column).map_or_else(String::new, |cell| escaped(cell));
            push(out, format_args!("<{tag}{class}>{text}</{tag}>"));
        }
        out.push_str("</tr>\n");
    };
    out.push_str("<div class=\"wide\"><table>\n<thead>");
    line(out, "th", table.headers());
    out.push_str("</thead>\n<tbody>\n");
    for row in table.rows() {
        line(out, "td", row);
    }
    out.push_str("</tbody>\n</table></div>\n");
}

fn push_bars(out: &mut String, bars: &[Bar]) {
    let length = |bar: &Bar| if bar.value.is_finite() { bar.value.max(0.0) } else { 0.0 };
    let longest = bars.iter().map(length).fold(0.0, f64::max);
    out.push_str("<div class=\"bars\">\n");
    for bar in bars {
        let share = if longest > 0.0 { length(bar) / longest * 100.0 } else { 0.0 };
        let (label, text) = (escaped(&bar.label), escaped(&bar.text));
        push(
            out,
            format_args!(
                "<span>{label}</span><div><div class=\"bar\" style=\"width:{share:.1}%\"></div></div>\
                 <span class=\"n\">{text}</span>\n"
            ),
        );
    }
    out.push_str("</div>\n");
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
}

/// `text` that means nothing to HTML, in content and in quoted attributes. Control characters other
/// than white space are not allowed in HTML and become a replacement character.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> String {
        let mut table = Table::new(["layer", "bytes"]);
        table.row(["conv<1>", "1,728"]).row(["a&b"]);
        let bar = |label: &str, value| Bar { label: label.into(), value, text: format!("{value} dB") };
        let bars = vec![bar("x", 20.0), bar("y", 5.0), bar("z", f64::NAN), bar("w", -3.0)];
        let sections =
            [Section::new("Layers").text("Two \"layers\".").table(table), Section::new("Noise").bars(bars)];
        page("Report on <script>", &sections)
    }

    #[test]
    fn a_page_holds_what_it_was_given() {
        let page = report();
        assert!(page.starts_with("<!DOCTYPE html>\n<html lang=\"en\">"));
        assert!(page.contains("<h2>Layers</h2>\n<p>Two &quot;layers&quot;.</p>\n"));
        assert!(page.contains(
            "<thead><tr><th>layer</th><th class=\"n\">bytes</th></tr>\n</thead>\n<tbody>\n\
             <tr><td>conv&lt;1&gt;</td><td class=\"n\">1,728</td></tr>\n\
             <tr><td>a&amp;b</td><td class=\"n\"></td></tr>\n</tbody>"
        ));
        for share in ["x</span><div><div class=\"bar\" style=\"width:100.0%", "width:25.0%", "width:0.0%"] {
            assert!(page.contains(share), "{share}");
        }
        assert!(page.ends_with("</section>\n</body>\n</html>\n"));
    }

    #[test]
    fn markup_is_shown_not_obeyed() {
        let page = report();
        assert!(!page.contains("<script"), "{page}");
        assert!(page.contains("<title>Report on &lt;script&gt;</title>"));
        assert_eq!(escaped("'\u{1b}é\n"), "&#39;\u{FFFD}é\n");
    }

    #[test]
    fn a_page_loads_nothing() {
        let page = report();
        for outside in ["http:", "https:", "src=", "url(", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn tags_are_balanced() {
        let page = report();
        for tag in ["html", "head", "body", "section", "table", "thead", "tbody", "tr", "div", "span", "p"] {
            let opened =
                page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }
}
