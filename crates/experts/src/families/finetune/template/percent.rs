//! Rewrites Python's `'text' % value`, which the template library does not support, to its filter `format`.

/// The template with each `%` that follows a quoted text inside a tag replaced by the filter. A `%` whose
/// value cannot be determined stays, and fails when the template runs.
pub(super) fn with_format_filter(template: &str) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find(['{']) {
        let end = match rest[start..].get(..2) {
            Some("{{") => "}}",
            Some("{%") => "%}",
            _ => {
                text += &rest[..=start];
                rest = &rest[start + 1..];
                continue;
            }
        };
        // An unclosed tag stays as it is, so that the template library reports it.
        let Some(length) = rest[start + 2..].find(end) else { break };
        let (before, after) = rest.split_at(start + 2 + length + 2);
        text += &before[..start + 2];
        text += &expression(&before[start + 2..start + 2 + length]);
        text += end;
        rest = after;
    }
    text + rest
}

/// Rewrites the source inside a tag.
fn expression(source: &str) -> String {
    let mut text = String::new();
    let mut rest = source;
    while let Some(start) = rest.find(['\'', '"']) {
        let Some(literal) = quoted(&rest[start..]) else { break };
        let end = start + literal.len();
        text += &rest[..start];
        let behind = rest[end..].trim_start();
        match behind.strip_prefix('%').and_then(operand) {
            // The operand may contain another `%`, so it is rewritten too.
            Some((values, after)) => {
                text += &format!("({literal} | format({}))", expression(values));
                rest = after;
            }
            None => {
                text += literal;
                rest = &rest[end..];
            }
        }
    }
    text + rest
}

/// The text in quotation marks that `source` starts with, marks included.
fn quoted(source: &str) -> Option<&str> {
    let mark = source.chars().next()?;
    let mut is_escaped = false;
    for (place, letter) in source.char_indices().skip(1) {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if letter == mark => return Some(&source[..place + letter.len_utf8()]),
            _ => {}
        }
    }
    None
}

/// The value behind a `%` and the source behind it. A tuple's values come without the brackets.
fn operand(source: &str) -> Option<(&str, &str)> {
    let source = source.trim_start();
    let first = match source.chars().next()? {
        '\'' | '"' => quoted(source)?.len(),
        '(' => bracketed(source)?,
        letter if letter.is_alphanumeric() || letter == '_' => word(source),
        _ => return None,
    };
    let mut end = first;
    while let Some(length) = postfix(&source[end..]) {
        end += length;
    }
    let values = match source.starts_with('(') && end == first {
        true => source[1..first - 1].trim_end().trim_end_matches(','),
        false => &source[..end],
    };
    Some((values, &source[end..]))
}

/// The length in bytes of the name or number with which `source` starts.
fn word(source: &str) -> usize {
    source.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(source.len())
}

/// The length in bytes of the attribute, index, call or filter with which `source` starts.
fn postfix(source: &str) -> Option<usize> {
    let behind = source.trim_start();
    let blanks = source.len() - behind.len();
    match behind.chars().next()? {
        '[' | '(' => Some(blanks + bracketed(behind)?),
        mark @ ('.' | '|') => {
            let name = behind[mark.len_utf8()..].trim_start();
            let length = word(name);
            (length > 0).then(|| source.len() - name.len() + length)
        }
        _ => None,
    }
}

/// The length in bytes of the bracketed source with which `source` starts, both brackets included.
fn bracketed(source: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut place = 0;
    while let Some(letter) = source[place..].chars().next() {
        match letter {
            '\'' | '"' => place += quoted(&source[place..])?.len() - 1,
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        place += letter.len_utf8();
        if depth == 0 {
            return Some(place);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_formatted_and_remainders_stay() {
        let same = |template: &str| assert_eq!(with_format_filter(template), template);
        same("{{ loop.index0 % 2 }}{% if n % 2 == 0 %}'a' % b{% endif %}{{ 'a' }} { '%' }");
        same("{{ 'unclosed % x }}{{ '%(a)s' % {'a': 1} }}");
        let changed = [
            ("{{ ('%s' % m.role) }}", "{{ (('%s' | format(m.role))) }}"),
            ("{{ \"%s: %s\" % (m.role, m['a)']) ~ x }}", "{{ (\"%s: %s\" | format(m.role, m['a)'])) ~ x }}"),
            ("{%- set a = '%d' % (n,) -%}", "{%- set a = ('%d' | format(n)) -%}"),
            ("{{ '%s' % (a).b | upper(1) }}", "{{ ('%s' | format((a).b | upper(1))) }}"),
            ("{{ '%s' % ('%s' % x) }}", "{{ ('%s' | format(('%s' | format(x)))) }}"),
            ("{{ 'it\\'s %s' % 'é' }}", "{{ ('it\\'s %s' | format('é')) }}"),
        ];
        for (from, to) in changed {
            assert_eq!(with_format_filter(from), to);
        }
    }
}
