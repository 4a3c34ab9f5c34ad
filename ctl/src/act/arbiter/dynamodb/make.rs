//! Makes the table, once, with an administrator's rights. Always: a table that is there is left as
//! it is, and said to fit or not.

use lockstep_aws::{Aws, Conflict, Error, Kind, Settings, Table, TableState};
use std::fmt;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a new table may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at it.
const LOOK: Duration = Duration::from_secs(1);

/// A table that can be used.
#[derive(Clone, Debug)]
pub struct Made {
    /// The table.
    pub table: Table,
    /// Its region.
    pub region: String,
    /// It was there before.
    pub was_there: bool,
}

/// Why there is no table that can be used.
#[derive(Debug)]
pub enum MakeError {
    /// AWS did not do it.
    Aws(Error),
    /// There is one of this name with another key.
    OtherKey { table: String },
    /// Copies in other regions lag behind it.
    Lags { table: String },
    /// It does not become usable.
    Late { table: String, state: TableState },
}

impl fmt::Display for MakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MakeError::Aws(error) => error.fmt(f),
            MakeError::OtherKey { table } => write!(
                f,
                "{table}: a table of this name is there, with other keys than a record needs; \
                 choose another name"
            ),
            MakeError::Lags { table } => write!(
                f,
                "{table}: it is copied to other regions, where writes are seen late and can undo \
                 each other; use a table of one region"
            ),
            MakeError::Late { table, state } => {
                write!(
                    f,
                    "{table}: still {state:?} after {} s; look at it there",
                    PATIENCE.as_secs()
                )
            }
        }
    }
}

impl std::error::Error for MakeError {}

/// Makes the table and waits until it can be used.
///
/// # Errors
/// It can't be made, or the one that is there does not fit.
pub async fn make(settings: Settings, name: &str) -> Result<Made, MakeError> {
    let aws = Aws::open(settings).await.map_err(MakeError::Aws)?;
    let was_there = match aws.create_table(name).await {
        Ok(()) => false,
        Err(error) if error.kind == Kind::Conflict(Conflict::Exists) => true,
        Err(error) => return Err(MakeError::Aws(error)),
    };
    let begun = Instant::now();
    loop {
        let table = aws.table(name).await.map_err(MakeError::Aws)?;
        if !table.fits {
            return Err(MakeError::OtherKey { table: table.name });
        }
        if table.lags {
            return Err(MakeError::Lags { table: table.name });
        }
        if table.state == TableState::Active {
            return Ok(Made { table, region: aws.region().name.clone(), was_there });
        }
        if begun.elapsed() > PATIENCE {
            return Err(MakeError::Late { table: table.name, state: table.state });
        }
        sleep(LOOK).await;
    }
}
