//! How templates write conversations.

use std::fs;
use std::path::PathBuf;

use super::*;

/// A piece of a text, and whether it is learnt.
type Piece = (String, bool);

fn message(role: &str, content: &str) -> ChatMessage {
    ChatMessage { role: role.to_owned(), content: content.to_owned(), others: Map::new() }
}

fn special_tokens() -> BTreeMap<&'static str, String> {
    [("bos_token", "<s>"), ("eos_token", "</s>")].map(|(name, token)| (name, token.to_owned())).into()
}

fn template(source: &str) -> Template {
    Template::new(source.to_owned(), special_tokens()).expect("a sound template")
}

fn all_texts(template: &Template, messages: &[ChatMessage]) -> Result<Vec<Vec<Piece>>, String> {
    let pieces = |text: Vec<Span>| text.into_iter().map(|span| (span.text, span.learnt)).collect();
    Ok(template.texts(messages)?.into_iter().map(pieces).collect())
}

/// The pieces of a conversation that is one text.
fn one_text(source: &str, messages: &[ChatMessage]) -> Result<Vec<Piece>, String> {
    let mut texts = all_texts(&template(source), messages)?;
    assert_eq!(texts.len(), 1, "the conversation is one text");
    Ok(texts.remove(0))
}

fn expected(pieces: &[(&str, bool)]) -> Vec<Piece> {
    pieces.iter().map(|&(text, learnt)| (text.to_owned(), learnt)).collect()
}

fn today() -> Option<Date> {
    Some(Date::try_from("2026-11-29".to_owned()).expect("a day"))
}

/// A published template, or its equivalent.
fn published(family: &str) -> Template {
    template(&fs::read_to_string(fixture(&format!("{family}.jinja"))).expect("the fixture is committed"))
        .with_today(today())
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/templates").join(name)
}

fn json(name: &str) -> Value {
    let text = fs::read_to_string(fixture(name)).expect("the fixture is committed");
    serde_json::from_str(&text).expect("it is JSON")
}

/// The messages of one of the fixture's conversations.
fn talk(name: &str) -> Vec<ChatMessage> {
    let read = |entry: &Value| {
        let mut others = entry.as_object().expect("an object").clone();
        let mut text =
            |name| others.remove(name).and_then(|value| Some(value.as_str()?.to_owned())).expect("a text");
        ChatMessage { role: text("role"), content: text("content"), others }
    };
    json("talks.json")[name].as_array().expect("a list").iter().map(read).collect()
}

#[test]
fn every_turn_of_the_assistant_is_learnt_and_nothing_else() {
    let talk = [
        message("user", "a"),
        message("assistant", "b"),
        message("user", "c"),
        message("assistant", "d"),
        message("user", "e"),
    ];
    let pieces = one_text(CHATML, &talk).expect("it is laid out");
    let given = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n";
    let next = "<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n";
    let rest = [(given, false), ("b<|im_end|>\n", true), (next, false), ("d<|im_end|>\n", true)];
    assert_eq!(pieces, expected(&rest));
}

#[test]
fn templates_compute_as_transformers_has_them() {
    // Blocks on lines of their own print no white space, Python's methods work, loops can be left.
    let source = "{{ bos_token }}\n  {%- for message in messages %}\n  {% if message['role'] == 'system' %}{% continue %}{% endif %}\n{%- if message.role.startswith('user') %}[INST] {{ message['content'].strip() }} [/INST]\n{%- else %}{%  generation  %} {{ message['content'] | trim }}{{ eos_token }}{% endgeneration %}{%- endif %}\n{%- endfor %}";
    let talk = [message("system", "s"), message("user", " a "), message("assistant", "b ")];
    let pieces = one_text(source, &talk).expect("it is laid out");
    assert_eq!(pieces, expected(&[("<s>[INST] a [/INST]", false), (" b</s>", true)]));
}

#[test]
fn fields_come_in_the_order_of_rows_and_further_fields_are_the_templates() {
    let source = "{% for m in messages %}{% for k, v in m.items() %}{{ k + '=' + v + ';' }}{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'role=assistant;content=' }}{% endif %}";
    let mut answer = message("assistant", "b");
    answer.others.insert("name".to_owned(), "n".into());
    let pieces = one_text(source, &[message("user", "a"), answer]).expect("it is laid out");
    let given = "role=user;content=a;role=assistant;content=";
    assert_eq!(pieces, expected(&[(given, false), ("b;name=n;", true)]));
}

#[test]
fn texts_are_formatted_as_python_does() {
    let source = "{% for m in messages %}{{ '%s says %s;' % (m.role, m.content|upper) ~ ('%s' % m.role) }}{% endfor %}";
    let pieces = one_text(source, &[message("assistant", "a")]).expect("it is laid out");
    assert_eq!(pieces, expected(&[("", false), ("assistant says A;assistant", true)]));
}

/// `tests/fixtures/generate.py` renders the same conversations with transformers.
#[test]
fn published_templates_lay_out_what_transformers_does() {
    let rendered = json("expected.json");
    let mut compared = 0;
    for (family, talks) in rendered.as_object().expect("an object") {
        let template = published(family);
        for (name, texts) in talks.as_object().expect("an object") {
            let messages = talk(name);
            for (prompt, end) in [(false, messages.len()), (true, messages.len() - 1)] {
                let text = template.render(&messages[..end], prompt).expect("it is laid out");
                assert_eq!(Some(text.as_str()), texts[usize::from(prompt)].as_str(), "{family}: {name}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 8 * 5 * 2, "every template and every conversation");
}

/// In every family, each of the assistant's messages is learnt as the template writes it when it is the last.
#[test]
fn every_published_template_learns_every_turn() {
    let appends = ["olmoe", "mixtral", "qwen2_moe", "deepseek_v2", "deepseek_v3", "llama"];
    for family in appends.into_iter().chain(["qwen3_moe", "deepseek_r1"]) {
        let template = published(family);
        for name in ["one turn", "two turns", "with a system", "with thoughts"] {
            let messages = talk(name);
            let texts = all_texts(&template, &messages).unwrap_or_else(|error| panic!("{family}: {error}"));
            let turns = messages.iter().filter(|message| message.role == "assistant").count();
            let learnt: Vec<&String> =
                texts.iter().flatten().filter(|piece| piece.1).map(|(text, _)| text).collect();
            assert_eq!(learnt.len(), turns, "{family}: {name}");
            let answers = ["Bronchitis.", "5 mg."];
            for (text, answer) in learnt.iter().zip(answers) {
                assert!(
                    text.contains(answer) && !text.contains("Dose") && !text.contains("user"),
                    "{family}: {text}"
                );
            }
            let is_one = appends.contains(&family) || turns == 1;
            // DeepSeek-R1's request for an answer opens a thought, and its written answers have none. The
            // conversation is still one text.
            let is_one = is_one || family == "deepseek_r1";
            assert_eq!(texts.len(), if is_one { 1 } else { turns }, "{family}: {name}");
        }
    }
}

#[test]
fn where_earlier_turns_are_rewritten_each_turn_has_a_text_of_its_own() {
    let template = published("qwen3_moe");
    let texts = all_texts(&template, &talk("with thoughts")).expect("it is laid out");
    let ask = |question: &str| format!("<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n");
    let first = (ask("Cough?"), "<think>\nThree weeks.\n</think>\n\nBronchitis.<|im_end|>\n");
    let before = format!("{}Bronchitis.<|im_end|>\n{}", ask("Cough?"), ask("Dose?"));
    let second = (before, "<think>\nAn adult.\n</think>\n\n5 mg.<|im_end|>\n");
    for (text, (given, learnt)) in texts.iter().zip([first, second]) {
        assert_eq!(text, &expected(&[(&given, false), (learnt, true)]));
    }
    // The control: a template that never rewrites earlier messages gives one text.
    assert_eq!(all_texts(&published("qwen2_moe"), &talk("with thoughts")).expect("it is laid out").len(), 1);
}

#[test]
fn a_date_is_the_tasks_or_refused() {
    let talk = [message("user", "a"), message("assistant", "b")];
    let source = "{{ strftime_now('%d %b %Y') }}{% for m in messages %}{{ m.content }}{% endfor %}";
    let refused = all_texts(&template(source), &talk).expect_err("no date is agreed on");
    assert!(refused.contains("cloister experts task --date"), "{refused}");
    let texts = all_texts(&template(source).with_today(today()), &talk).expect("it is laid out");
    assert_eq!(texts, [expected(&[("29 Nov 2026a", false), ("b", true)])]);
}

#[test]
fn a_template_that_prints_the_date_is_told_from_others() {
    let folder = std::env::temp_dir().join(format!("cloister-template-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a temporary folder can be made");
    assert_eq!(prints_date(&folder).ok(), Some(false), "ChatML prints none");
    for (family, prints) in [("llama", true), ("qwen3_moe", false)] {
        fs::copy(fixture(&format!("{family}.jinja")), folder.join("chat_template.jinja")).expect("a file");
        assert_eq!(prints_date(&folder).ok(), Some(prints), "{family}");
    }
    fs::remove_dir_all(folder).expect("it was made above");
}

#[test]
fn what_cannot_be_laid_out_is_said() {
    let none = one_text(CHATML, &[message("user", "a")]).expect_err("nobody answers");
    assert_eq!(
        none,
        "none of “messages” is the assistant's (“role”: “assistant”), so there is nothing to learn"
    );
    let last_only =
        "{% for message in messages %}{% if loop.last %}{{ message.content }}{% endif %}{% endfor %}";
    let torn =
        one_text(last_only, &[message("user", "a"), message("assistant", "b")]).expect_err("it is torn");
    assert!(torn.contains("before message 2"), "{torn}");
    let endless = "{% for a in range(9000) %}{% for b in range(9000) %}{{ a }}{% endfor %}{% endfor %}";
    let stopped = one_text(endless, &[message("assistant", "b")]).expect_err("it would take hours");
    assert!(stopped.contains("too long or too much memory"), "{stopped}");
    assert!(Template::new("{% if %}".to_owned(), special_tokens()).is_err());
}

#[test]
fn refusals_have_the_templates_words_and_none_of_a_message() {
    let note = "Mrs Miller, 81, has a cough";
    let refused = |source: &str| {
        one_text(source, &[message("user", note), message("assistant", "a")]).expect_err("it is refused")
    };
    assert!(refused("{{ raise_exception('no system role') }}").contains("no system role"));
    for quoting in [
        "{{ raise_exception('not ' + messages[0].content) }}",
        "{{ raise_exception(messages[0].content[:11]) }}",
        "{{ raise_exception(messages[0].content | upper) }}",
        "{{ messages[0].content | int }}",
        "{{ messages[0].content / 2 }}",
        "{{ messages[0].content.missing() }}",
        "{{ messages[0][messages[0].content].missing }}",
        "{{ 1 | round(messages[0].content) }}",
        "{% include messages[0].content %}",
    ] {
        let refused = refused(quoting).to_lowercase();
        assert!(!["miller", "81", "cough"].iter().any(|word| refused.contains(word)), "{refused}");
    }
}

#[test]
fn the_default_of_several_templates_is_taken() {
    let config = serde_json::json!({"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}],
        "bos_token": {"content": "<s>"}, "eos_token": "</s>", "pad_token": null});
    assert_eq!(in_config(&config), Some("d"));
    assert_eq!(tokens(&config), special_tokens());
    assert_eq!(in_config(&Value::Null), None);
}
