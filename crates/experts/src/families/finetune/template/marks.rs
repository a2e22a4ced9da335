//! Removes `generation` blocks. With these, templates tell transformers which tokens are the assistant's, and
//! the template library does not know them. What is learnt is found by rendering instead.

/// The template with each `generation` block replaced by an `if true` block. Deleting the tags instead would
/// change the line breaks and white space around them.
pub(super) fn without_generation_marks(template: &str) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find("{%") {
        let Some(end) = rest[start + 2..].find("%}").map(|length| start + 2 + length) else { break };
        let tag = &rest[start + 2..end];
        let word = tag.trim_matches(['-', '+']).trim();
        text += &rest[..start];
        text += &match word {
            "generation" => format!("{{%{}%}}", tag.replace(word, "if true")),
            "endgeneration" => format!("{{%{}%}}", tag.replace(word, "endif")),
            _ => rest[start..end + 2].to_owned(),
        };
        rest = &rest[end + 2..];
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_however_they_are_spaced_and_nothing_else_changes() {
        let marked = "a{%   generation   %}{% if generation %}b{% endif %}{%- endgeneration -%}c{%generation%}{% unclosed";
        let plain = "a{%   if true   %}{% if generation %}b{% endif %}{%- endif -%}c{%if true%}{% unclosed";
        assert_eq!(without_generation_marks(marked), plain);
        assert_eq!(
            without_generation_marks("no blocks, %} {{ generation }}"),
            "no blocks, %} {{ generation }}"
        );
    }
}
