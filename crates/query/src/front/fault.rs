//! What a client is told when a statement fails.

use std::error::Error;

use datafusion::common::{DataFusionError, SchemaError};

/// An SQLSTATE, as clients of PostgreSQL know them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// `08P01`
    ProtocolViolation,
    /// `0A000`
    NotSupported,
    /// `22012`
    DivisionByZero,
    /// `22023`
    InvalidParameter,
    /// `22P02`
    InvalidText,
    /// `24000`
    CursorState,
    /// `25001`
    ActiveTransaction,
    /// `25006`
    ReadOnly,
    /// `25P01`
    NoTransaction,
    /// `25P02`
    FailedTransaction,
    /// `26000`
    NoStatement,
    /// `28000`
    NotAuthorized,
    /// `28P01`
    WrongPassword,
    /// `34000`
    NoCursor,
    /// `3D000`
    NoDatabase,
    /// `42501`
    NotAllowed,
    /// `42601`
    SyntaxError,
    /// `42702`
    AmbiguousColumn,
    /// `42703`
    NoColumn,
    /// `42704`
    NoObject,
    /// `42804`
    WrongType,
    /// `42883`
    NoFunction,
    /// `42P01`
    NoTable,
    /// `42P03`
    CursorExists,
    /// `42P05`
    StatementExists,
    /// `53200`
    OutOfMemory,
    /// `53300`
    TooManyConnections,
    /// `54000`
    Limit,
    /// `57014`
    Canceled,
    /// `57P01`
    Shutdown,
    /// `58000`
    Engine,
    /// `XX000`
    Internal,
}

impl State {
    /// The five characters on the wire.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::ProtocolViolation => "08P01",
            Self::NotSupported => "0A000",
            Self::DivisionByZero => "22012",
            Self::InvalidParameter => "22023",
            Self::InvalidText => "22P02",
            Self::CursorState => "24000",
            Self::ActiveTransaction => "25001",
            Self::ReadOnly => "25006",
            Self::NoTransaction => "25P01",
            Self::FailedTransaction => "25P02",
            Self::NoStatement => "26000",
            Self::NotAuthorized => "28000",
            Self::WrongPassword => "28P01",
            Self::NoCursor => "34000",
            Self::NoDatabase => "3D000",
            Self::NotAllowed => "42501",
            Self::SyntaxError => "42601",
            Self::AmbiguousColumn => "42702",
            Self::NoColumn => "42703",
            Self::NoObject => "42704",
            Self::WrongType => "42804",
            Self::NoFunction => "42883",
            Self::NoTable => "42P01",
            Self::CursorExists => "42P03",
            Self::StatementExists => "42P05",
            Self::OutOfMemory => "53200",
            Self::TooManyConnections => "53300",
            Self::Limit => "54000",
            Self::Canceled => "57014",
            Self::Shutdown => "57P01",
            Self::Engine => "58000",
            Self::Internal => "XX000",
        }
    }
}

/// A statement that failed: what happened, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// The kind, by which clients decide what to do next.
    pub state: State,
    /// For people. Never holds a value of a row.
    pub message: String,
    /// What to write instead, if anything is known.
    pub hint: Option<String>,
    /// Ends the connection.
    pub fatal: bool,
}

impl Fault {
    /// A fault of a kind.
    pub fn new(state: State, message: impl Into<String>) -> Self {
        Self { state, message: message.into(), hint: None, fatal: false }
    }

    /// A fault that ends the connection.
    pub fn fatal(state: State, message: impl Into<String>) -> Self {
        Self { fatal: true, ..Self::new(state, message) }
    }

    /// A limit that was passed; the message names it.
    pub fn limit(message: impl Into<String>) -> Self {
        Self::new(State::Limit, message)
    }

    /// Adds what to write instead.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<DataFusionError> for Fault {
    fn from(error: DataFusionError) -> Self {
        Self::from(&error)
    }
}

impl From<&DataFusionError> for Fault {
    fn from(error: &DataFusionError) -> Self {
        if let Some(fault) = carried(error) {
            return fault.clone();
        }
        let root = error.find_root();
        let text = plain(&root.strip_backtrace());
        let state = match root {
            DataFusionError::SQL(..) => State::SyntaxError,
            DataFusionError::SchemaError(error, _) => match error.as_ref() {
                SchemaError::FieldNotFound { .. } => State::NoColumn,
                SchemaError::AmbiguousReference { .. } => State::AmbiguousColumn,
                _ => State::SyntaxError,
            },
            DataFusionError::ResourcesExhausted(_) => State::OutOfMemory,
            DataFusionError::NotImplemented(_) => State::NotSupported,
            DataFusionError::ArrowError(..) if text.contains("ivide by zero") => {
                State::DivisionByZero
            }
            DataFusionError::ArrowError(..) => State::InvalidText,
            DataFusionError::Plan(_) if text.contains("table '") && text.contains("not found") => {
                State::NoTable
            }
            DataFusionError::Plan(_) if text.contains("nvalid function") => State::NoFunction,
            DataFusionError::Plan(_) => State::SyntaxError,
            DataFusionError::External(_) | DataFusionError::IoError(_) => State::Engine,
            DataFusionError::Execution(_) => State::InvalidParameter,
            _ => State::Internal,
        };
        Self::new(state, text)
    }
}

/// The fault that a guard or a relation put into an error of the plan.
fn carried(error: &DataFusionError) -> Option<&Fault> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(fault) = error.downcast_ref::<Fault>() {
            return Some(fault);
        }
        if let Some(DataFusionError::External(inner)) = error.downcast_ref::<DataFusionError>()
            && let Some(fault) = inner.downcast_ref::<Fault>()
        {
            return Some(fault);
        }
        next = error.source();
    }
    None
}

impl From<Fault> for DataFusionError {
    fn from(fault: Fault) -> Self {
        Self::External(Box::new(fault))
    }
}

/// Takes off the name of the error's kind, which says nothing to an analyst.
fn plain(text: &str) -> String {
    let mut rest = text;
    for prefix in [
        "Error during planning: ",
        "Execution error: ",
        "Schema error: ",
        "SQL error: ",
        "Arrow error: ",
        "This feature is not implemented: ",
        "External error: ",
    ] {
        rest = rest.strip_prefix(prefix).unwrap_or(rest);
    }
    rest.trim_end().to_owned()
}
