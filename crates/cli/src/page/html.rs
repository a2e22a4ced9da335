//! The few HTML elements of reports.

/// Text as HTML, safe between tags and in quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut html, character| {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
        html
    })
}

/// A figure in running text. The text is escaped.
pub(crate) fn strong(text: &str) -> String {
    format!("<strong>{}</strong>", escape(text))
}

/// A section with its heading. Both are HTML, and the caller escapes what is in them.
pub(crate) fn section(heading: &str, content: &str) -> String {
    format!("<section><h2>{heading}</h2>\n{content}</section>")
}

/// A drawing in its natural size in pixels, with a description for screen readers. `content` is SVG; title
/// and description are text, and are escaped.
pub(crate) fn drawing(width: f64, height: f64, title: &str, description: &str, content: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\" \
         aria-label=\"{title}\"><title>{title}</title><desc>{}</desc>{content}</svg>",
        escape(description),
        title = escape(title),
    )
}

/// A column of a table.
pub(crate) struct Column {
    /// Its heading.
    pub(crate) head: &'static str,
    /// Whether it has figures, which are aligned right.
    pub(crate) is_number: bool,
}

/// A column of text.
pub(crate) const fn text(head: &'static str) -> Column {
    Column { head, is_number: false }
}

/// A column of figures.
pub(crate) const fn number(head: &'static str) -> Column {
    Column { head, is_number: true }
}

/// A table. Its cells are HTML, and the caller escapes what is in them.
pub(crate) fn table(columns: &[Column], rows: &[Vec<String>]) -> String {
    let heads: String = columns
        .iter()
        .map(|column| format!("<th scope=\"col\"{}>{}</th>", alignment(column), column.head))
        .collect();
    let rows: String = rows.iter().map(|cells| row(columns, cells)).collect();
    format!(
        "<div class=\"wide\"><table><thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>"
    )
}

fn row(columns: &[Column], cells: &[String]) -> String {
    let cells: String = columns
        .iter()
        .zip(cells)
        .map(|(column, cell)| format!("<td{}>{cell}</td>", alignment(column)))
        .collect();
    format!("<tr>{cells}</tr>\n")
}

fn alignment(column: &Column) -> &'static str {
    if column.is_number { " class=\"number\"" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escape("<b a='1' c=\"2\">&amp;"), "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;amp;");
        assert_eq!(strong("<i>"), "<strong>&lt;i&gt;</strong>");
        let svg = drawing(10.0, 5.0, "\"><script>", "</desc><script>", "");
        assert!(!svg.contains("<script>"));
    }

    #[test]
    fn figures_are_set_flush_right() {
        let html = table(&[text("name"), number("notes")], &[vec!["A".to_owned(), "3".to_owned()]]);
        assert!(html.contains("<td>A</td><td class=\"number\">3</td>"));
    }
}
