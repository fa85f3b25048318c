//! TOML to tree.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::node::{Key, Node, SyntaxError, Value};

pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let table = DeTable::parse(text).map_err(|error| SyntaxError {
        offset: error.span().map_or(0, |span| span.start),
        message: error.message().to_owned(),
    })?;
    let span = table.span();
    Ok(Node {
        value: convert_table(table.into_inner())?,
        span,
    })
}

fn convert_table(table: DeTable<'_>) -> Result<Value, SyntaxError> {
    let entries = table.into_iter().map(|(key, value)| {
        let key = Key {
            span: key.span(),
            text: key.into_inner().into_owned(),
        };
        Ok((key, convert(value)?))
    });
    entries.collect::<Result<_, _>>().map(Value::Table)
}

fn convert(value: Spanned<DeValue<'_>>) -> Result<Node, SyntaxError> {
    let span = value.span();
    let out_of_range = |_| SyntaxError {
        offset: span.start,
        message: "the number is out of range".to_owned(),
    };
    let value = match value.into_inner() {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Integer(number) => Value::Integer(
            i64::from_str_radix(number.as_str(), number.radix()).map_err(out_of_range)?,
        ),
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(truth) => Value::Bool(truth),
        DeValue::Datetime(_) => Value::Date,
        DeValue::Array(items) => {
            Value::Array(items.into_iter().map(convert).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => convert_table(table)?,
    };
    Ok(Node { span, value })
}
