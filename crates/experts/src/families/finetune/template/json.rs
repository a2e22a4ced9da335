//! The filter `tojson` of chat templates. transformers replaces Jinja's filter, which would also escape `<` and
//! `>`, by one that calls Python's `json.dumps`.

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Error, ErrorKind, Value};

use super::functions::refused_here;

/// The deepest nesting of a value. A row has at most 128 levels, and a template adds few.
const DEEPEST: usize = 200;
/// The most bytes of a text. Fuel does not count them, and a value that has another value several times may be
/// much shorter than its text.
const LONGEST: usize = 16 << 20;
/// The most letters of an indent or a separator. Longer ones would make a text of any length.
const MOST_LETTERS: usize = 16;

/// The options of the filter, in their order.
const OPTIONS: [&str; 4] = ["ensure_ascii", "indent", "separators", "sort_keys"];

/// How a text is written.
struct Style {
    /// Whether letters beyond ASCII are escaped.
    ascii: bool,
    /// What each level is indented by. Without it, everything is on one line.
    indent: Option<String>,
    /// Between two items.
    item_separator: String,
    /// Between a name and its value.
    name_separator: String,
    sorted: bool,
}

/// `value | tojson(ensure_ascii=false, indent=none, separators=none, sort_keys=false)`, with the names, order
/// and defaults of transformers.
///
/// # Errors
/// For options and values with which Python fails, for an option that transformers does not have, and for a
/// text that is too long.
pub(super) fn to_json(value: &Value, placed: Rest<Value>, named: Kwargs) -> Result<String, Error> {
    if placed.len() > OPTIONS.len() {
        return Err(refused_here(format!("it gives tojson more than its {} options", OPTIONS.len())));
    }
    // `none` without a value, as in transformers. For the flags, that is false.
    let mut options = OPTIONS.map(|_| Value::from(()));
    for (place, (option, name)) in options.iter_mut().zip(OPTIONS).enumerate() {
        match (placed.get(place).cloned(), named.get::<Option<Value>>(name)?) {
            (Some(_), Some(_)) => {
                return Err(refused_here(format!("it gives tojson the option {name} twice")));
            }
            (Some(given), None) | (None, Some(given)) => *option = given,
            (None, None) => {}
        }
    }
    let [ascii, indent, separators, sorted] = options;
    named.assert_all_used()?;
    let indent = indentation(&indent)?;
    // With an indent, Python puts no blank behind the comma, because a line break follows.
    let usual = if indent.is_some() { [",", ": "] } else { [", ", ": "] };
    let [item_separator, name_separator] = match separators.is_none() {
        true => usual.map(str::to_owned),
        false => separator_pair(&separators)?,
    };
    let (ascii, sorted) = (ascii.is_true(), sorted.is_true());
    let style = Style { ascii, indent, item_separator, name_separator, sorted };
    let mut text = String::new();
    write(value, &style, 0, &mut text)?;
    Ok(text)
}

/// What each level is indented by: a text, or a number of blanks, which may be below 0 for none.
fn indentation(indent: &Value) -> Result<Option<String>, Error> {
    let blanks = match indent.kind() {
        ValueKind::None => return Ok(None),
        ValueKind::String => return Ok(Some(short(indent)?)),
        // In Python, true is 1 and false is 0.
        ValueKind::Bool => i64::from(indent.is_true()),
        _ => indent.as_i64().filter(|_| indent.is_integer()).ok_or_else(|| {
            refused_here("the indent of tojson must be a whole number or a text".to_owned())
        })?,
    };
    short(&Value::from(" ".repeat(blanks.clamp(0, MOST_LETTERS as i64 + 1) as usize))).map(Some)
}

/// The separators: one between items, and one between a name and its value.
fn separator_pair(separators: &Value) -> Result<[String; 2], Error> {
    let both: Vec<Value> = separators.try_iter().map(Iterator::collect).unwrap_or_default();
    match both.as_slice() {
        [item, name] if separators.kind() == ValueKind::Seq => Ok([short(item)?, short(name)?]),
        _ => Err(refused_here("the separators of tojson must be two texts".to_owned())),
    }
}

/// A text that may come many times.
fn short(value: &Value) -> Result<String, Error> {
    match value.as_str() {
        Some(text) if text.chars().count() <= MOST_LETTERS => Ok(text.to_owned()),
        _ => Err(refused_here(format!(
            "an indent or separator of tojson must be a text of at most {MOST_LETTERS} letters"
        ))),
    }
}

/// Writes a value that is nested in so many others.
fn write(value: &Value, style: &Style, depth: usize, text: &mut String) -> Result<(), Error> {
    if depth > DEEPEST || text.len() > LONGEST {
        return Err(Error::new(ErrorKind::OutOfFuel, "too deep or too long"));
    }
    match value.kind() {
        ValueKind::None => text.push_str("null"),
        ValueKind::Bool => text.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => text.push_str(&number(value)),
        ValueKind::String => quote(value.as_str().unwrap_or_default(), style.ascii, text),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter()?.map(|item| (None, item));
            write_all(['[', ']'], items, style, depth, text)?;
        }
        ValueKind::Map => {
            let mut names: Vec<Value> = value.try_iter()?.collect();
            if style.sorted {
                sort(&mut names)?;
            }
            let mut entries = Vec::with_capacity(names.len());
            for name in names {
                entries.push((Some(entry_name(&name)?), value.get_item(&name)?));
            }
            write_all(['{', '}'], entries.into_iter(), style, depth, text)?;
        }
        // Python fails with all others too, such as a value that is not defined.
        kind => return Err(refused_here(format!("it writes as JSON what is no JSON: {kind}"))),
    }
    Ok(())
}

/// Writes the items of a list, or the entries of an object, which have names.
fn write_all(
    [open, close]: [char; 2],
    items: impl Iterator<Item = (Option<String>, Value)>,
    style: &Style,
    depth: usize,
    text: &mut String,
) -> Result<(), Error> {
    text.push(open);
    let mut is_empty = true;
    for (name, item) in items {
        if !is_empty {
            text.push_str(&style.item_separator);
        }
        is_empty = false;
        break_line(style, depth + 1, text);
        if let Some(name) = name {
            quote(&name, style.ascii, text);
            text.push_str(&style.name_separator);
        }
        write(&item, style, depth + 1, text)?;
    }
    if !is_empty {
        break_line(style, depth, text);
    }
    text.push(close);
    Ok(())
}

/// Starts a line at this level, if values are indented.
fn break_line(style: &Style, level: usize, text: &mut String) {
    if let Some(indent) = &style.indent {
        text.push('\n');
        (0..level).for_each(|_| text.push_str(indent));
    }
}

/// Sorts the names of an object: texts by their letters, numbers by size.
fn sort(names: &mut [Value]) -> Result<(), Error> {
    let is_all = |kind| names.iter().all(|name| name.kind() == kind);
    // Python does not compare a text with a number.
    if !is_all(ValueKind::String) && !is_all(ValueKind::Number) {
        return Err(refused_here("it sorts names that are not all texts".to_owned()));
    }
    names.sort();
    Ok(())
}

/// A name in an object; JSON has only texts there.
fn entry_name(name: &Value) -> Result<String, Error> {
    match name.kind() {
        ValueKind::String => Ok(name.as_str().unwrap_or_default().to_owned()),
        ValueKind::Number => Ok(number(name)),
        ValueKind::Bool => Ok(if name.is_true() { "true" } else { "false" }.to_owned()),
        ValueKind::None => Ok("null".to_owned()),
        kind => Err(refused_here(format!("it writes as JSON an object with a name that is no text: {kind}"))),
    }
}

/// A number as Python writes it.
fn number(value: &Value) -> String {
    match f64::try_from(value.clone()) {
        Ok(float) if !value.is_integer() => python_float(float),
        _ => value.to_string(),
    }
}

/// A float as Python's `repr`: the fewest digits that give it back, with an exponent of at least two digits if
/// that is below -4 or above 15.
fn python_float(float: f64) -> String {
    if float.is_nan() {
        return "NaN".to_owned();
    }
    if float.is_infinite() {
        return if float > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    match exponent {
        -4..=15 => format!("{float:?}"),
        _ => format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()),
    }
}

/// Writes a text in quotation marks, with the escapes of Python's `json`.
fn quote(content: &str, ascii: bool, text: &mut String) {
    text.push('"');
    for letter in content.chars() {
        match letter {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            ' '..='~' => text.push(letter),
            '\0'..' ' => text.push_str(&format!("\\u{:04x}", u32::from(letter))),
            _ if ascii => {
                // Letters beyond 16 bits become two escapes.
                let units = letter.encode_utf16(&mut [0; 2]).to_vec();
                units.iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
            }
            _ => text.push(letter),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use minijinja::value::Serde;
    use minijinja::{Environment, context};
    use serde_json::{Value as Json, json};

    use super::*;

    fn environment() -> Environment<'static> {
        let mut environment = Environment::new();
        environment.set_fuel(Some(1_000_000));
        environment.add_filter("tojson", to_json);
        environment
    }

    /// What a template's expression prints for a value.
    fn printed(expression: &str, value: &Json) -> Result<String, Error> {
        environment().render_str(
            &format!("{{{{ {expression} }}}}"),
            context! { value => Value::from(Serde(value.clone())) },
        )
    }

    fn sample() -> Json {
        json!({
            "b": [1, 2.5, 1e22, 1e-7, 1e16, 123456789012345680.0, 0.0001, 0.00001234, -0.0, 1.0, u64::MAX, i64::MIN],
            "a": {"é": "<ü€😖'\u{2028}\u{7f}\u{0}\u{1f}\"\\/\t\n\r\u{8}\u{c}>&", "Z": true, "é2": null},
            "": [[], {}, [[]], [{"x": []}]],
            "😖": false,
            "\u{ffff}": "beside it",
        })
    }

    /// Options as a template and as Python write them.
    fn options() -> Vec<(&'static str, &'static str)> {
        vec![
            ("", ""),
            ("ensure_ascii=true", "ensure_ascii=True"),
            ("ensure_ascii=False", "ensure_ascii=False"),
            ("indent=4", "indent=4"),
            ("indent=0", "indent=0"),
            ("indent=-3", "indent=-3"),
            ("indent=true", "indent=True"),
            ("indent='\\t'", "indent='\\t'"),
            ("indent=none", "indent=None"),
            ("separators=(',', ':')", "separators=(',', ':')"),
            ("separators=[' ; ', ' = '], indent=2", "separators=[' ; ', ' = '], indent=2"),
            ("sort_keys=true", "sort_keys=True"),
            ("sort_keys=1, ensure_ascii='yes'", "sort_keys=1, ensure_ascii='yes'"),
            (
                "true, 2, (',', ':'), true",
                "ensure_ascii=True, indent=2, separators=(',', ':'), sort_keys=True",
            ),
            ("false, none, none, true", "sort_keys=True"),
        ]
    }

    /// The source of transformers: `json.dumps` with its arguments, of which only `ensure_ascii` has another
    /// default.
    #[test]
    fn json_is_what_python_writes() {
        let calls: Vec<&str> = options().into_iter().map(|(_, python)| python).collect();
        let program = "import json, sys\n\
            value, calls = json.load(sys.stdin)\n\
            default = lambda **options: json.dumps(value, **{'ensure_ascii': False, **options})\n\
            json.dump([eval(f'default({call})') for call in calls], sys.stdout)";
        let mut python = Command::new("python3");
        let python = python.args(["-c", program]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut python = match python.spawn() {
            Ok(python) => python,
            Err(error) => {
                eprintln!("SKIPPED: python3 cannot be run: {error}");
                return;
            }
        };
        let input = json!([sample(), calls]).to_string();
        python.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("Python reads");
        let output = python.wait_with_output().expect("Python ends");
        let expected: Vec<String> = serde_json::from_slice(&output.stdout).expect("a list of texts");
        assert_eq!(expected.len(), options().len());
        for ((jinja, _), expected) in options().into_iter().zip(expected) {
            let got = printed(&format!("value | tojson({jinja})"), &sample()).expect(jinja);
            assert_eq!(got, expected, "tojson({jinja})");
        }
    }

    /// Computed by Python 3.11, so that this holds where Python is missing.
    #[test]
    fn json_is_written_as_python_does() {
        let value = json!({"b": [1, "<é>", 1e22], "a": {}});
        let written = |options: &str| printed(&format!("value | tojson({options})"), &value).expect(options);
        let (item, nested) = (r#""<é>""#, "\n  ]");
        assert!(written("").contains(&format!("[1, {item}, 1e+22]")));
        assert!(written("indent=2").contains(&format!("[\n    1,\n    {item},\n    1e+22{nested}")));
        assert_eq!(written("sort_keys=true, ensure_ascii=true"), r#"{"a": {}, "b": [1, "<\u00e9>", 1e+22]}"#);
        let one_by_number = printed("{2: 'b', 10: 'a', 1.5: 'c'} | tojson(sort_keys=true)", &value);
        assert_eq!(one_by_number.expect("numbers"), r#"{"1.5": "c", "2": "b", "10": "a"}"#);
    }

    #[test]
    fn what_python_refuses_or_what_would_take_too_much_is_refused() {
        let value = json!({"a": 1});
        for expression in [
            "missing | tojson",
            "value | tojson(skipkeys=true)",
            "value | tojson(indent=1.5)",
            "value | tojson(indent=1000000000)",
            "value | tojson(separators=',')",
            "value | tojson(separators=(',',))",
            "value | tojson(separators=(1, 2))",
            "value | tojson(true, ensure_ascii=true)",
            "{1: 2, 'a': 3} | tojson(sort_keys=true)",
        ] {
            let error = printed(expression, &value).expect_err(expression);
            assert!(!error.to_string().contains("\"a\""), "{error}");
        }
        printed("value | tojson(indent=16)", &value).expect("the control");
        let nested =
            "{% set ns = namespace(x=1) %}{% for i in range(300) %}{% set ns.x = [ns.x] %}{% endfor %}";
        let doubled = nested.replace("[ns.x]", "[ns.x, ns.x]").replace("300", "60");
        for template in [nested, &doubled] {
            let error = environment().render_str(&format!("{template}{{{{ ns.x | tojson }}}}"), context! {});
            assert_eq!(error.expect_err("it has no end").kind(), ErrorKind::OutOfFuel);
            let short = template.replace("300", "10").replace("60", "10");
            environment()
                .render_str(&format!("{short}{{{{ ns.x | tojson }}}}"), context! {})
                .expect("the control");
        }
    }
}
