//! Values and keys as they stand in the file: on one line, in TOML 1.0, which every parser reads.

use toml_edit::{InlineTable, Value};

/// The text of `value`, without the comments that it may carry.
pub fn value(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text.value()),
        Value::Integer(number) => number.value().to_string(),
        // `1.0`, not `1`, which would be an integer
        Value::Float(number) => format!("{:?}", number.value()).replace("NaN", "nan"),
        Value::Boolean(on) => on.value().to_string(),
        Value::Datetime(time) => time.value().to_string(),
        Value::Array(list) => format!("[{}]", list.iter().map(self::value).collect::<Vec<_>>().join(", ")),
        Value::InlineTable(table) => inline(table),
    }
}

/// The text of a key: bare where that is allowed.
pub fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { quoted(name) }
}

fn inline(table: &InlineTable) -> String {
    let pairs: Vec<_> = table.iter().map(|(name, below)| format!("{} = {}", key(name), value(below))).collect();
    if pairs.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", pairs.join(", ")) }
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_float_stays_one() {
        let text = |number: f64| value(&number.into());
        assert_eq!([text(2.0), text(f64::INFINITY), text(f64::NAN)], ["2.0", "inf", "nan"]);
    }

    proptest! {
        #[test]
        fn any_text_reads_back_as_it_was(name in any::<String>(), text in any::<String>()) {
            let table: toml::Table = format!("{} = {}\n", key(&name), value(&text.as_str().into())).parse().unwrap();
            prop_assert_eq!(table[&name].as_str(), Some(text.as_str()));
        }
    }
}
