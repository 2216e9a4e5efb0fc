//! What jobs bring may be anything: quoting, expansion, inputs and payloads with texts nobody has thought of.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use proptest::prelude::*;
use runner_core::inputs;
use runner_core::job::{Payload, Variable};
use runner_core::shell::quote;
use runner_core::variables::Variables;
use serde_json::json;
use serde_json::value::RawValue;

/// The shells of this machine that read scripts somewhere: bash, Debian's and Alpine's.
fn shells() -> Vec<Vec<&'static str>> {
    let candidates = [vec!["bash", "-c"], vec!["dash", "-c"], vec!["busybox", "sh", "-c"], vec!["sh", "-c"]];
    let works = |shell: &Vec<&str>| Command::new(shell[0]).args(&shell[1..]).arg("true").output().is_ok();
    candidates.into_iter().filter(works).collect()
}

/// Text without NUL, rich in what shells care about.
fn text() -> impl Strategy<Value = String> {
    let special = prop_oneof![
        Just("'"),
        Just("\""),
        Just("\\"),
        Just("$"),
        Just("`"),
        Just("!"),
        Just("\n"),
        Just("\r"),
        Just("$("),
        Just(")"),
        Just("${"),
        Just("}"),
        Just("'\\''"),
        Just("*"),
        Just("~"),
        Just("#"),
        Just(" "),
        Just("\t"),
        Just(";"),
        Just("&"),
        Just("é"),
        Just("\u{1}"),
        Just("\u{7f}"),
        Just("a"),
        Just("-n"),
        Just("="),
        Just("[")
    ];
    let pieces = proptest::collection::vec(special, 0..20).prop_map(|pieces| pieces.concat());
    prop_oneof![pieces, "[^\u{0}]{0,40}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn j401_every_shell_reads_a_quoted_text_back(texts in proptest::collection::vec(text(), 1..40)) {
        let words: Vec<String> = texts.iter().map(|text| quote(text)).collect();
        let script = format!("printf '%s\\0' {}", words.join(" "));
        let expected: Vec<u8> = texts.iter().flat_map(|text| [text.as_bytes(), b"\0"].concat()).collect();
        for shell in shells() {
            let output = Command::new(shell[0]).args(&shell[1..]).arg(&script).output().unwrap();
            prop_assert_eq!(String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&expected), "{:?}", shell);
        }
    }

    #[test]
    fn expansion_takes_any_text(text in text(), value in text()) {
        let list = vec![Variable::public("A", value.as_str()), Variable { raw: true, ..Variable::public("RAW", text.as_str()) }];
        let variables = Variables::new(list, "/dir");
        let expanded = variables.expand(&text);
        if !text.contains('$') {
            prop_assert_eq!(&expanded, &text);
        }
        // What is put in is not read again.
        prop_assert_eq!(variables.expand("[${A}]"), format!("[{value}]"));
        prop_assert_eq!(variables.value("RAW"), text);
    }

    #[test]
    fn inputs_take_any_reference_and_quote_no_value(reference in text()) {
        let content = json!({"type": "string", "content": "SECRET", "sensitive": true});
        let whole = json!({
            "id": 1, "token": "t", "inputs": [{"key": "a", "value": content}],
            "steps": [{"name": "script", "script": [format!("${{{{{reference}}}}}")]}],
        });
        let raw = RawValue::from_string(whole.to_string()).unwrap();
        let payload = Payload::parse(&raw).unwrap();
        if let Err(err) = inputs::interpolated(&raw, &payload) {
            prop_assert!(!err.to_string().contains("SECRET"));
        }
    }

    #[test]
    fn a_payload_of_any_shape_is_read_or_refused_without_quoting_it(
        field in prop_oneof![Just("variables"), Just("steps"), Just("image"), Just("services"), Just("git_info"), Just("secrets"),
                             Just("artifacts"), Just("cache"), Just("features"), Just("hooks"), Just("token"), Just("run")],
        shape in 0..7usize,
    ) {
        let shapes = [
            json!("glcbt-SECRET"), json!(["glcbt-SECRET"]), json!({"key": "glcbt-SECRET"}), json!(null), json!(1.5),
            json!([{"key": ["glcbt-SECRET"]}]), json!([[{"name": "glcbt-SECRET"}]]),
        ];
        let raw = RawValue::from_string(json!({"id": 1, "token": "t", field: shapes[shape]}).to_string()).unwrap();
        if let Err(err) = Payload::parse(&raw) {
            prop_assert!(!err.to_string().contains("SECRET"), "{}", err);
        }
    }
}
