//! The tables and how an older store becomes a present one. Steps are only ever added: one that
//! has shipped is never edited.

use rusqlite::Connection;

/// One step from a schema version to the next.
pub(super) struct Migration {
    /// The version reached by this step; `user_version` of the database.
    version: i32,
    /// The statements that take it there.
    sql: &'static str,
}

/// Every step since the first release, in order.
pub(super) const MIGRATIONS: &[Migration] = &[Migration { version: 1, sql: include_str!("schema/0001.sql") }];

/// Marks the file as ours (`PRAGMA application_id`): "PstS".
pub(super) const APPLICATION_ID: i32 = 0x5073_7453;

/// The version this program writes.
pub(super) fn supported() -> i32 {
    newest(MIGRATIONS)
}

/// Takes the database through the steps it has not seen, each in a transaction of its own, so
/// that a kill between two leaves a store of a known version.
pub(super) fn migrate(connection: &mut Connection, steps: &[Migration]) -> rusqlite::Result<()> {
    let present = version(connection)?;
    for step in steps.iter().filter(|step| step.version > present) {
        tracing::info!(version = step.version, "migrating the store");
        let transaction = connection.transaction()?;
        transaction.execute_batch(step.sql)?;
        transaction.pragma_update(None, "user_version", step.version)?;
        transaction.commit()?;
    }
    Ok(())
}

/// The version of an open database.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn newest(steps: &[Migration]) -> i32 {
    steps.last().map_or(0, |step| step.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> Connection {
        Connection::open_in_memory().expect("an in-memory database opens")
    }

    #[test]
    fn versions_count_up_from_one() {
        for (index, step) in MIGRATIONS.iter().enumerate() {
            assert_eq!(usize::try_from(step.version), Ok(index + 1));
        }
    }

    #[test]
    fn only_missing_steps_run() {
        let steps = [
            Migration { version: 1, sql: "CREATE TABLE a (x)" },
            Migration { version: 2, sql: "INSERT INTO a VALUES (1)" },
        ];
        let mut connection = open();
        migrate(&mut connection, &steps[..1]).expect("the first version");
        assert_eq!(version(&connection), Ok(1));
        migrate(&mut connection, &steps).expect("the second version");
        migrate(&mut connection, &steps).expect("nothing left to do");
        let count: i64 =
            connection.query_row("SELECT count(*) FROM a", [], |row| row.get(0)).expect("the table is there");
        assert_eq!((version(&connection), count), (Ok(2), 1));
    }

    #[test]
    fn a_failing_step_leaves_the_version_before() {
        let steps = [
            Migration { version: 1, sql: "CREATE TABLE a (x)" },
            Migration { version: 2, sql: "CREATE TABLE b (x); INSERT INTO nowhere VALUES (1)" },
        ];
        let mut connection = open();
        assert!(migrate(&mut connection, &steps).is_err());
        let tables: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_schema WHERE type = 'table'", [], |row| row.get(0))
            .expect("the schema is readable");
        assert_eq!((version(&connection), tables), (Ok(1), 1));
    }
}
