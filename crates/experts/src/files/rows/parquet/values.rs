//! Values of Parquet, converted to those of JSON, in which a [`Row`](super::super::row::Row) has them.

use parquet::data_type::Decimal;
use parquet::record::{Field, Row as Record};
use serde_json::{Map, Value};
use thiserror::Error;

/// Why a value is not converted. The message continues a sentence that starts with the field's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub(super) enum Unfit {
    #[error("is marked as text, but is not UTF-8; write the file again with its text as UTF-8")]
    NotUtf8,
    #[error("holds a date or a time; write the column as text or whole numbers")]
    Time,
    #[error("holds a map; write the column as text, a list or a struct")]
    Map,
    #[error("holds a decimal of too many digits; write the column as text")]
    Large,
}

/// A value. Missing values, and floats that are not a number, become null.
pub(super) fn value(field: &Field) -> Result<Value, Unfit> {
    Ok(match field {
        Field::Null => Value::Null,
        Field::Bool(value) => (*value).into(),
        Field::Byte(value) => (*value).into(),
        Field::Short(value) => (*value).into(),
        Field::Int(value) => (*value).into(),
        Field::Long(value) => (*value).into(),
        Field::UByte(value) => (*value).into(),
        Field::UShort(value) => (*value).into(),
        Field::UInt(value) => (*value).into(),
        Field::ULong(value) => (*value).into(),
        Field::Float16(value) => value.to_f64().into(),
        Field::Float(value) => (*value).into(),
        Field::Double(value) => (*value).into(),
        Field::Decimal(decimal) => number(decimal)?,
        Field::Str(text) => text.clone().into(),
        // Columns of bytes that are not marked as text are left out before, so these bytes are text.
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => text.into(),
            Err(_) => return Err(Unfit::NotUtf8),
        },
        Field::Group(record) => object(record)?,
        Field::ListInternal(list) => list.elements().iter().map(value).collect::<Result<Vec<_>, _>>()?.into(),
        Field::MapInternal(_) => return Err(Unfit::Map),
        // All other variants are dates and times.
        _ => return Err(Unfit::Time),
    })
}

/// An object. A value in it that is not converted is left out, because tasks do not use it; text that is not UTF-8 is
/// an error, because it may be a message's content.
fn object(record: &Record) -> Result<Value, Unfit> {
    let mut fields = Map::new();
    for (name, field) in record.get_column_iter() {
        match value(field) {
            Ok(value) => drop(fields.insert(name.clone(), value)),
            Err(Unfit::NotUtf8) => return Err(Unfit::NotUtf8),
            Err(Unfit::Time | Unfit::Map | Unfit::Large) => {}
        }
    }
    Ok(fields.into())
}

/// A decimal as a whole number if it is one, and else as the nearest float. Parquet stores `unscaled · 10^−scale`,
/// where `unscaled` is big-endian in two's complement.
fn number(decimal: &Decimal) -> Result<Value, Unfit> {
    const WIDTH: usize = size_of::<i128>();
    let bytes = decimal.data();
    // Sign extension to 128 bits.
    let start = WIDTH.checked_sub(bytes.len()).ok_or(Unfit::Large)?;
    let is_negative = bytes.first().is_some_and(|first| *first >= 0x80);
    let mut unscaled = [if is_negative { 0xff } else { 0 }; WIDTH];
    unscaled[start..].copy_from_slice(bytes);
    let unscaled = i128::from_be_bytes(unscaled);
    let scale = u32::try_from(decimal.scale()).ok().and_then(|scale| 10_i128.checked_pow(scale));
    let scale = scale.ok_or(Unfit::Large)?;
    match unscaled % scale {
        0 => i64::try_from(unscaled / scale).map(Value::from).map_err(|_| Unfit::Large),
        _ => Ok((unscaled as f64 / scale as f64).into()),
    }
}
