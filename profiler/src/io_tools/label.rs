//! Files and services by their labels.

use crate::{report::Value, text::Text};

/// The label of a file, or why it is not known. Files with one label are one file: one that was renamed and made anew, for example.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Label {
    Known(Text),
    Unknown(String),
}

impl Label {
    /// From the value that files of an observation have.
    pub(crate) fn of(value: Value) -> Label {
        match value {
            Value::Name(name) => Label::Known(name),
            Value::Unknown(why) => Label::Unknown(why),
            other => Label::Unknown(format!("{other:?}")),
        }
    }

    /// For a table.
    pub(crate) fn value(&self) -> Value {
        match self {
            Label::Known(name) => Value::Name(name.clone()),
            Label::Unknown(why) => Value::Unknown(why.clone()),
        }
    }
}
