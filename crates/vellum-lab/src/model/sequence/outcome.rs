//! What comes of an operation on both sides.

use crate::access::AccessError;
use crate::model::Fault;
use std::fmt;
use vellum::Error;
use vellum::ops::FaultError;

/// What came of an operation, other than agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// The core has no memory for it. The model was not told of the operation.
    OutOfMemory,
    /// The two sides differ.
    Differs(String),
}

impl From<String> for Wrong {
    fn from(text: String) -> Self {
        Wrong::Differs(text)
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::OutOfMemory => f.write_str("the core is out of memory"),
            Wrong::Differs(text) => f.write_str(text),
        }
    }
}

/// The result of the core, unless it is out of memory.
pub(super) fn settled<T>(core: Result<T, Error>) -> Result<Result<T, Error>, Wrong> {
    if matches!(core, Err(Error::OutOfMemory)) { Err(Wrong::OutOfMemory) } else { Ok(core) }
}

/// The same of an access.
pub(super) fn settled_access<T>(core: Result<T, AccessError>) -> Result<Result<T, AccessError>, Wrong> {
    match core {
        Err(error) if error.is_out_of_memory() => Err(Wrong::OutOfMemory),
        core => Ok(core),
    }
}

/// As [`settled`], for what cannot fail otherwise.
pub(super) fn only_memory<T>(core: Result<T, Error>) -> Result<T, Wrong> {
    settled(core)?.map_err(|error| Wrong::Differs(error.to_string()))
}

/// Whether two errors are the same, and name the same address where that is determined.
pub(super) fn is_same_error(core: Error, model: Error) -> bool {
    match (core, model) {
        (Error::NotMapped { address: a }, Error::NotMapped { address: b }) => a == b,
        (Error::Exists { address: a }, Error::Exists { address: b }) => a == b,
        (Error::Guarded { address: a }, Error::Guarded { address: b }) => a == b,
        _ => std::mem::discriminant(&core) == std::mem::discriminant(&model),
    }
}

/// Whether two faults are the same.
pub(super) fn is_same_fault(core: AccessError, model: Fault) -> bool {
    let AccessError::Fault(core) = core else { return false };
    core == match model {
        Fault::NotMapped { address } => FaultError::Segv { address, denied: false },
        Fault::Denied { address } => FaultError::Segv { address, denied: true },
        Fault::BeyondEnd { address, index } => FaultError::Bus { address, index },
    }
}
