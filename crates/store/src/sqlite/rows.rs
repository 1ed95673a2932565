//! How values become columns and back, and what the engine's failures mean.

use std::path::Path;

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{ErrorCode, Row};

use crate::{ChainHash, Entry, Event, Key, Record, Revision, Seq, StoreError};

/// The columns [`entry`] reads.
pub(super) const ENTRY: &str = "key, value, revision, created, expires";
/// The columns [`record`] reads.
pub(super) const RECORD: &str = "seq, time, name, code, body, hash";

/// A moment as a column.
pub(super) struct Micros(pub(super) Timestamp);

impl ToSql for Micros {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.as_microsecond().into())
    }
}

impl FromSql for Micros {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Timestamp::from_microsecond(value.as_i64()?).map(Self).map_err(FromSqlError::other)
    }
}

impl ToSql for Revision {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.number().into())
    }
}

impl FromSql for Revision {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Self::new)
    }
}

impl ToSql for Seq {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.number().into())
    }
}

impl FromSql for Seq {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Self::new)
    }
}

impl ToSql for ChainHash {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_bytes().as_slice().into())
    }
}

impl FromSql for ChainHash {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let bytes = value.as_blob()?.try_into().map_err(FromSqlError::other)?;
        Ok(Self::new(bytes))
    }
}

impl ToSql for Key {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for Key {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::new(value.as_str()?).map_err(FromSqlError::other)
    }
}

/// Reads [`ENTRY`].
pub(super) fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        key: row.get(0)?,
        value: bytes(row, 1)?,
        revision: row.get(2)?,
        created: row.get(3)?,
        expires: row.get::<_, Option<Micros>>(4)?.map(|micros| micros.0),
    })
}

/// Reads the same columns of the history, where a deletion has no value.
pub(super) fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    if row.get_ref(1)? == ValueRef::Null {
        return Ok(Event::Delete { key: row.get(0)?, revision: row.get(2)? });
    }
    entry(row).map(Event::Put)
}

/// Reads [`RECORD`].
pub(super) fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record {
        seq: row.get(0)?,
        time: row.get::<_, Micros>(1)?.0,
        name: row.get(2)?,
        code: row.get(3)?,
        body: bytes(row, 4)?,
        hash: row.get(5)?,
    })
}

fn bytes(row: &Row<'_>, column: usize) -> rusqlite::Result<Bytes> {
    Ok(Bytes::copy_from_slice(row.get_ref(column)?.as_blob()?))
}

/// What a failure of the engine means to a caller.
pub(super) fn failure(path: &Path, error: &rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    let reason = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full { path, reason },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ConstraintViolation) => {
            StoreError::Damaged { path, reason }
        }
        Some(
            ErrorCode::Unknown
            | ErrorCode::ApiMisuse
            | ErrorCode::InternalMalfunction
            | ErrorCode::ParameterOutOfRange,
        ) => StoreError::Internal { reason },
        Some(_) => StoreError::Io { path, reason },
        None if is_content(error) => StoreError::Damaged { path, reason },
        None => StoreError::Internal { reason },
    }
}

/// Whether what was read is not what this program writes.
fn is_content(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{
        FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, QueryReturnedNoRows, Utf8Error,
    };
    matches!(
        error,
        FromSqlConversionFailure(..)
            | IntegralValueOutOfRange(..)
            | InvalidColumnType(..)
            | QueryReturnedNoRows
            | Utf8Error(..)
    )
}
